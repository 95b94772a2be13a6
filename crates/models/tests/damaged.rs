//! Weight files that are cut off or changed: an error that names the file, and the model as before.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use longtail_models::{BackboneConfig, Classifier, ClassifierConfig, LoadScope, inspect};
use longtail_testing::{device, values};

fn model(seed: u64) -> Classifier {
    let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
    config.init(3, None, seed, &device()).unwrap()
}

fn first_weights(model: &Classifier, folder: &Path) -> Vec<u8> {
    let path = folder.join("state.safetensors");
    model.save_weights(&path).unwrap();
    fs::read(path).unwrap()
}

/// Each cut is refused with the file's name, and leaves the model.
fn cuts_are_refused(file: &Path, folder: &Path) {
    let whole = fs::read(file).unwrap();
    let mut model = model(1);
    let before = first_weights(&model, folder);
    let cut = folder.join("cut.bin");
    // Every length of the head, then about forty more.
    let lengths = (0..64).chain((64..whole.len()).step_by(whole.len() / 40));
    for length in lengths {
        fs::write(&cut, &whole[..length]).unwrap();
        let error = model.load_weights(&cut, LoadScope::All).unwrap_err().to_string();
        assert!(error.contains("cut.bin"), "{length} bytes: {error}");
        let _ = inspect(&cut);
    }
    assert!(first_weights(&model, folder) == before, "the model has changed");
    model.load_weights(file, LoadScope::All).unwrap();
}

#[test]
fn cut_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whole.safetensors");
    model(0).save_weights(&file).unwrap();
    cuts_are_refused(&file, folder.path());
}

/// Bytes of the header, one after the other: an error, or weights of a whole file.
#[test]
fn changed_headers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whole.safetensors");
    model(0).save_weights(&file).unwrap();
    let whole = fs::read(&file).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
    let changed = folder.path().join("changed.bin");
    let mut model = model(1);
    let mut num_refused = 0;
    let places = (0..64).chain((64..header).step_by(header / 60));
    for place in places {
        for bit in [0x01, 0x80] {
            let mut bytes = whole.clone();
            bytes[place] ^= bit;
            fs::write(&changed, bytes).unwrap();
            if let Err(error) = model.load_weights(&changed, LoadScope::All) {
                assert!(error.to_string().contains("changed.bin"), "byte {place}: {error}");
                num_refused += 1;
            }
        }
    }
    assert!(num_refused > 150, "{num_refused} of the changes were noticed");
}

/// A header that claims 2^63 bytes, or tensors of more elements than memory has.
#[test]
fn claims_of_size_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claim.safetensors");
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let huge = [&(1_u64 << 63).to_le_bytes()[..], b"{}"].concat();
    let wide =
        r#"{"conv1.weight":{"dtype":"F32","shape":[4294967295,4294967295],"data_offsets":[0,0]}}"#;
    let long = r#"{"conv1.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    for bytes in [huge, header(wide), header(long)] {
        fs::write(&path, bytes).unwrap();
        let error = model(0).load_weights(&path, LoadScope::All).unwrap_err().to_string();
        assert!(error.contains("claim.safetensors"), "{error}");
        assert!(inspect(&path).is_err());
    }
    assert!(
        values(model(0).forward(burn::tensor::Tensor::zeros([1, 3, 32, 32], &device())))[0]
            .is_finite()
    );
}
