//! Settings of the samplers.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::error::{check_positive, check_probability};

/// How an epoch is drawn from a long-tailed set. Below, `n_j` is the number of images of class
/// `j`, `C` the number of classes that have any, `N` the number of images.
///
/// An epoch is `N` images long whatever the sampler. The samplers that draw classes at random take
/// the next image of a shuffled cycle over the class: an image comes again only when all others of
/// its class were used. Probabilities: Kang et al., ICLR 2020, <https://arxiv.org/abs/1910.09217>.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", from = "Written")]
pub enum SamplerConfig {
    /// Every image once, in the order of the set.
    Sequential,
    /// Every image once, shuffled.
    #[default]
    InstanceBalanced,
    /// Classes drawn with equal probability `1 / C`.
    ClassBalanced,
    /// Classes drawn with probability proportional to `sqrt(n_j)`.
    SquareRoot,
    /// Classes drawn with probability proportional to `n_j^exponent`.
    Power {
        /// 1 is instance-balanced, 0 class-balanced, 0.5 square-root.
        exponent: f64,
    },
    /// From instance-balanced in the first epoch to class-balanced in the last:
    /// `p_j = (1 - t) n_j / N + t / C`, `t = epoch / (epochs - 1)`.
    Progressive {
        /// Epochs of the whole run.
        epochs: usize,
    },
    /// A shuffled cycle over the classes; each class gives some images in a row.
    ClassAware {
        /// Images in a row. Default 4, as in the released code of cRT and of Balanced Softmax.
        images_per_class: usize,
    },
    /// Classes drawn with probability proportional to `n_j (1 - beta) / (1 - beta^n_j)`: each
    /// image weighs one over its class's effective number (Cui et al., CVPR 2019,
    /// <https://arxiv.org/abs/1901.05555>). `beta` of 0 is instance-balanced, 1 class-balanced.
    EffectiveNumber {
        /// In `[0, 1]`. Usual: 0.9 to 0.9999.
        beta: f64,
    },
    /// Images copied or dropped until classes are equal in expectation: with
    /// `r_j = (N / C) / n_j`, an image of a class with `r_j < 1` is kept with probability `r_j`;
    /// others appear `floor(r_j)` times, plus once with probability `r_j - floor(r_j)`. Shuffled,
    /// then cut or filled by another such draw to `N` images. The pipeline of class-balanced
    /// distillation (Iscen et al., BMVC 2021, <https://arxiv.org/abs/2104.05279>, released code).
    ClassBalancedCopies,
}

/// The same as written in a recipe. The empty braces make serde refuse unknown keys.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Written {
    Sequential {},
    InstanceBalanced {},
    ClassBalanced {},
    SquareRoot {},
    Power {
        exponent: f64,
    },
    Progressive {
        epochs: usize,
    },
    ClassAware {
        #[serde(default = "default_images_per_class")]
        images_per_class: usize,
    },
    EffectiveNumber {
        beta: f64,
    },
    ClassBalancedCopies {},
}

impl From<Written> for SamplerConfig {
    fn from(written: Written) -> Self {
        match written {
            Written::Sequential {} => Self::Sequential,
            Written::InstanceBalanced {} => Self::InstanceBalanced,
            Written::ClassBalanced {} => Self::ClassBalanced,
            Written::SquareRoot {} => Self::SquareRoot,
            Written::Power { exponent } => Self::Power { exponent },
            Written::Progressive { epochs } => Self::Progressive { epochs },
            Written::ClassAware { images_per_class } => Self::ClassAware { images_per_class },
            Written::EffectiveNumber { beta } => Self::EffectiveNumber { beta },
            Written::ClassBalancedCopies {} => Self::ClassBalancedCopies,
        }
    }
}

fn default_images_per_class() -> usize {
    4
}

impl SamplerConfig {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        match *self {
            Self::Power { exponent } if !exponent.is_finite() => {
                Err(DataError::setting("sampler.exponent", "a finite number", exponent))
            }
            Self::Progressive { epochs } => check_positive("sampler.epochs", epochs),
            Self::ClassAware { images_per_class } => {
                check_positive("sampler.images_per_class", images_per_class)
            }
            Self::EffectiveNumber { beta } => check_probability("sampler.beta", beta),
            _ => Ok(()),
        }
    }

    /// Probability that the next image is of class `j`, up to a common factor, for a class with
    /// `count` images; `None` if the sampler does not draw classes at random.
    pub(super) fn class_weight(
        &self,
        count: usize,
        total: usize,
        num_classes: usize,
        epoch: u64,
    ) -> Option<f64> {
        if count == 0 {
            return Some(0.0);
        }
        let n = count as f64;
        match *self {
            Self::ClassBalanced => Some(1.0),
            Self::SquareRoot => Some(n.sqrt()),
            Self::Power { exponent } => Some(n.powf(exponent)),
            Self::Progressive { epochs } => {
                let last = epochs.saturating_sub(1).max(1) as f64;
                let t = (epoch as f64 / last).min(1.0);
                Some((1.0 - t) * n / total as f64 + t / num_classes as f64)
            }
            Self::EffectiveNumber { beta: 1.0 } => Some(1.0),
            Self::EffectiveNumber { beta } => Some(n * (1.0 - beta) / (1.0 - beta.powf(n))),
            Self::Sequential
            | Self::InstanceBalanced
            | Self::ClassAware { .. }
            | Self::ClassBalancedCopies => None,
        }
    }
}
