//! Fitting the tensors of a file to those of a model, all or nothing, and writing them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::burn_pack::Tensor as FileTensor;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::{DType, TensorData};
use safetensors::tensor::Dtype;

use crate::class_slots::{ClassAxis, LabelTable};
use crate::error::{ModelError, ShapeMismatch};
use crate::weight_file::{self, OwnedTensor};

/// Names under which files wrap a state dictionary.
pub(crate) const WRAPPERS: [&str; 7] =
    ["", "module.", "state_dict.", "state_dict.module.", "model.", "model.module.", "backbone."];

/// What a load did, in the file's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Tensors now in the model.
    pub applied: Vec<String>,
    /// Tensors of the model that were left as they were: those out of scope.
    pub missing: Vec<String>,
    /// Tensors of the file that were not used, among them every `num_batches_tracked`.
    pub unused: Vec<String>,
    /// How the classes of the file became those of the model.
    pub labels: LabelTable,
}

/// A file whose names are those of a model.
pub(crate) struct WeightSource {
    path: PathBuf,
    wrapper: String,
    /// By the model's name: the name in the file, and the tensor.
    tensors: BTreeMap<String, (String, FileTensor)>,
    /// Names outside of the wrapper.
    others: Vec<String>,
}

impl WeightSource {
    /// Opens a file. Its names begin with the first of `wrappers` under which it has `marker`;
    /// `rename` turns what follows into the model's names.
    pub(crate) fn open(
        path: &Path,
        wrappers: &[String],
        marker: &str,
        rename: impl Fn(&str) -> String,
    ) -> Result<Self, ModelError> {
        Ok(Self::new(path, weight_file::read(path)?, wrappers, marker, rename))
    }

    /// The same of the tensors of a file that was read; `path` names it in errors.
    pub(crate) fn new(
        path: &Path,
        file: BTreeMap<String, FileTensor>,
        wrappers: &[String],
        marker: &str,
        rename: impl Fn(&str) -> String,
    ) -> Self {
        let has = |wrapper: &&String| file.contains_key(&format!("{wrapper}{marker}"));
        let wrapper = wrappers.iter().find(has).cloned().unwrap_or_default();
        let (mut tensors, mut others) = (BTreeMap::new(), Vec::new());
        for (name, tensor) in file {
            match name.strip_prefix(&wrapper).map(&rename) {
                Some(own) => drop(tensors.insert(own, (name, tensor))),
                None => others.push(name),
            }
        }
        Self { path: path.to_owned(), wrapper, tensors, others }
    }

    /// Whether there is a tensor of this name of the model.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

/// Where a tensor of the model stands in a file.
pub(crate) struct Place {
    /// Name in the file, without wrapper.
    pub(crate) name: String,
    /// Whether it is loaded.
    pub(crate) is_in_scope: bool,
    /// The order of the classes, where the tensor has one row or more for each.
    pub(crate) classes: Option<ClassAxis>,
}

impl Place {
    /// A tensor without classes.
    pub(crate) fn plain(name: String, is_in_scope: bool) -> Self {
        Self { name, is_in_scope, classes: None }
    }
}

/// Loads a file into a copy of `module`. `place` says where a tensor of the module (by path and
/// shape) stands, `is_own` whether a name of the file, left over, would be part of such a model:
/// then the file is another model's, for example a deeper one's.
pub(crate) fn load<M: Module>(
    module: &M,
    mut source: WeightSource,
    model: String,
    place: impl Fn(&str, &[usize]) -> Place,
    is_own: impl Fn(&str) -> bool,
) -> Result<(M, LoadReport), ModelError> {
    let (mut report, mut found) = (LoadReport::default(), Vec::new());
    let (mut missing, mut mismatched) = (Vec::new(), Vec::new());
    for tensor in module.collect(None, None, true) {
        let shape = tensor.shape.to_vec();
        let Place { name, is_in_scope, classes } = place(&tensor.name, &shape);
        let wrapped = format!("{}{name}", source.wrapper);
        if !is_in_scope {
            report.missing.push(wrapped);
            continue;
        }
        let Some((name, stored)) = source.tensors.remove(&name) else {
            missing.push(wrapped);
            continue;
        };
        match order_of(&stored.shape, &shape, classes) {
            Ok(order) => {
                if let Some((_, LabelTable::Coco91)) = &order {
                    report.labels = LabelTable::Coco91;
                }
                report.applied.push(name);
                found.push((tensor.name, shape, stored, order.map(|(axis, _)| axis)));
            }
            Err(expected) => {
                mismatched.push(ShapeMismatch { name, found: stored.shape.to_vec(), expected });
            }
        }
    }
    let left = source.tensors.iter().filter(|(name, _)| is_own(name));
    let unexpected: Vec<String> = left.map(|(_, (name, _))| name.clone()).collect();
    report.unused = source.tensors.into_values().map(|(name, _)| name).collect();
    report.unused.extend(source.others);
    report.unused.sort_unstable();
    let path = source.path;
    if !(missing.is_empty() && mismatched.is_empty() && unexpected.is_empty()) {
        return Err(ModelError::WrongWeights { path, model, missing, unexpected, mismatched });
    }

    let failed = |reason: String| ModelError::Read { path: path.clone(), reason };
    let tensors = found.into_iter().map(|(module_path, shape, stored, axis)| {
        let data = bridge::into_data(stored).map_err(|error| failed(error.to_string()))?;
        let mut data = data.convert_dtype(DType::F32);
        if let Some(axis) = axis {
            let values = data.try_to_vec::<f32>().map_err(|error| failed(format!("{error:?}")))?;
            data = TensorData::new(axis.gather(&values), shape);
        }
        Ok(bridge::from_data(data, module_path, None))
    });
    let tensors = tensors.collect::<Result<Vec<_>, ModelError>>()?;
    let mut loaded = module.clone();
    let result = loaded.apply(tensors, None, None, true);
    match result.errors.first() {
        Some(error) => Err(failed(error.to_string())),
        None => Ok((loaded, report)),
    }
}

type Order = Option<(crate::class_slots::Gather, LabelTable)>;

/// How the rows of a tensor of the file become those of the model's `shape`, or the shape that the
/// file should have.
fn order_of(
    stored: &[usize],
    shape: &[usize],
    classes: Option<ClassAxis>,
) -> Result<Order, Vec<usize>> {
    let Some(classes) = classes else {
        return if stored == shape { Ok(None) } else { Err(shape.to_vec()) };
    };
    let found = (stored.get(1..) == shape.get(1..)).then(|| classes.gather(stored)).flatten();
    found.map(Some).ok_or_else(|| classes.file_shape(shape))
}

/// Writes all tensors of `module` as safetensors, in the layout that [`load`] reads.
pub(crate) fn save<M: Module>(
    module: &M,
    path: &Path,
    place: impl Fn(&str, &[usize]) -> Place,
) -> Result<(), ModelError> {
    let failed = |reason: String| ModelError::Write { path: path.to_owned(), reason };
    let mut tensors = Vec::new();
    for tensor in module.collect(None, None, true) {
        let Place { name, classes, .. } = place(&tensor.name, &tensor.shape);
        let data = bridge::into_data(tensor).map_err(|error| failed(error.to_string()))?;
        let shape = data.shape().to_vec();
        let values = data.convert::<f32>().try_to_vec::<f32>();
        let mut values = values.map_err(|error| failed(format!("{name}: {error:?}")))?;
        if let Some(classes) = classes {
            values = classes.scatter(&values);
        }
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
