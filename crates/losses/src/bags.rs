//! Balanced Group Softmax (BAGS): classes compete with classes of similar counts only.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, activation::softmax},
};
use longtail_types::{ClassCounts, KeyedRng, Stream};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    bags_groups::{Competition, Members},
    draws::{draws_state, load_draws},
    error::check_parameter,
    layout::{Background, Layout},
    method::foreign_unless,
    output::LossOutput,
    rows::{Rows, check_count, indices, table},
};

/// Configuration of [`BalancedGroupSoftmaxLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancedGroupSoftmaxConfig {
    /// Instance counts that the groups end below, rising: a class is in the group after the last
    /// bound that its count reaches. Without bounds all classes are one group. Default: the authors'
    /// 10, 100 and 1000, which makes four groups.
    pub bounds: Vec<u64>,
    /// Rows of other groups, drawn at random, for each row of a group. Default: the authors' 8.
    pub others_ratio: f64,
    /// Whether two more columns decide between foreground and background. Default: true, as in the
    /// authors' detector; plain classification does without.
    pub background: bool,
    /// Seed of the random rows. Default: that of the recipe; without one 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for BalancedGroupSoftmaxConfig {
    fn default() -> Self {
        Self { bounds: vec![10, 100, 1000], others_ratio: 8.0, background: true, seed: None }
    }
}

impl BalancedGroupSoftmaxConfig {
    /// The classifier this loss needs: its width depends on the number of groups, not on which
    /// class is in which, so a group without a class has its column too.
    pub fn layout(&self, num_classes: usize) -> Layout {
        let background = if self.background { Background::Objectness } else { Background::None };
        Layout::softmax("bags", num_classes, background).with_groups(self.bounds.len() + 1)
    }

    /// Reads the instance counts.
    ///
    /// # Errors
    /// If the bounds do not rise, or `others_ratio` is negative or not finite.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<BalancedGroupSoftmaxLoss, LossError> {
        let mut last = 0;
        for &bound in &self.bounds {
            let is_valid = bound > last;
            check_parameter("a bound", bound as f64, is_valid, "above 0 and the bound before it")?;
            last = bound;
        }
        let is_valid = self.others_ratio.is_finite() && self.others_ratio >= 0.0;
        check_parameter("others_ratio", self.others_ratio, is_valid, "at least 0 and finite")?;

        let (counts, device) = (counts.instance_counts(), device.clone().without_autodiff());
        let group_of = |count: u64| self.bounds.iter().filter(|&&bound| count >= bound).count();
        let groups: Vec<usize> = counts.iter().map(|&count| group_of(count)).collect();
        let layout = self.layout(counts.len());
        let num_logits = layout.num_logits();
        let members = (0..layout.num_groups()).map(|group| Members::new(group, &groups, &device));
        let members: Vec<Members> = members.filter(|group| group.num_classes > 0).collect();
        let used: Vec<usize> = members.iter().map(|group| group.index).collect();
        let competition = Competition::new(&used, &groups, num_logits, self.background, &device);
        let is_own = members.iter().flat_map(|group| {
            (0..=groups.len()).map(|class| f64::from(groups.get(class) == Some(&group.index)))
        });
        let is_own = table(is_own, &device).reshape([members.len(), groups.len() + 1]);
        let mut place = vec![0; groups.len()];
        let in_order = members.iter().flat_map(|group| {
            groups.iter().enumerate().filter(|&(_, &g)| g == group.index).map(|(class, _)| class)
        });
        in_order.enumerate().for_each(|(position, class)| place[class] = position);
        Ok(BalancedGroupSoftmaxLoss {
            members,
            is_own,
            competition,
            place: indices(&place, &device),
            groups,
            others_ratio: self.others_ratio,
            seed: self.seed.unwrap_or_default(),
            draws: 0,
            device,
            layout,
        })
    }
}

/// A softmax cross-entropy for each group of classes with similar counts, so that frequent classes
/// do not push rare ones.
///
/// The columns are the classes, then one "others" per group, then foreground and background:
/// `num_classes + groups + 2`. In group `g` a row's target is its class, or "others" for classes of
/// other groups and background. The loss of the group is the mean over its own rows and
/// `others_ratio` times as many of the remaining ones, drawn at random without replacement; it is 0
/// if the batch has no row of the group. Foreground against background is a softmax cross-entropy
/// over all rows. `L` is the sum over the groups and background. At test time
/// `p_j = softmax_g(z)_j p_fg`, without "others".
///
/// Without background (classification) the last two columns and their loss fall away and
/// `p_j = softmax_g(z)_j`, which does not add up to 1 over the classes.
///
/// [`Reduction::Mean`] takes the mean of each group by itself, as the paper does. The other
/// reductions start from the loss of a row, summed over the groups it counts in; their sum divided
/// by the rows is not the mean.
///
/// The rows are a function of seed, number of draws and group. `forward` does not count a draw,
/// [`apply`](LossMethod::apply) does: apply after every batch, also within accumulated steps.
///
/// Source: Li et al., CVPR 2020, <https://arxiv.org/abs/2006.10408>. The authors train this
/// classifier alone, on a trained detector. The released head has the columns group by group, with
/// background and "others" first.
#[derive(Module, Debug)]
pub struct BalancedGroupSoftmaxLoss {
    members: Vec<Members>,
    is_own: Tensor<2>, // whether a label is of a group's classes, [members, num_classes + 1]
    competition: Competition,
    place: Tensor<1, Int>, // of each class, when the groups' classes stand one after the other
    #[module(skip)]
    groups: Vec<usize>, // of each class
    others_ratio: f64,
    seed: u64,
    draws: u64,
    #[module(skip)]
    device: Device,
    #[module(skip)]
    layout: Layout,
}

impl BalancedGroupSoftmaxLoss {
    /// The group of each class, from 0, rarest first.
    pub fn groups(&self) -> &[usize] {
        &self.groups
    }

    /// The order in which the next draw takes rows of other groups into a group's loss, until there
    /// are enough.
    pub fn next_order(&self, group: usize, num_rows: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..num_rows).collect();
        let mut rng = KeyedRng::new(self.seed, Stream::OtherRows, self.draws, group as u64);
        rng.shuffle(&mut order);
        order
    }

    /// 1 for the rows that count in each group, `[groups, rows]`; `kept` is 1 for those that are not
    /// ignored.
    fn weights(&self, labels: Tensor<1, Int>, kept: Tensor<1>) -> Tensor<2> {
        let (num_groups, [num_rows]) = (self.members.len(), labels.dims());
        let (mut order, mut place) = (Vec::new(), vec![0; num_groups * num_rows]);
        for (group, members) in self.members.iter().enumerate() {
            for (position, row) in self.next_order(members.index, num_rows).into_iter().enumerate()
            {
                place[group * num_rows + row] = position;
                order.push(row);
            }
        }
        let device = labels.device();
        let table = |values: &[usize]| indices(values, &device).reshape([num_groups, num_rows]);
        let kept = kept.unsqueeze::<2>();
        let is_own = self.is_own.clone().select(1, labels);
        let own = is_own.clone() * kept.clone();
        let others: Tensor<2> = 1.0 - is_own;
        let others = (others * kept).gather(1, table(&order));
        let wanted = (own.clone().sum_dim(1) * self.others_ratio).floor();
        let is_drawn = others.clone().cumsum(1).lower_equal(wanted.expand(others.dims()));
        own + (others * is_drawn.float()).gather(1, table(&place))
    }
}

/// What the weights are multiplied by under a reduction.
fn reduced(weights: Tensor<2>, reduction: Reduction) -> Result<Tensor<2>, LossError> {
    Ok(match reduction {
        Reduction::None | Reduction::Sum => weights,
        Reduction::Count(count) => weights / check_count(count)?,
        Reduction::Mean => weights.clone() / weights.sum_dim(1).clamp_min(1.0),
    })
}

impl LossMethod for BalancedGroupSoftmaxLoss {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        let rows = Rows::new(logits, labels, &self.layout)?;
        let Some(labels) = rows.class_labels().filter(|_| !rows.is_empty()) else {
            return rows.empty_output(reduction);
        };
        let labels = labels.without_autodiff();
        let [num_rows] = labels.dims();
        let kept = match rows.kept() {
            Some(kept) => kept.without_autodiff(),
            None => Tensor::ones([num_rows], &labels.device()),
        };
        let mut weights = vec![self.weights(labels.clone(), kept.clone())];
        if self.layout.background() == Background::Objectness {
            weights.push(kept.unsqueeze());
        }
        let weights = reduced(Tensor::cat(weights, 0), reduction)?;
        let groups = self.competition.groups();
        let loss = rows.grouped_softmax(labels, groups, weights, reduction);
        Ok(LossOutput { loss, update: StatisticsUpdate::Draws(1) })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        self.layout.check_width(logits.dims()[1])?;
        let of_group = |group: &Members| {
            let scores = softmax(logits.clone().select(1, group.columns.clone()), 1);
            scores.narrow(1, 0, group.num_classes)
        };
        let scores = Tensor::cat(self.members.iter().map(of_group).collect(), 1);
        let scores = scores.select(1, self.place.clone());
        Ok(match self.layout.background() {
            Background::Objectness => {
                let start = self.layout.num_logits() - 2;
                scores * softmax(logits.narrow(1, start, 2), 1).narrow(1, 0, 1)
            }
            _ => scores,
        })
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        if let StatisticsUpdate::Draws(draws) = update {
            self.draws += draws;
            return Ok(());
        }
        foreign_unless(update.is_none(), &self.layout)
    }

    fn state(&self) -> Vec<(String, Tensor<1>)> {
        draws_state(self.draws, &self.device)
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        self.draws = load_draws(self.layout.method(), state)?;
        Ok(())
    }
}
