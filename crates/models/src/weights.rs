//! Weights of a classifier from and to files with PyTorch's names.

use std::collections::BTreeMap;
use std::path::Path;

use burn::store::burn_pack::Tensor as FileTensor;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::DType;
use safetensors::tensor::Dtype;

use crate::backbone::Backbone;
use crate::classifier::Classifier;
use crate::error::{ModelError, ShapeMismatch};
use crate::head::ClassifierHead;
use crate::weight_file::{self, OwnedTensor};

/// Names under which files wrap a state dictionary.
const WRAPPERS: [&str; 7] =
    ["", "module.", "state_dict.", "state_dict.module.", "model.", "model.module.", "backbone."];

/// How much of a file is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadScope {
    /// Everything but the head, which keeps its weights: the usual start from ImageNet weights.
    Backbone,
    /// Backbone and head; the number of logits must be the same.
    All,
}

/// What a load did, in the file's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Tensors now in the model.
    pub applied: Vec<String>,
    /// Tensors of the model that were left as they were: the head's under [`LoadScope::Backbone`].
    pub missing: Vec<String>,
    /// Tensors of the file that were not used, among them every `num_batches_tracked`.
    pub unused: Vec<String>,
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
        let path = path.as_ref();
        let fit = self.fit(path, weight_file::read(path)?, scope)?;
        let failed = |reason: String| ModelError::Read { path: path.to_owned(), reason };
        let tensors = fit.tensors.into_iter().map(|(module_path, tensor)| {
            let data = bridge::into_data(tensor).map_err(|error| failed(error.to_string()))?;
            Ok(bridge::from_data(data.convert_dtype(DType::F32), module_path, None))
        });
        let tensors = tensors.collect::<Result<Vec<_>, ModelError>>()?;
        let mut loaded = self.deep_copy();
        let result = loaded.apply(tensors, None, None, true);
        if let Some(error) = result.errors.first() {
            return Err(failed(error.to_string()));
        }
        *self = loaded;
        Ok(fit.report)
    }

    /// Writes all weights as safetensors with the names of [`load_weights`](Self::load_weights);
    /// PyTorch's `load_state_dict` takes them. The file appears whole or not at all.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let path = path.as_ref();
        let failed = |reason: String| ModelError::Write { path: path.to_owned(), reason };
        let mut tensors = Vec::new();
        for tensor in self.collect(None, None, true) {
            let name = self.file_name(&tensor.name, self.head_name());
            let data = bridge::into_data(tensor).map_err(|error| failed(error.to_string()))?;
            let shape = data.shape().to_vec();
            let values = data.convert::<f32>().try_to_vec::<f32>();
            let values = values.map_err(|error| failed(format!("{name}: {error:?}")))?;
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            if let Some(layer) = name.strip_suffix("running_var") {
                let name = format!("{layer}num_batches_tracked");
                let (dtype, shape, bytes) = (Dtype::I64, Vec::new(), vec![0; 8]);
                tensors.push(OwnedTensor { name, dtype, shape, bytes });
            }
            tensors.push(OwnedTensor { name, dtype: Dtype::F32, shape, bytes });
        }
        weight_file::write(path, &tensors)
    }

    /// Matches the model's tensors with the file's, all or nothing.
    fn fit(
        &self,
        path: &Path,
        mut file: BTreeMap<String, FileTensor>,
        scope: LoadScope,
    ) -> Result<Fit, ModelError> {
        let has = |name: String| file.contains_key(&name);
        let wrapper = WRAPPERS.into_iter().find(|w| has(format!("{w}conv1.weight"))).unwrap_or("");
        let usual = self.head_name();
        let heads = [usual, "fc", "linear"];
        let head = heads.into_iter().find(|h| has(format!("{wrapper}{h}.weight"))).unwrap_or(usual);

        let mut fit = Fit::default();
        let (mut missing, mut mismatched) = (Vec::new(), Vec::new());
        for tensor in self.collect(None, None, true) {
            let name = format!("{wrapper}{}", self.file_name(&tensor.name, head));
            if scope == LoadScope::Backbone && tensor.name.starts_with("head.") {
                fit.report.missing.push(name);
                continue;
            }
            match file.remove(&name) {
                None => missing.push(name),
                Some(found) if found.shape != tensor.shape => {
                    let (found, expected) = (found.shape.to_vec(), tensor.shape.to_vec());
                    mismatched.push(ShapeMismatch { name, found, expected });
                }
                Some(found) => {
                    fit.report.applied.push(name);
                    fit.tensors.push((tensor.name, found));
                }
            }
        }
        fit.report.unused = file.into_keys().collect();
        let belongs = |name: &&String| {
            name.strip_prefix(wrapper).is_some_and(|name| self.is_own(name, head, scope))
        };
        let unexpected: Vec<String> = fit.report.unused.iter().filter(belongs).cloned().collect();
        if missing.is_empty() && mismatched.is_empty() && unexpected.is_empty() {
            return Ok(fit);
        }
        let (path, model) = (path.to_owned(), self.describe());
        Err(ModelError::WrongWeights { path, model, missing, unexpected, mismatched })
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
        first.starts_with("layer") || first == "conv1" || first == "bn1"
    }

    /// `backbone.conv1.weight` is `conv1.weight` in files, `head.weight` is `fc.weight`.
    fn file_name(&self, module_path: &str, head: &str) -> String {
        match module_path.split_once('.') {
            Some(("backbone", name)) => name.to_owned(),
            Some(("head", name)) => format!("{head}.{name}"),
            _ => module_path.to_owned(),
        }
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

#[derive(Default)]
struct Fit {
    tensors: Vec<(String, FileTensor)>, // by path in the module
    report: LoadReport,
}
