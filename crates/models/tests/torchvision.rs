//! ResNets against torchvision's numbers on weights from a formula.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use burn::tensor::Tensor;
use common::{fill, numbers, reference, sampled, value};
use longtail_models::{Backbone, BackboneConfig, ClassifierConfig};
use longtail_testing::{assert_close, development_data, values};
use serde_json::Value;

fn assert_feature(name: &str, tensor: Tensor<4>, expected: &Value) {
    let shape: Vec<usize> = numbers(&expected["shape"]).into_iter().map(|v| v as usize).collect();
    assert_eq!(tensor.dims().to_vec(), shape, "{name}");
    let found = values(tensor);
    assert_close(name, &sampled(&found, expected), &numbers(&expected["values"]), 1e-4);
    let mean = found.iter().map(|&v| f64::from(v)).sum::<f64>() / found.len() as f64;
    assert_close(name, &[mean as f32], &[expected["mean"].as_f64().unwrap()], 1e-4);
}

/// Against our numbers and, where there are any, against those of the development data.
fn assert_model(config: BackboneConfig, last: &str) {
    let name = format!("torchvision_{config}.json");
    assert_numbers(config, last, &reference(&name));
    if let Some(path) = development_data(&format!("golden/{name}")) {
        let expected = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_numbers(config, last, &expected);
    }
}

fn assert_numbers(config: BackboneConfig, last: &str, expected: &Value) {
    let device = longtail_testing::device();
    let mut classifier = ClassifierConfig::new(config).init(10, None, 0, &device).unwrap();
    fill(&mut classifier, last);

    let size = |key: &str| expected[key].as_u64().unwrap() as usize;
    let (height, width) = (size("height"), size("width"));
    let image = value(&format!("image:{}", size("seed")), 3 * height * width);
    let image: Vec<f32> = image.into_iter().map(|v| (v + 1.0) / 2.0).collect();
    let image = Tensor::<1>::from_floats(image.as_slice(), &device).reshape([1, 3, height, width]);

    let Backbone::ResNet(network) = &classifier.backbone else { panic!("{config} is a ResNet") };
    let maps = network.stages(image.clone());
    let features = &expected["features"];
    assert_feature("stem", network.stem(image.clone()), &features["stem"]);
    assert_feature("c2", maps.c2, &features["c2"]);
    assert_feature("c3", maps.c3, &features["c3"]);
    assert_feature("c4", maps.c4, &features["c4"]);
    assert_feature("c5", maps.c5, &features["c5"]);
    let logits = values(classifier.forward(image));
    assert_close("logits", &logits, &numbers(&expected["logits"]), 1e-4);
}

#[test]
fn resnet18_matches() {
    assert_model(BackboneConfig::ResNet18, "bn2");
}

#[test]
fn resnet50_matches() {
    assert_model(BackboneConfig::ResNet50, "bn3");
}

/// Counts of torchvision's model page for 1000 classes; widths of its `fc` layers.
#[test]
fn parameter_counts_match() {
    use BackboneConfig as B;
    let expected = [
        (B::ResNet18, 11_689_512, 512),
        (B::ResNet34, 21_797_672, 512),
        (B::ResNet50, 25_557_032, 2048),
        (B::ResNet101, 44_549_160, 2048),
        (B::ResNet152, 60_192_808, 2048),
        (B::ResNeXt50, 25_028_904, 2048),
        (B::ResNeXt101, 88_791_336, 2048),
    ];
    for (config, count, width) in expected {
        let device = longtail_testing::device();
        let classifier = ClassifierConfig::new(config).init(1000, None, 0, &device).unwrap();
        assert_eq!(classifier.num_parameters(), count, "{config}");
        assert_eq!(classifier.num_features(), width, "{config}");
        assert_eq!(config.num_features(), width, "{config}");
        assert_eq!(classifier.backbone.name(), config.name());
    }
}
