//! Weight files: what fits, what does not, and what is left behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use burn::tensor::DType;
use common::{tensor, write_safetensors};
use longtail_models::{
    BackboneConfig, Classifier, ClassifierConfig, CosineConfig, CosineScale, HeadConfig, LoadScope,
    ModelError, TauNormalizedConfig, inspect,
};
use longtail_testing::values;

fn make(backbone: BackboneConfig, num_logits: usize, seed: u64) -> Classifier {
    let device = longtail_testing::device();
    ClassifierConfig::new(backbone).init(num_logits, None, seed, &device).unwrap()
}

fn small(num_logits: usize, seed: u64) -> Classifier {
    make(BackboneConfig::CifarResNet20, num_logits, seed)
}

fn outputs(classifier: &Classifier) -> (Vec<f32>, Vec<f32>) {
    let images = tensor("image:1", [2, 3, 32, 32], &longtail_testing::device());
    let features = classifier.features(images.clone());
    (values(features), values(classifier.forward(images)))
}

fn saved(classifier: &Classifier, folder: &Path) -> PathBuf {
    let path = folder.join("weights.safetensors");
    classifier.save_weights(&path).unwrap();
    path
}

#[test]
fn weights_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (source, mut target) = (small(10, 1), small(10, 2));
    let report = target.load_weights(saved(&source, folder.path()), LoadScope::All).unwrap();
    assert_eq!(outputs(&target), outputs(&source));
    assert_eq!((report.applied.len(), report.missing.len()), (59 + 38, 0));
    assert_eq!(report.unused.len(), 19);
    assert!(report.unused.iter().all(|name| name.ends_with("num_batches_tracked")));
    assert!(report.applied.contains(&"layer1.0.conv1.weight".to_owned()));
    assert!(report.applied.contains(&"linear.bias".to_owned()));
}

#[test]
fn loading_keeps_a_model_trainable() {
    let folder = tempfile::tempdir().unwrap();
    let device = longtail_testing::device().autodiff();
    let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
    let mut target = config.init(10, None, 2, &device).unwrap();
    target.load_weights(saved(&small(10, 1), folder.path()), LoadScope::All).unwrap();
    let images = tensor("image:1", [2, 3, 32, 32], &device);
    let gradients = target.forward(images).sum().backward();
    let longtail_models::ClassifierHead::Linear(head) = &target.head else { panic!("linear") };
    assert!(head.weight.val().grad(&gradients).is_some());
}

#[test]
fn a_backbone_alone_takes_any_number_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (source, mut target) = (small(10, 1), small(7, 2));
    let report = target.load_weights(saved(&source, folder.path()), LoadScope::Backbone).unwrap();
    assert_eq!(outputs(&target).0, outputs(&source).0);
    assert_eq!(report.missing, ["linear.weight", "linear.bias"]);
    assert!(report.unused.contains(&"linear.weight".to_owned()));
}

#[test]
fn another_architecture_is_refused_and_nothing_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(&small(10, 1), folder.path());
    let refused = |target: &mut Classifier, scope| {
        let before = outputs(target);
        let error = target.load_weights(&path, scope).unwrap_err();
        assert_eq!(outputs(target), before);
        error
    };
    let message = refused(&mut small(7, 2), LoadScope::All).to_string();
    let expected = "do not fit this cifar-resnet20 with a linear head of 7 logits; 2 of another shape: \
                    linear.weight [10, 64] instead of [7, 64], linear.bias [10] instead of [7]; \
                    nothing was loaded";
    assert!(message.contains(expected), "{message}");

    let mut deeper = make(BackboneConfig::CifarResNet32, 10, 2);
    let message = refused(&mut deeper, LoadScope::Backbone).to_string();
    assert!(message.contains("60 missing from the file: layer1.3.conv1.weight, "), "{message}");

    let mut other = make(BackboneConfig::ResNet18, 10, 2);
    let ModelError::WrongWeights { missing, mismatched, .. } = refused(&mut other, LoadScope::All)
    else {
        panic!("wrong weights")
    };
    assert!(missing.contains(&"layer4.0.conv1.weight".to_owned()));
    assert_eq!(mismatched[0].to_string(), "conv1.weight [16, 3, 3, 3] instead of [64, 3, 7, 7]");
}

/// Every tensor of ResNet-20 is in ResNet-32 with the same shape.
#[test]
fn a_deeper_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(&make(BackboneConfig::CifarResNet32, 10, 1), folder.path());
    for scope in [LoadScope::Backbone, LoadScope::All] {
        let message = small(10, 2).load_weights(&path, scope).unwrap_err().to_string();
        assert!(message.contains("60 not in the model: layer1.3.bn1.bias, "), "{message}");
    }
}

#[test]
fn wrapped_names_and_other_head_names_load() {
    let folder = tempfile::tempdir().unwrap();
    let source = small(10, 1);
    let entries = inspect(saved(&source, folder.path())).unwrap();
    let bytes = std::fs::read(folder.path().join("weights.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let renamed: Vec<_> = entries
        .into_iter()
        .filter(|(_, _, dtype)| *dtype == DType::F32)
        .map(|(name, shape, _)| {
            let data = file.tensor(&name).unwrap();
            let values = data.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            (format!("module.{}", name.replace("linear", "fc")), shape, values.collect())
        })
        .collect();
    let path = folder.path().join("wrapped.safetensors");
    write_safetensors(&path, &renamed);
    let mut target = small(10, 2);
    let report = target.load_weights(&path, LoadScope::All).unwrap();
    assert_eq!(outputs(&target), outputs(&source));
    assert!(report.applied.contains(&"module.fc.weight".to_owned()));
}

#[test]
fn cosine_and_tau_heads_travel() {
    let folder = tempfile::tempdir().unwrap();
    let device = longtail_testing::device();
    let scale = CosineScale::Learnable(12.0);
    let head = HeadConfig::Cosine(CosineConfig::default().with_scale(scale));
    let config = ClassifierConfig::new(BackboneConfig::CifarResNet20).with_head(head);
    let source = config.init(10, None, 1, &device).unwrap();
    let mut target = config.init(10, None, 2, &device).unwrap();
    let report = target.load_weights(saved(&source, folder.path()), LoadScope::All).unwrap();
    assert!(report.applied.contains(&"linear.scale".to_owned()));
    assert_eq!(outputs(&target), outputs(&source));

    let linear = small(10, 1);
    let path = saved(&linear, folder.path());
    let tau = HeadConfig::TauNormalized(TauNormalizedConfig { tau: 0.5 });
    let mut target = config.with_head(tau).init(10, None, 2, &device).unwrap();
    let report = target.load_weights(&path, LoadScope::All).unwrap();
    assert!(report.unused.contains(&"linear.bias".to_owned()));
    assert_eq!(outputs(&target), outputs(&linear.tau_normalized(0.5).unwrap()));
    let mut cosine = source;
    let message = cosine.load_weights(&path, LoadScope::All).unwrap_err().to_string();
    assert!(message.contains("1 missing from the file: linear.scale"), "{message}");
    assert!(message.contains("1 not in the model: linear.bias"), "{message}");
}

#[test]
fn inspect_lists_names_shapes_and_formats() {
    let folder = tempfile::tempdir().unwrap();
    let entries = inspect(saved(&small(10, 1), folder.path())).unwrap();
    assert_eq!(entries.len(), 59 + 3 * 19);
    assert_eq!(entries[0], ("bn1.bias".to_owned(), vec![16], DType::F32));
    let counter = ("bn1.num_batches_tracked".to_owned(), vec![], DType::I64);
    assert!(entries.contains(&counter));
    assert!(entries.contains(&("linear.weight".to_owned(), vec![10, 64], DType::F32)));
}

#[test]
fn unreadable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str| {
        let error = small(10, 0).load_weights(folder.path().join(name), LoadScope::All);
        error.unwrap_err().to_string()
    };
    let message = refused("absent.pth");
    assert!(message.contains("absent.pth") && message.contains("No such file"), "{message}");
    std::fs::write(folder.path().join("text.pth"), "not weights").unwrap();
    assert!(refused("text.pth").ends_with("neither a safetensors nor a PyTorch file"));
    std::fs::write(folder.path().join("empty.safetensors"), "").unwrap();
    assert!(refused("empty.safetensors").contains("neither"));
    std::fs::write(folder.path().join("zip.pth"), b"PK\x03\x04broken").unwrap();
    assert!(refused("zip.pth").contains("can't read weights from"));
    std::fs::write(folder.path().join("pickle.pth"), b"\x80\x02broken").unwrap();
    assert!(refused("pickle.pth").contains("can't read weights from"));
    let whole = std::fs::read(saved(&small(10, 0), folder.path())).unwrap();
    std::fs::write(folder.path().join("cut.safetensors"), &whole[..whole.len() / 2]).unwrap();
    assert!(refused("cut.safetensors").contains("can't read weights from"));
}

#[test]
fn a_failed_save_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent").join("weights.safetensors");
    let message = small(10, 0).save_weights(&path).unwrap_err().to_string();
    assert!(message.contains("can't write weights to") && message.contains("absent"), "{message}");
    let target = folder.path().join("a-folder");
    std::fs::create_dir(&target).unwrap();
    assert!(small(10, 0).save_weights(&target).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1); // the folder alone
}
