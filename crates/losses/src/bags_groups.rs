//! The groups of Balanced Group Softmax: which columns belong together.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use longtail_kernels::ColumnGroups;

use crate::rows::{indices, table};

/// A group that has classes.
#[derive(Module, Debug)]
pub(crate) struct Members {
    /// Columns of its classes, then its "others".
    pub(crate) columns: Tensor<1, Int>,
    /// Which group it is.
    pub(crate) index: usize,
    pub(crate) num_classes: usize,
}

impl Members {
    pub(crate) fn new(index: usize, groups: &[usize], device: &Device) -> Self {
        let mut columns: Vec<usize> =
            (0..groups.len()).filter(|&class| groups[class] == index).collect();
        let num_classes = columns.len();
        columns.push(groups.len() + index);
        Self { columns: indices(&columns, device), index, num_classes }
    }
}

/// The columns that compete with each other: those of each group that has classes, then foreground
/// and background.
#[derive(Module, Debug)]
pub(crate) struct Competition {
    members: Tensor<2>,      // 1 for the columns of a group, [groups, num_logits]
    targets: Tensor<2, Int>, // column of each label, [groups, num_classes + 1]
}

impl Competition {
    /// `used` are the groups that have classes, `groups` that of each class.
    pub(crate) fn new(
        used: &[usize],
        groups: &[usize],
        num_logits: usize,
        has_background: bool,
        device: &Device,
    ) -> Self {
        let num_classes = groups.len();
        let (mut members, mut targets) = (Vec::new(), Vec::new());
        for &group in used {
            let others = num_classes + group;
            let is_own = |class: usize| groups.get(class) == Some(&group);
            let is_member = |column| is_own(column) || column == others;
            members.extend((0..num_logits).map(|column| f64::from(is_member(column))));
            targets
                .extend((0..=num_classes).map(|class| if is_own(class) { class } else { others }));
        }
        if has_background {
            let (foreground, background) = (num_logits - 2, num_logits - 1);
            members.extend((0..num_logits).map(|column| f64::from(column >= foreground)));
            targets.extend((0..num_classes).map(|_| foreground));
            targets.push(background);
        }
        let num_groups = used.len() + usize::from(has_background);
        Self {
            members: table(members, device).reshape([num_groups, num_logits]),
            targets: indices(&targets, device).reshape([num_groups, num_classes + 1]),
        }
    }

    pub(crate) fn groups(&self) -> ColumnGroups {
        ColumnGroups { members: self.members.clone(), targets: self.targets.clone() }
    }
}
