//! Settings of the samplers.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::error::check_positive;

/// How often a class occurs, for repeat factors. Counts are over
/// [targets](crate::Annotation::is_target).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepeatFrequency {
    /// Images with the class over images: Gupta et al., CVPR 2019 (LVIS),
    /// <https://arxiv.org/abs/1908.03195>.
    #[default]
    Image,
    /// Objects of the class over objects.
    Instance,
    /// The geometric mean of both: instance-aware repeat factors, Yaman et al., 2023,
    /// <https://arxiv.org/abs/2305.08069>.
    ImageAndInstance,
}

/// How an epoch is drawn from a long-tailed detection set.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", from = "Written")]
pub enum DetectionSamplerConfig {
    /// Every image once, in the order of the set.
    Sequential,
    /// Every image once, shuffled.
    #[default]
    Shuffled,
    /// Images with rare classes come several times: a class of frequency `f` has the factor
    /// `max(1, (threshold / f)^exponent)`, an image the largest factor of its classes, and 1
    /// without objects. Each epoch, an image comes `floor(r)` times and once more with probability
    /// `r - floor(r)`; then all are shuffled. Epochs differ in length.
    ///
    /// Gupta et al., CVPR 2019, <https://arxiv.org/abs/1908.03195>, rounded as in detectron2.
    /// `threshold = 1, exponent = 1` are the factors `1 / f` of Balanced Meta-Softmax's sampler.
    RepeatFactor {
        /// Frequency below which a class is repeated. Default 0.001, as for LVIS v1; EQL's v0.5
        /// recipe has 0.0005.
        threshold: f64,
        /// Default 0.5, the square root.
        exponent: f64,
        /// What is counted. Default: images.
        frequency: RepeatFrequency,
    },
    /// A shuffled cycle over the classes that have an object; each class gives the next images of
    /// its own shuffled cycle. As many images as the set has; none without objects. The image
    /// sampler of EQL v2's decoupled training (released code).
    ClassAware {
        /// Images in a row. Default 1.
        images_per_class: usize,
    },
}

/// The same as written in a recipe. The empty braces make serde refuse unknown keys.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Written {
    Sequential {},
    Shuffled {},
    RepeatFactor {
        #[serde(default = "default_threshold")]
        threshold: f64,
        #[serde(default = "default_exponent")]
        exponent: f64,
        #[serde(default)]
        frequency: RepeatFrequency,
    },
    ClassAware {
        #[serde(default = "default_images_per_class")]
        images_per_class: usize,
    },
}

impl From<Written> for DetectionSamplerConfig {
    fn from(written: Written) -> Self {
        match written {
            Written::Sequential {} => Self::Sequential,
            Written::Shuffled {} => Self::Shuffled,
            Written::RepeatFactor { threshold, exponent, frequency } => {
                Self::RepeatFactor { threshold, exponent, frequency }
            }
            Written::ClassAware { images_per_class } => Self::ClassAware { images_per_class },
        }
    }
}

fn default_threshold() -> f64 {
    0.001
}

fn default_exponent() -> f64 {
    0.5
}

fn default_images_per_class() -> usize {
    1
}

impl DetectionSamplerConfig {
    /// Repeat factors by images with the square root, as in LVIS.
    pub fn repeat_factor(threshold: f64) -> Self {
        let (exponent, frequency) = (default_exponent(), RepeatFrequency::Image);
        Self::RepeatFactor { threshold, exponent, frequency }
    }

    pub(super) fn validate(&self) -> Result<(), DataError> {
        match *self {
            Self::RepeatFactor { threshold, exponent, .. } => {
                if !(threshold > 0.0 && threshold <= 1.0) {
                    let expected = "a frequency in (0, 1]";
                    return Err(DataError::setting("sampler.threshold", expected, threshold));
                }
                if !(0.0..=1.0).contains(&exponent) {
                    return Err(DataError::setting("sampler.exponent", "in [0, 1]", exponent));
                }
                Ok(())
            }
            Self::ClassAware { images_per_class } => {
                check_positive("sampler.images_per_class", images_per_class)
            }
            Self::Sequential | Self::Shuffled => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_form() {
        let read = |text| serde_json::from_str::<DetectionSamplerConfig>(text);
        let config = read(r#"{"kind": "repeat-factor"}"#).unwrap();
        assert_eq!(config, DetectionSamplerConfig::repeat_factor(0.001));
        let text = r#"{"kind":"repeat-factor","threshold":0.01,"exponent":0.5,"frequency":"image-and-instance"}"#;
        assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        let config = read(r#"{"kind": "class-aware"}"#).unwrap();
        assert_eq!(config, DetectionSamplerConfig::ClassAware { images_per_class: 1 });
        for wrong in [r#"{"kind": "shuffled", "t": 1}"#, r#"{"kind": "rfs"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let error = |config: DetectionSamplerConfig| config.validate().unwrap_err().to_string();
        let expected = "sampler.threshold must be a frequency in (0, 1], got 0";
        assert_eq!(error(DetectionSamplerConfig::repeat_factor(0.0)), expected);
        assert!(error(DetectionSamplerConfig::repeat_factor(f64::NAN)).ends_with("got NaN"));
        let class_aware = DetectionSamplerConfig::ClassAware { images_per_class: 0 };
        assert_eq!(error(class_aware), "sampler.images_per_class must be at least 1, got 0");
    }
}
