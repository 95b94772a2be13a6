//! Weights of a classifier from and to files with PyTorch's names.

use std::path::Path;

use crate::backbone::Backbone;
use crate::classifier::Classifier;
use crate::error::ModelError;
use crate::head::ClassifierHead;
use crate::weight_fit::{self, LoadReport, Place, WRAPPERS, WeightSource};

/// How much of a file is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadScope {
    /// Everything but head and projection, which keep their weights: the usual start from ImageNet weights.
    Backbone,
    /// Backbone and head; the number of logits must be the same.
    All,
}

impl Classifier {
    /// Loads weights by name from a `.safetensors` or PyTorch file.
    ///
    /// Names and shapes are those of torchvision's ResNets (`conv1.weight`, `layer1.0.bn1.bias`,
    /// `fc.weight`), and for CIFAR those of the usual PyTorch versions (`linear.weight`); names may
    /// be wrapped as in `module.conv1.weight`. A learned cosine scale is `fc.scale`. Every number
    /// format becomes f32. A tau-normalised head ignores the file's bias.
    ///
    /// # Errors
    /// If the file can't be read, or a tensor in scope is missing, has another shape, or is one too
    /// many. Then the model is as before.
    pub fn load_weights(
        &mut self,
        path: impl AsRef<Path>,
        scope: LoadScope,
    ) -> Result<LoadReport, ModelError> {
        let wrappers = WRAPPERS.map(str::to_owned);
        let source = WeightSource::open(path.as_ref(), &wrappers, "conv1.weight", str::to_owned)?;
        let usual = self.head_name();
        let heads = [usual, "fc", "linear"];
        let has_head = |head: &&str| source.has(&format!("{head}.weight"));
        let head = heads.into_iter().find(has_head).unwrap_or(usual);
        let place = |path: &str, _: &[usize]| {
            let is_late = path.starts_with("head.") || path.starts_with("projection.");
            let is_in_scope = scope == LoadScope::All || !is_late;
            Place::plain(file_name(path, head), is_in_scope)
        };
        let is_own = |name: &str| self.is_own(name, head, scope);
        let (loaded, report) = weight_fit::load(self, source, self.describe(), place, is_own)?;
        *self = loaded;
        Ok(report)
    }

    /// Writes all weights as safetensors with the names of [`load_weights`](Self::load_weights);
    /// PyTorch's `load_state_dict` takes them. The file appears whole or not at all.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let head = self.head_name();
        let place = |path: &str, _: &[usize]| Place::plain(file_name(path, head), true);
        weight_fit::save(self, path.as_ref(), place)
    }

    /// Whether a name of a file, left over, would be part of such a model: then the file is another
    /// model's, for example a deeper one's.
    fn is_own(&self, name: &str, head: &str, scope: LoadScope) -> bool {
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        if rest.ends_with("num_batches_tracked") {
            return false;
        }
        if first == head {
            let is_discarded =
                rest == "bias" && matches!(self.head, ClassifierHead::TauNormalized(_));
            return scope == LoadScope::All && !is_discarded;
        }
        if first == "projection" {
            return scope == LoadScope::All;
        }
        first.starts_with("layer") || first == "conv1" || first == "bn1"
    }

    fn head_name(&self) -> &'static str {
        match self.backbone {
            Backbone::ResNet(_) => "fc",
            Backbone::Cifar(_) => "linear",
        }
    }

    /// For messages: `resnet50 with a linear head of 10 logits`.
    fn describe(&self) -> String {
        let (backbone, head) = (self.backbone.name(), self.head.name());
        format!("{backbone} with a {head} head of {} logits", self.num_logits())
    }
}

/// `backbone.conv1.weight` is `conv1.weight` in files, `head.weight` is `fc.weight`.
fn file_name(module_path: &str, head: &str) -> String {
    match module_path.split_once('.') {
        Some(("backbone", name)) => name.to_owned(),
        Some(("head", name)) => format!("{head}.{name}"),
        _ => module_path.to_owned(),
    }
}
