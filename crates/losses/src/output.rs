//! What a loss gives back.

use burn::tensor::Tensor;

use crate::LossError;

/// How the losses of the rows become one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Reduction {
    /// Mean over the rows that are not ignored; 0 without such rows. With class weights
    /// (deferred re-weighting) the weighted mean, `sum w_y loss / sum w_y`.
    #[default]
    Mean,
    /// Sum over the rows.
    Sum,
    /// Sum over the rows divided by this count, for example the number of positives.
    Count(f64),
    /// No reduction: one loss per row, `[rows]`; 0 at ignored rows.
    None,
}

/// Loss, and what the batch adds to the statistics of the method.
#[derive(Debug, Clone)]
pub struct LossOutput {
    /// `[1]`, or `[rows]` without reduction.
    pub loss: Tensor<1>,
    /// For [`ClassificationLoss::apply`](crate::ClassificationLoss::apply): after the step, or, where
    /// a step has several batches, as [`StatisticsUpdate::split_draws`] says.
    pub update: StatisticsUpdate,
}

impl From<Tensor<1>> for LossOutput {
    fn from(loss: Tensor<1>) -> Self {
        Self { loss, update: StatisticsUpdate::None }
    }
}

/// What one batch adds to the statistics of a stateful loss.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum StatisticsUpdate {
    /// Nothing: the loss has no statistics, or the batch was empty.
    #[default]
    None,
    /// Random masks or rows drawn.
    Draws(u64),
    /// Foreground rows of each class, `[num_classes]`.
    LabelCounts(Tensor<1>),
    /// Sums of absolute gradients of each class, `[num_classes]`.
    GradientSums {
        /// Over the positive entries.
        positive: Tensor<1>,
        /// Over the negative entries.
        negative: Tensor<1>,
    },
    /// Sums of absolute gradients of the reduced loss of each class, `[num_classes]`.
    LossGradients {
        /// Over the positive entries.
        positive: Tensor<1>,
        /// Over the negative entries.
        negative: Tensor<1>,
    },
    /// Absolute gradients of the mean loss at the labels' logits, by class, `[num_classes]`.
    PositiveGradients(Tensor<1>),
    /// Scores of the objects of each class, `[num_classes]`.
    ObjectScores {
        /// How many objects there are.
        counts: Tensor<1>,
        /// Sum of the scores of their class.
        sums: Tensor<1>,
    },
    /// Entries by the size of their error, `[bins]`.
    ErrorCounts(Tensor<1>),
}

impl StatisticsUpdate {
    /// Whether there is nothing to apply.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The number of random draws, to be applied right after the batch so that the next one draws
    /// anew, also within one step; and the statistics, which are applied after the step.
    #[must_use]
    pub fn split_draws(self) -> (u64, Self) {
        match self {
            Self::Draws(draws) => (draws, Self::None),
            statistics => (0, statistics),
        }
    }

    /// The update of two batches (micro-batches, replicas) together: their sum. Applied at once it is
    /// the same as one after the other, but for moving averages, where both are one batch then.
    ///
    /// # Errors
    /// If the two come from different methods.
    pub fn merge(self, other: Self) -> Result<Self, LossError> {
        Ok(match (self, other) {
            (update, Self::None) | (Self::None, update) => update,
            (Self::Draws(a), Self::Draws(b)) => Self::Draws(a + b),
            (Self::LabelCounts(a), Self::LabelCounts(b)) => Self::LabelCounts(a + b),
            (
                Self::GradientSums { positive, negative },
                Self::GradientSums { positive: other_positive, negative: other_negative },
            ) => Self::GradientSums {
                positive: positive + other_positive,
                negative: negative + other_negative,
            },
            (
                Self::LossGradients { positive, negative },
                Self::LossGradients { positive: other_positive, negative: other_negative },
            ) => Self::LossGradients {
                positive: positive + other_positive,
                negative: negative + other_negative,
            },
            (Self::PositiveGradients(a), Self::PositiveGradients(b)) => {
                Self::PositiveGradients(a + b)
            }
            (
                Self::ObjectScores { counts, sums },
                Self::ObjectScores { counts: other_counts, sums: other_sums },
            ) => Self::ObjectScores { counts: counts + other_counts, sums: sums + other_sums },
            (Self::ErrorCounts(a), Self::ErrorCounts(b)) => Self::ErrorCounts(a + b),
            (a, _) => return Err(LossError::ForeignUpdate { method: a.source() }),
        })
    }

    /// The vectors of the update, to be summed over replicas; one order for each method.
    pub fn vectors(&self) -> Vec<Tensor<1>> {
        match self {
            Self::None | Self::Draws(_) => Vec::new(),
            Self::LabelCounts(counts) => vec![counts.clone()],
            Self::GradientSums { positive, negative }
            | Self::LossGradients { positive, negative } => {
                vec![positive.clone(), negative.clone()]
            }
            Self::PositiveGradients(gradients) => vec![gradients.clone()],
            Self::ObjectScores { counts, sums } => vec![counts.clone(), sums.clone()],
            Self::ErrorCounts(counts) => vec![counts.clone()],
        }
    }

    /// The update with other [`vectors`](Self::vectors); vectors that are absent stay.
    #[must_use]
    pub fn with_vectors(self, vectors: Vec<Tensor<1>>) -> Self {
        let mut vectors = vectors.into_iter();
        let mut or = |own: Tensor<1>| vectors.next().unwrap_or(own);
        match self {
            update @ (Self::None | Self::Draws(_)) => update,
            Self::LabelCounts(counts) => Self::LabelCounts(or(counts)),
            Self::GradientSums { positive, negative } => {
                Self::GradientSums { positive: or(positive), negative: or(negative) }
            }
            Self::LossGradients { positive, negative } => {
                Self::LossGradients { positive: or(positive), negative: or(negative) }
            }
            Self::PositiveGradients(gradients) => Self::PositiveGradients(or(gradients)),
            Self::ObjectScores { counts, sums } => {
                Self::ObjectScores { counts: or(counts), sums: or(sums) }
            }
            Self::ErrorCounts(counts) => Self::ErrorCounts(or(counts)),
        }
    }

    /// The update of a part of a batch whose mean loss counts for `share` of that of the batch, as
    /// on one of several devices. Counts and sums of single entries stay; gradients of the mean loss
    /// shrink as the loss does.
    #[must_use]
    pub fn of_part(self, share: f64) -> Self {
        match self {
            Self::PositiveGradients(gradients) if share != 1.0 => {
                Self::PositiveGradients(gradients.mul_scalar(share))
            }
            Self::LossGradients { positive, negative } if share != 1.0 => Self::LossGradients {
                positive: positive.mul_scalar(share),
                negative: negative.mul_scalar(share),
            },
            update => update,
        }
    }

    fn source(&self) -> &'static str {
        match self {
            Self::None => "a loss without statistics",
            Self::Draws(_) => "a loss that draws at random",
            Self::LabelCounts(_) => "seesaw",
            Self::GradientSums { .. } => "eql-v2",
            Self::LossGradients { .. } => "an equalized focal loss",
            Self::PositiveGradients(_) => "equalized-softmax",
            Self::ObjectScores { .. } => "loce",
            Self::ErrorCounts(_) => "ghm-c",
        }
    }
}
