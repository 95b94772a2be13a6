//! Which columns a classifier has.

use crate::LossError;

/// How a method sees background, the label `num_classes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// There is none: labels are `0..num_classes`.
    None,
    /// A background row has no positive; there is no column for it.
    NoColumn,
    /// One column after the classes.
    Column,
    /// Two columns after the classes: foreground, background.
    Objectness,
}

impl Background {
    /// Columns beyond the classes.
    pub fn num_columns(self) -> usize {
        match self {
            Self::None | Self::NoColumn => 0,
            Self::Column => 1,
            Self::Objectness => 2,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::None => "one per class",
            Self::NoColumn => "one per class, none for background",
            Self::Column => "one per class, then background",
            Self::Objectness => "one per class, then foreground and background",
        }
    }

    fn describe_grouped(self) -> &'static str {
        match self {
            Self::None | Self::NoColumn => "one per class, then \"others\" of each group",
            Self::Column => "one per class, then \"others\" of each group, then background",
            Self::Objectness => {
                "one per class, then \"others\" of each group, then foreground and background"
            }
        }
    }
}

/// The classifier that a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub(crate) method: &'static str,
    pub(crate) num_classes: usize,
    pub(crate) background: Background,
    pub(crate) multi_label: bool,
    /// Groups of classes with a column "others" each.
    pub(crate) num_groups: usize,
}

impl Layout {
    pub(crate) fn softmax(
        method: &'static str,
        num_classes: usize,
        background: Background,
    ) -> Self {
        Self { method, num_classes, background, multi_label: false, num_groups: 0 }
    }

    pub(crate) fn sigmoid(
        method: &'static str,
        num_classes: usize,
        background: Background,
    ) -> Self {
        Self { method, num_classes, background, multi_label: true, num_groups: 0 }
    }

    /// The classes fall into groups, each with a column for "none of this group" behind the classes.
    pub(crate) fn with_groups(self, num_groups: usize) -> Self {
        Self { num_groups, ..self }
    }

    /// The method's name in a recipe.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Number of classes, without background.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// How background is seen.
    pub fn background(&self) -> Background {
        self.background
    }

    /// Columns of the logits.
    pub fn num_logits(&self) -> usize {
        self.num_classes + self.num_groups + self.background.num_columns()
    }

    /// Labels are `0..num_labels`: the classes, and background where the method has it.
    pub fn num_labels(&self) -> usize {
        self.num_classes + usize::from(self.background != Background::None)
    }

    /// Groups of classes with a softmax of their own and a column "others" each, which come after
    /// the classes; 0 for methods without groups.
    pub fn num_groups(&self) -> usize {
        self.num_groups
    }

    /// Whether rows may have several positives.
    pub fn is_multi_label(&self) -> bool {
        self.multi_label
    }

    /// Refuses logits of another width.
    pub(crate) fn check_width(&self, found: usize) -> Result<(), LossError> {
        if found == self.num_logits() {
            return Ok(());
        }
        Err(LossError::LogitWidth {
            method: self.method,
            num_classes: self.num_classes,
            expected: self.num_logits(),
            layout: match self.num_groups {
                0 => self.background.describe(),
                _ => self.background.describe_grouped(),
            },
            found,
        })
    }
}
