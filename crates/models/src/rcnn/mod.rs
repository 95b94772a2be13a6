//! Two-stage detectors.

mod assembly;
mod box_head;
mod box_predictor;
mod box_stage;
pub(crate) mod check;
mod classifier_rows;
mod config;
pub(crate) mod conv_block;
mod detections;
mod feature_memory;
mod mask_head;
mod mask_predictor;
mod pooling;
mod proposals;
mod roi_heads;
mod rois;
mod rpn;
mod rpn_head;
mod two_stage;

pub use box_head::{BoxHead, BoxLayersConfig, ConvFc, TwoFc};
pub use box_predictor::BoxPredictor;
pub use box_stage::{BoxOutput, BoxStage, StageLosses};
pub use classifier_rows::ClassifierRows;
pub use config::{
    BoxHeadConfig, BoxTargetConfig, CascadeRcnnConfig, CascadeTargetConfig, FasterRcnnConfig,
    MaskRcnnConfig, RoiSamplingConfig,
};
pub use detections::DetectionConfig;
pub use feature_memory::{FeatureMemory, FeatureMemoryConfig};
pub use mask_head::{MaskHead, MaskHeadConfig};
pub use mask_predictor::MaskPredictor;
pub use proposals::ProposalLimits;
pub use roi_heads::RoiHeads;
pub use rois::Regions;
pub use rpn::{Rpn, RpnConfig, RpnOutput};
pub use rpn_head::RpnHead;
pub use two_stage::RCnn;
