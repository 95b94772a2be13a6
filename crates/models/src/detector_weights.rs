//! Weights of a detector from and to files with torchvision's names.

use std::collections::BTreeMap;
use std::path::Path;

use burn::store::ModuleSnapshot;
use burn::store::burn_pack::Tensor as FileTensor;
use longtail_losses::Background;
use serde::{Deserialize, Serialize};

use crate::backbone::BackboneConfig;
use crate::class_slots::{ClassAxis, SlotOrder};
use crate::coco91::Coco91;
use crate::detector::Detector;
use crate::detector_names::{current_name, rcnn_name};
use crate::error::ModelError;
use crate::weight_file;
use crate::weight_fit::{self, LoadReport, Place, WRAPPERS, WeightSource};

/// Where the ResNet of a detector lies in its file.
const BODY: &str = "backbone.body.";

/// How much of a file a detector takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectorLoadScope {
    /// The ResNet alone, from a classifier's file or a detector's: the usual start from ImageNet.
    Backbone,
    /// Everything but the layers that have rows for each class (the box predictor, the last layer of
    /// the masks, RetinaNet's last classifier layer), and a mask branch only if the detector has one:
    /// from one data set to another.
    AllButClasses,
    /// The whole file.
    All,
}

impl Detector {
    /// Loads weights by name from a `.safetensors` or PyTorch file.
    ///
    /// Names and shapes are those of torchvision's `fasterrcnn_resnet50_fpn`,
    /// `maskrcnn_resnet50_fpn` and `retinanet_resnet50_fpn`, today's and those of its published COCO
    /// weights. Where the loss has a background column, the file has it first and the detector last,
    /// in logits, class-specific boxes and masks alike. A file of COCO's 91 slots fits a detector of
    /// 80 classes ([`Coco91`]) as well as one of all slots. Names may be wrapped
    /// (`module.backbone.body.conv1.weight`); every number format becomes f32.
    ///
    /// The epsilon of the norms is no part of a file: torchvision's first COCO detectors want 0, see
    /// [`WeightSet`](crate::WeightSet). Statistics of the classification loss aren't either, see
    /// [`loss_state`](Self::loss_state).
    ///
    /// # Errors
    /// If the file can't be read, or a tensor in scope is missing, has another shape, or is one too
    /// many. Then the model is as before.
    pub fn load_weights(
        &mut self,
        path: impl AsRef<Path>,
        scope: DetectorLoadScope,
    ) -> Result<LoadReport, ModelError> {
        let path = path.as_ref();
        self.load_tensors(path, weight_file::read(path)?, scope)
    }

    /// As [`load_weights`](Self::load_weights), from the bytes of a `.safetensors` file, where there
    /// are no files: in a browser. `name` stands for the file in errors.
    ///
    /// # Errors
    /// As [`load_weights`](Self::load_weights).
    pub fn load_weight_bytes(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        scope: DetectorLoadScope,
    ) -> Result<LoadReport, ModelError> {
        let name = Path::new(name);
        self.load_tensors(name, weight_file::parse(name, bytes)?, scope)
    }

    fn load_tensors(
        &mut self,
        path: &Path,
        file: BTreeMap<String, FileTensor>,
        scope: DetectorLoadScope,
    ) -> Result<LoadReport, ModelError> {
        let names = Names::new(self);
        let source = match scope {
            DetectorLoadScope::Backbone => {
                let inside = |w: &str| [w.to_owned(), format!("{w}{BODY}")];
                let wrappers: Vec<String> = WRAPPERS.into_iter().flat_map(inside).collect();
                WeightSource::new(path, file, &wrappers, "conv1.weight", str::to_owned)
            }
            _ => {
                let marker = format!("{BODY}conv1.weight");
                WeightSource::new(path, file, &WRAPPERS.map(str::to_owned), &marker, current_name)
            }
        };
        let has_masks = self.has_masks();
        let (loaded, report) = weight_fit::load(
            self,
            source,
            self.describe(),
            |path, shape| names.place(path, shape, scope),
            |name| is_own(name, scope, has_masks),
        )?;
        *self = loaded;
        Ok(report)
    }

    /// Writes all weights as safetensors in the layout of [`load_weights`](Self::load_weights);
    /// torchvision's `load_state_dict` takes those of a detector that it has too. The file appears
    /// whole or not at all.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let names = Names::new(self);
        let place = |path: &str, shape: &[usize]| names.place(path, shape, DetectorLoadScope::All);
        weight_fit::save(self, path.as_ref(), place)
    }

    /// For messages: `mask-rcnn of 80 classes on resnet50`.
    fn describe(&self) -> String {
        let (kind, body) = match self {
            Self::RetinaNet(detector) => ("retinanet", &detector.backbone.body),
            Self::RCnn(detector) => {
                let kind = match (detector.roi_heads.stages.len(), detector.has_masks()) {
                    (1, false) => "faster-rcnn",
                    (1, true) => "mask-rcnn",
                    _ => "cascade-rcnn",
                };
                (kind, &detector.backbone.body)
            }
        };
        let body = BackboneConfig::name_of(body.config());
        format!("{kind} of {} classes on {body}", self.num_classes())
    }
}

/// Whether a name of a file, left over, would be part of such a detector.
fn is_own(name: &str, scope: DetectorLoadScope, has_masks: bool) -> bool {
    if name.ends_with("num_batches_tracked") {
        return false;
    }
    match scope {
        DetectorLoadScope::Backbone => {
            let first = name.split('.').next().unwrap_or(name);
            first.starts_with("layer") || first == "conv1" || first == "bn1"
        }
        DetectorLoadScope::AllButClasses => {
            let is_masks = name.starts_with("roi_heads.mask_");
            !(has_class_rows(name) || is_masks && !has_masks)
        }
        DetectorLoadScope::All => true,
    }
}

/// Whether a layer, by its name in files, has rows for each class.
fn has_class_rows(name: &str) -> bool {
    name.starts_with("roi_heads.") && name.contains("box_predictor.")
        || name.starts_with("roi_heads.mask_predictor.mask_fcn_logits.")
        || name.starts_with("head.classification_head.cls_logits.")
}

/// What the names and the order of a detector's tensors depend on.
struct Names {
    is_rcnn: bool,
    num_stages: usize,
    num_convs: usize,
    num_anchors: usize,
    num_classes: usize,
    num_logits: usize,
    background: Background,
}

impl Names {
    fn new(detector: &Detector) -> Self {
        let is_box_conv = |path: &str| path.contains(".stages.0.box_head.convs.");
        let tensors = detector.collect(None, None, true);
        let is_conv = |path: &str| is_box_conv(path) && path.ends_with(".0.weight");
        let num_convs = tensors.iter().filter(|tensor| is_conv(&tensor.name)).count();
        let (num_stages, num_anchors) = match detector {
            Detector::RCnn(detector) => (detector.roi_heads.stages.len(), 1),
            Detector::RetinaNet(detector) => (1, detector.anchors.num_anchors(0)),
        };
        let losses = detector.classification_losses();
        let loss = losses.first();
        Self {
            is_rcnn: matches!(detector, Detector::RCnn(_)),
            num_stages,
            num_convs,
            num_anchors,
            num_classes: loss.map_or(0, |loss| loss.num_classes()),
            num_logits: loss.map_or(0, |loss| loss.num_logits()),
            background: loss.map_or(Background::None, |loss| loss.background()),
        }
    }

    fn place(&self, path: &str, shape: &[usize], scope: DetectorLoadScope) -> Place {
        let name = match self.is_rcnn {
            true => rcnn_name(path, self.num_stages, self.num_convs),
            false => path.to_owned(),
        };
        match scope {
            DetectorLoadScope::Backbone => match name.strip_prefix(BODY) {
                Some(name) => Place::plain(name.to_owned(), true),
                None => Place::plain(name, false),
            },
            DetectorLoadScope::AllButClasses => {
                let is_in_scope = !has_class_rows(&name);
                Place::plain(name, is_in_scope)
            }
            DetectorLoadScope::All => {
                let classes = self.classes(&name, shape);
                Place { name, is_in_scope: true, classes }
            }
        }
    }

    /// The class axis of a tensor that has rows for each class.
    fn classes(&self, name: &str, shape: &[usize]) -> Option<ClassAxis> {
        let rows = shape.first().copied()?;
        if !has_class_rows(name) {
            return None;
        }
        let (outer, inner) = match self.is_rcnn {
            true if name.contains("bbox_pred.") => (1, 4),
            true => (1, 1),
            false => (self.num_anchors, 1),
        };
        let num_slots = rows / (outer * inner);
        let is_column = self.background == Background::Column && self.is_rcnn;
        let num_expected = match is_column {
            true => self.num_classes + 1,
            false if name.contains("cls_") => self.num_logits,
            false => self.num_classes,
        };
        if num_slots != num_expected {
            return None; // one for all classes, or a learned scale
        }
        let mut orders = match is_column {
            true => vec![SlotOrder::background_first(self.num_classes)],
            false => vec![SlotOrder::same(num_slots)],
        };
        let is_plain = num_slots == self.num_classes && !self.is_rcnn;
        if self.num_classes == Coco91::NUM_CLASSES && (is_column || is_plain) {
            orders.push(SlotOrder::coco91(is_column));
        }
        Some(ClassAxis { outer, inner, orders })
    }
}
