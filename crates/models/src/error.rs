//! What can be wrong with a model or its weight file.

use std::fmt;
use std::path::PathBuf;

use longtail_losses::LossError;
use longtail_ops::OpsError;

use crate::backbone::BackboneConfig;
use crate::weight_sets::WeightSet;

/// Errors of the models crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A backbone name that does not exist.
    #[error("unknown backbone \"{name}\"; there are {}", BackboneConfig::ALL.map(BackboneConfig::name).join(", "))]
    UnknownBackbone {
        /// As given.
        name: String,
    },
    /// A set of published weights that does not exist.
    #[error("unknown weight set \"{name}\"; there are {}", weight_set_names())]
    UnknownWeightSet {
        /// As given.
        name: String,
    },
    /// A configured value outside its range.
    #[error("{name} = {value}, but it must be {expected}")]
    InvalidValue {
        /// Which value.
        name: &'static str,
        /// As given.
        value: String,
        /// The range.
        expected: &'static str,
    },
    /// The loss wants a prior bias and the head has none.
    #[error(
        "the loss asks for a prior bias of {prior_bias}, but the {head} head has no bias{hint}"
    )]
    BiasRequired {
        /// Kind of head.
        head: &'static str,
        /// The bias asked for.
        prior_bias: f32,
        /// What to do about it.
        hint: &'static str,
    },
    /// Only a linear head can be tau-normalised or scaled.
    #[error(
        "a {head} head can't be tau-normalised or scaled: that needs the weights of a linear head"
    )]
    NotLinear {
        /// Kind of head.
        head: &'static str,
    },
    /// A weight file that can't be read.
    #[error("can't read weights from {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A weight file of another model.
    #[error(
        "the weights in {} do not fit this {model}{}{}{}; nothing was loaded",
        path.display(),
        List("missing from the file", missing),
        List("not in the model", unexpected),
        List("of another shape", mismatched)
    )]
    WrongWeights {
        /// The file.
        path: PathBuf,
        /// What the weights should have fitted.
        model: String,
        /// Names of the model that the file lacks.
        missing: Vec<String>,
        /// Names of the file that the model lacks.
        unexpected: Vec<String>,
        /// Names whose shapes differ.
        mismatched: Vec<ShapeMismatch>,
    },
    /// A classification loss for which every example is an object.
    #[error(
        "{method} has no background, and a detector has to tell background from objects; {hint}"
    )]
    NoBackground {
        /// The method.
        method: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// Lists of a batch that disagree in length.
    #[error("a batch of {images} images has {found} {what}: it must be one for each")]
    BatchLength {
        /// Images in the tensor.
        images: usize,
        /// The list.
        what: &'static str,
        /// Its length.
        found: usize,
    },
    /// An image that can't be what its batch says it is.
    #[error("image {image} of the batch: {reason}")]
    Image {
        /// Position in the batch.
        image: usize,
        /// What is wrong.
        reason: String,
    },
    /// An annotated object that a detector can't learn.
    #[error("object {object} of image {image} of the batch: {reason}")]
    Object {
        /// Position in the batch.
        image: usize,
        /// Position in the list of the image.
        object: usize,
        /// What is wrong.
        reason: String,
    },
    /// Numbers that could not be copied from the device.
    #[error("{what}: {reason}")]
    ReadBack {
        /// Which numbers.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// Statistics of the classification losses that are not this detector's.
    #[error("{what}: a detector with {expected} classification losses got {found}")]
    LossCount {
        /// What was handed in.
        what: &'static str,
        /// Losses it has.
        expected: usize,
        /// How many it was for.
        found: usize,
    },
    /// A memory of features is drawn from by the mean scores that one loss keeps.
    #[error("feature_memory draws by the mean scores of the loss loce; {loss} keeps none")]
    MemoryWithoutScores {
        /// The loss.
        loss: &'static str,
    },
    /// The classification loss.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// Anchors that can't be.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// A weight file that can't be written.
    #[error("can't write weights to {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

fn weight_set_names() -> String {
    WeightSet::ALL.iter().map(|set| set.name).collect::<Vec<_>>().join(", ")
}

/// A tensor whose shape in the file is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// Name in the file.
    pub name: String,
    /// Shape in the file.
    pub found: Vec<usize>,
    /// Shape in the model.
    pub expected: Vec<usize>,
}

impl fmt::Display for ShapeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} instead of {:?}", self.name, self.found, self.expected)
    }
}

/// `; 12 <title>: a, b, c, ...`, or nothing.
struct List<'a, T>(&'static str, &'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        let Self(title, items) = self;
        for (i, item) in items.iter().take(SHOWN).enumerate() {
            match i {
                0 => write!(f, "; {} {title}: {item}", items.len())?,
                _ => write!(f, ", {item}")?,
            }
        }
        if items.len() > SHOWN { f.write_str(", ...") } else { Ok(()) }
    }
}
