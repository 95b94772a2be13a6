//! ResNets, classifier heads, detectors and weight files for long-tailed recognition.
//!
//! A [`Classifier`] is a [`Backbone`] and a [`ClassifierHead`]. Its parameters carry the names and
//! shapes of the PyTorch models, so weight files travel both ways (see [`Classifier::load_weights`]).
//! First weights depend on the seed and on the parameter's name alone, not on the device.
//!
//! A [`Detector`] is Faster, Mask or Cascade R-CNN or RetinaNet on a ResNet with a feature pyramid,
//! made by a [`DetectorConfig`] around a classification loss: the loss decides the columns of the
//! classifier, its first bias, how background is seen and what a score is.
//! [`Detector::losses`] and [`Detector::detect`] are two methods, not two modes of one.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use longtail_models::{BackboneConfig, ClassifierConfig};
//!
//! let device = Device::default();
//! let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
//! let classifier = config.init(10, None, 0, &device)?; // 10 logits, seed 0
//! let logits = classifier.forward(Tensor::zeros([2, 3, 32, 32], &device));
//! assert_eq!(logits.dims(), [2, 10]);
//! # Ok::<(), longtail_models::ModelError>(())
//! ```

mod backbone;
mod batch_norm;
mod block;
mod box_loss;
mod buffer;
mod cam_calibration;
mod causal_norm;
mod cifar_resnet;
mod class_slots;
mod classifier;
mod coco91;
mod conv;
mod conv_norm;
mod cosine;
mod detector;
mod detector_config;
mod detector_input;
mod detector_losses;
mod detector_names;
mod detector_weights;
mod error;
mod fpn;
mod frozen_batch_norm;
mod group_norm;
mod head;
mod held_loss;
mod host;
mod linear;
mod nearest_mean;
mod norm;
mod projection;
mod raw_detection;
mod rcnn;
mod resnet;
mod resnet_fpn;
mod retinanet;
mod retinanet_config;
mod retinanet_detections;
mod retinanet_head;
mod scaled_linear;
mod tau_normalized;
mod weight_file;
mod weight_fit;
mod weight_init;
mod weight_sets;
mod weights;

pub use backbone::{Backbone, BackboneConfig};
pub use batch_norm::{BatchNorm2d, BatchNorm2dConfig};
pub use block::{BasicBlock, BlockConfig, Bottleneck, ResidualBlock};
pub use buffer::Buffer;
pub use cam_calibration::{CalibratedFeatures, CamCalibration, CamCalibrationConfig};
pub use causal_norm::{CausalNorm, CausalNormConfig};
pub use cifar_resnet::{CifarBlock, CifarResNet, CifarResNetConfig};
pub use class_slots::LabelTable;
pub use classifier::{Classifier, ClassifierConfig, LabeledLogits};
pub use coco91::Coco91;
pub use conv::{BiasInit, Conv2d, Conv2dConfig, ConvInit};
pub use cosine::{Cosine, CosineConfig, CosineInit, CosineScale};
pub use detector::{Detector, FreezeScope};
pub use detector_config::DetectorConfig;
pub use detector_losses::{DetectorLosses, StepKey};
pub use detector_weights::DetectorLoadScope;
pub use error::{ModelError, ShapeMismatch};
pub use fpn::{ExtraLevels, Fpn, FpnConfig, PyramidLevels};
pub use frozen_batch_norm::FrozenBatchNorm2d;
pub use group_norm::GroupNorm;
pub use head::{ClassifierHead, HeadConfig};
pub use linear::{Linear, LinearConfig};
pub use nearest_mean::{MeanDistance, MeanFeatures, NearestMean, NearestMeanConfig};
pub use norm::{Norm, NormConfig, NormStatistics};
pub use projection::{Projection, ProjectionConfig};
pub use raw_detection::RawDetection;
pub use rcnn::{
    BoxHead, BoxHeadConfig, BoxLayersConfig, BoxOutput, BoxPredictor, BoxStage, BoxTargetConfig,
    CascadeRcnnConfig, CascadeTargetConfig, ClassifierRows, ConvFc, DetectionConfig,
    FasterRcnnConfig, FeatureMemory, FeatureMemoryConfig, MaskHead, MaskHeadConfig, MaskPredictor,
    MaskRcnnConfig, ProposalLimits, RCnn, Regions, RoiHeads, RoiSamplingConfig, Rpn, RpnConfig,
    RpnHead, RpnOutput, StageLosses, TwoFc,
};
pub use resnet::{ResNet, ResNetConfig, ResNetFeatures};
pub use resnet_fpn::{DetectorBackboneConfig, ResNetFpn};
pub use retinanet::RetinaNet;
pub use retinanet_config::RetinaNetConfig;
pub use retinanet_detections::RetinaNetDetectionConfig;
pub use retinanet_head::{
    ClassificationTower, RegressionTower, RetinaNetHead, RetinaNetHeadConfig, RetinaNetOutput,
};
pub use scaled_linear::{ScaledLinear, ScaledLinearConfig};
pub use tau_normalized::{TauNormalized, TauNormalizedConfig};
pub use weight_file::{WeightEntry, inspect};
pub use weight_fit::LoadReport;
pub use weight_init::{Fill, WeightInit};
pub use weight_sets::{CocoDetector, WeightSet, WeightTarget};
pub use weights::LoadScope;
