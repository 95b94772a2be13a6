//! Reading and writing files of named tensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use burn::store::burn_pack::{AtomicFile, Tensor as FileTensor};
use burn::store::{ModuleStore, PytorchStore, SafetensorsStore};
use burn::tensor::DType;
use safetensors::tensor::{Dtype, TensorView};

use crate::error::ModelError;

/// Name, shape and number format of one tensor in a file.
pub type WeightEntry = (String, Vec<usize>, DType);

/// Lists the tensors of a `.safetensors` or PyTorch (`.pth`, `.pt`) file, sorted by name. The
/// content decides which it is; values are not read.
///
/// # Errors
/// If the file can't be read or is neither.
pub fn inspect(path: impl AsRef<Path>) -> Result<Vec<WeightEntry>, ModelError> {
    let tensors = read(path.as_ref())?.into_iter();
    Ok(tensors.map(|(name, tensor)| (name, tensor.shape.to_vec(), tensor.dtype)).collect())
}

/// The tensors of a file; values are read when asked for.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, FileTensor>, ModelError> {
    let failed = |reason: String| ModelError::Read { path: path.to_owned(), reason };
    match format(path).map_err(|error| failed(error.to_string()))? {
        Some(Format::Safetensors) => {
            let mut store = SafetensorsStore::from_file(path);
            store.get_all_tensors().cloned().map_err(|error| failed(error.to_string()))
        }
        Some(Format::PyTorch) => {
            let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
            store.get_all_tensors().cloned().map_err(|error| failed(error.to_string()))
        }
        None => Err(failed("neither a safetensors nor a PyTorch file".to_owned())),
    }
}

/// The tensors of a safetensors file that is in memory; `name` stands for it in errors.
pub(crate) fn parse(
    name: &Path,
    bytes: Vec<u8>,
) -> Result<BTreeMap<String, FileTensor>, ModelError> {
    let failed = |reason: String| ModelError::Read { path: name.to_owned(), reason };
    let mut store = SafetensorsStore::from_bytes(Some(bytes));
    store.get_all_tensors().cloned().map_err(|error| failed(error.to_string()))
}

enum Format {
    Safetensors,
    PyTorch,
}

/// A safetensors file has its JSON header after 8 bytes of length; PyTorch writes a zip archive or,
/// before version 1.6, pickles (which begin with 0x80).
fn format(path: &Path) -> std::io::Result<Option<Format>> {
    let mut head = Vec::new();
    File::open(path)?.take(9).read_to_end(&mut head)?;
    Ok(match head.as_slice() {
        [b'P', b'K', 3, 4, ..] => Some(Format::PyTorch),
        [_, _, _, _, _, _, _, _, b'{'] => Some(Format::Safetensors),
        [0x80, ..] => Some(Format::PyTorch),
        _ => None,
    })
}

/// One tensor to be written.
pub(crate) struct OwnedTensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>, // little-endian
}

/// Writes a safetensors file under a temporary name, flushes it and renames it.
pub(crate) fn write(path: &Path, tensors: &[OwnedTensor]) -> Result<(), ModelError> {
    let failed = |reason: String| ModelError::Write { path: path.to_owned(), reason };
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?;
        Ok((tensor.name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
    let bytes = bytes.map_err(|error| failed(error.to_string()))?;

    let (scratch, mut file) = AtomicFile::create(path).map_err(|e| failed(e.to_string()))?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    written.map_err(|error| failed(error.to_string()))?;
    drop(file);
    scratch.commit().map_err(|error| failed(error.to_string()))
}
