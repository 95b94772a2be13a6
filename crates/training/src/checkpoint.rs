//! Checkpoints: all that a run needs to go on, in one safetensors file.

use std::collections::HashMap;
use std::path::Path;
use std::{fmt, fs};

use burn::tensor::{BoolStore, DType, TensorData};
use longtail_types::{ClassCounts, ClassMap};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;
use crate::files::write_whole;
use crate::tensors::NamedTensors;
use crate::window::WindowCounts;

/// Version of the layout of the file.
const FORMAT: u32 = 2;
const STATE: &str = "longtail";
const CHECKSUM: &str = "crc32";

/// Where a run stands, beside its tensors.
///
/// Sample order, augmentation and first weights are functions of (seed, epoch, position), so the
/// position stands for the state of every random generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunState {
    /// Version of the file layout.
    pub(crate) format: u32,
    /// The resolved recipe, as TOML.
    pub(crate) recipe: String,
    /// Training images and objects per class.
    pub(crate) counts: ClassCounts,
    /// The classes.
    pub(crate) classes: ClassMap,
    /// Height and width of the training images after their transforms.
    pub(crate) image_size: [usize; 2],
    /// Epochs completed.
    pub(crate) epoch: u64,
    /// Batches of the present epoch that are done.
    pub(crate) batch: u64,
    /// Optimizer steps done.
    pub(crate) step: u64,
    /// Best evaluation so far.
    pub(crate) best: Option<BestScore>,
    /// Length of `metrics.jsonl` at this point, in bytes.
    pub(crate) metrics_bytes: u64,
    /// Steps and rows since the loss was last read.
    pub(crate) window: WindowCounts,
    /// The recipe of the finished run that this one builds on, as TOML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<String>,
    /// The checkpoint that this run builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base_checkpoint: Option<CheckpointId>,
    /// The exponent of tau-normalisation that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tau: Option<f64>,
}

/// What tells a checkpoint from others of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckpointId {
    /// Optimizer steps done.
    pub(crate) step: u64,
    /// CRC-32 of its tensors.
    pub(crate) crc32: String,
}

impl CheckpointId {
    /// That of a checkpoint that was read.
    pub(crate) fn new(step: u64, tensors: &NamedTensors) -> Self {
        let mut checksum = Checksum::new("");
        tensors.iter().for_each(|(name, data)| checksum.add(name, data.as_bytes()));
        Self { step, crc32: checksum.finish() }
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} with CRC-32 {}", self.step, self.crc32)
    }
}

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BestScore {
    /// Accuracy on the test set, or average precision, in `[0, 1]`.
    pub(crate) score: f64,
    /// Optimizer steps done.
    pub(crate) step: u64,
}

impl RunState {
    /// The state of a run that has not begun.
    pub(crate) fn new(recipe: String, counts: ClassCounts, classes: ClassMap) -> Self {
        Self {
            format: FORMAT,
            recipe,
            counts,
            classes,
            image_size: [0, 0],
            epoch: 0,
            batch: 0,
            step: 0,
            best: None,
            metrics_bytes: 0,
            window: WindowCounts::default(),
            base: None,
            base_checkpoint: None,
            tau: None,
        }
    }

    /// How the training set of this state differs from that of another; `None` if it does not.
    pub(crate) fn data_difference(&self, other: &Self) -> Option<String> {
        let (there, here) = (&self.classes, &other.classes);
        if there.len() != here.len() {
            return Some(format!("there, it has {} classes, not {}", there.len(), here.len()));
        }
        let names = there.names().zip(here.names()).enumerate();
        for (label, (name, other_name)) in names {
            if name != other_name {
                return Some(format!("there, class {label} is `{name}`, not `{other_name}`"));
            }
            for (what, there, here) in [
                ("images", self.counts.image_counts(), other.counts.image_counts()),
                ("objects", self.counts.instance_counts(), other.counts.instance_counts()),
            ] {
                if let (Some(there), Some(here)) = (there.get(label), here.get(label))
                    && there != here
                {
                    let text = format!("{there} training {what}, not {here}");
                    return Some(format!("there, class `{name}` has {text}"));
                }
            }
        }
        None
    }
}

/// Writes a checkpoint, whole or not at all.
///
/// The file is an ordinary safetensors file (PyTorch opens it too): tensors `model.*`, `ema.*`,
/// `loss.*`, `optimizer.*`, the state as JSON in the metadata, and a CRC-32 over all of it.
pub(crate) fn save(
    path: &Path,
    state: &RunState,
    tensors: &NamedTensors,
) -> Result<(), TrainingError> {
    let problem = |problem: String| TrainingError::Checkpoint { path: path.into(), problem };
    let state = serde_json::to_string(state).map_err(|error| problem(error.to_string()))?;
    let mut views = Vec::with_capacity(tensors.len());
    let mut checksum = Checksum::new(&state);
    for (name, data) in tensors {
        let dtype = dtype_of(data.dtype()).ok_or_else(|| {
            problem(format!("`{name}` has the unsupported type {:?}", data.dtype()))
        })?;
        checksum.add(name, data.as_bytes());
        let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
        views.push((name.as_str(), view.map_err(|error| problem(format!("{name}: {error}")))?));
    }
    let metadata = [(STATE.into(), state), (CHECKSUM.into(), checksum.finish())];
    let bytes = safetensors::serialize(views, Some(HashMap::from(metadata)))
        .map_err(|error| problem(error.to_string()))?;
    write_whole(path, |file| file.write_all(&bytes))
}

/// Reads a checkpoint and verifies its checksum.
pub(crate) fn load(path: &Path) -> Result<(RunState, NamedTensors), TrainingError> {
    let bytes = fs::read(path)
        .map_err(|source| TrainingError::Read { path: path.to_path_buf(), source })?;
    parse(&bytes).map_err(|problem| TrainingError::Checkpoint { path: path.into(), problem })
}

fn parse(bytes: &[u8]) -> Result<(RunState, NamedTensors), String> {
    let damaged = |what: String| format!("damaged, or not a checkpoint: {what}");
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| damaged(error.to_string()))?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
    let entry = |key| metadata.metadata().as_ref().and_then(|entries| entries.get(key));
    let (Some(state), Some(expected)) = (entry(STATE), entry(CHECKSUM)) else {
        return Err(
            "it holds weights alone, no training state; give the run's `last.safetensors` \
                    or `best.safetensors`"
                .into(),
        );
    };
    let mut checksum = Checksum::new(state);
    let mut tensors = NamedTensors::new();
    for (name, view) in file.tensors() {
        let dtype = burn_dtype_of(view.dtype())
            .ok_or_else(|| format!("`{name}` has the unsupported type {:?}", view.dtype()))?;
        let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
        tensors.insert(name, data);
    }
    tensors.iter().for_each(|(name, data)| checksum.add(name, data.as_bytes()));
    let found = checksum.finish();
    if found != *expected {
        return Err(damaged(format!("its checksum is {found}, it should be {expected}")));
    }
    let state: RunState =
        serde_json::from_str(state).map_err(|error| damaged(error.to_string()))?;
    if state.format != FORMAT {
        return Err(format!("it has format {}, this program reads {FORMAT}", state.format));
    }
    Ok((state, tensors))
}

/// CRC-32 over the state and over names and bytes in the order of names.
struct Checksum(crc32fast::Hasher);

impl Checksum {
    fn new(state: &str) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(state.as_bytes());
        Self(hasher)
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0.update(name.as_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> String {
        format!("{:08x}", self.0.finalize())
    }
}

fn dtype_of(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 | DType::Flex32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
        DType::Bool(BoolStore::Native) => Dtype::BOOL,
        _ => return None,
    })
}

fn burn_dtype_of(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        _ => return None,
    })
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
