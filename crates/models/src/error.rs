//! What can be wrong with a model or its weight file.

use std::fmt;
use std::path::PathBuf;

use crate::backbone::BackboneConfig;

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
    /// Only a linear head can be tau-normalised.
    #[error("a {head} head can't be tau-normalised: that needs the weights of a linear head")]
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
    /// A weight file that can't be written.
    #[error("can't write weights to {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
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
