//! Files of tensors: checkpoints of runs, and weights.

use std::cell::RefCell;
use std::collections::HashMap;

use longtail::models::{BackboneConfig, Classifier, ClassifierConfig, LoadScope, inspect};
use longtail::training::AnyTrained;
use safetensors::SafeTensors;

use crate::Scratch;

/// A checkpoint as it stands, and with the checksum that it should have: else all that follows the
/// checksum would be out of reach.
pub(crate) fn checkpoint(bytes: &[u8], scratch: &Scratch<'_>) {
    load(bytes, scratch);
    if let Some(bytes) = with_checksum(bytes) {
        load(&bytes, scratch);
    }
}

fn load(bytes: &[u8], scratch: &Scratch<'_>) {
    let path = scratch.file("last.safetensors", bytes);
    let Ok(device) = longtail::device("flex") else { return };
    if let Err(error) = AnyTrained::load(&path, &[""; 0], &device) {
        let message = error.to_string();
        assert!(!message.is_empty());
    }
}

fn with_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
    let file = SafeTensors::deserialize(bytes).ok()?;
    let mut entries: HashMap<String, String> = metadata.metadata().clone()?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(entries.get("longtail")?.as_bytes());
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, view) in &tensors {
        hasher.update(name.as_bytes());
        hasher.update(view.data());
    }
    entries.insert("crc32".into(), format!("{:08x}", hasher.finalize()));
    safetensors::serialize(tensors, Some(entries)).ok()
}

thread_local! {
    static MODEL: RefCell<Option<Classifier>> = const { RefCell::new(None) };
}

/// A file of weights, listed, and loaded into a small network.
pub(crate) fn weights(bytes: &[u8], scratch: &Scratch<'_>) {
    let path = scratch.file("weights.bin", bytes);
    if inspect(&path).is_err() {
        return;
    }
    MODEL.with_borrow_mut(|model| {
        if model.is_none() {
            let device = longtail::device("flex").ok();
            let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
            *model = device.and_then(|device| config.init(3, None, 0, &device).ok());
        }
        if let Some(model) = model {
            for scope in [LoadScope::Backbone, LoadScope::All] {
                let _ = model.load_weights(&path, scope);
            }
        }
    });
}
