//! ResNet-20 against PyTorch's numbers: inference, training, gradients, running statistics.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, activation::log_softmax};
use common::{fill, numbers, reference, sampled, tensor};
use longtail_models::{BackboneConfig, Classifier, ClassifierConfig};
use longtail_testing::{assert_close, values};

fn classifier() -> Classifier {
    let device = longtail_testing::device().autodiff();
    let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
    let mut classifier = config.init(10, None, 0, &device).unwrap();
    fill(&mut classifier, "bn2");
    classifier
}

/// Values or, given gradients, gradients of everything in a module, by PyTorch's names.
struct Collected<'a> {
    gradients: Option<&'a Gradients>,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Collected<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(if container.starts_with("Enum") { String::new() } else { name.into() });
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path: Vec<_> = self.path.iter().filter(|n| !n.is_empty()).cloned().collect();
        let name = path.join(".").replace("backbone.", "").replace("head.", "linear.");
        let found = match self.gradients {
            Some(gradients) => param.val().grad(gradients),
            None => Some(param.val()),
        };
        if let Some(found) = found {
            self.found.insert(name, values(found));
        }
    }
}

fn collect(classifier: &Classifier, gradients: Option<&Gradients>) -> BTreeMap<String, Vec<f32>> {
    let mut collected = Collected { gradients, path: Vec::new(), found: BTreeMap::new() };
    classifier.visit(&mut collected);
    collected.found
}

#[test]
fn logits_match() {
    let classifier = classifier().valid();
    let expected = reference("cifar_resnet20.json");
    let images = tensor("image:9", [2, 3, 16, 16], &longtail_testing::device());
    let logits = classifier.forward(images);
    assert_close("logits", &values(logits), &numbers(&expected["logits"]), 1e-5);
    assert_eq!(classifier.num_parameters() as u64, expected["num_parameters"].as_u64().unwrap());
    let empty = Tensor::zeros([0, 3, 32, 32], &longtail_testing::device());
    assert_eq!(classifier.forward(empty).dims(), [0, 10]);
}

#[test]
fn a_training_step_matches() {
    let classifier = classifier();
    let expected = reference("cifar_resnet20.json");
    let device = longtail_testing::device().autodiff();
    let images = tensor("image:9", [2, 3, 16, 16], &device).require_grad();
    let labels = Tensor::<1, Int>::from_ints([3, 0], &device).unsqueeze_dim::<2>(1);
    let log_scores = log_softmax(classifier.forward(images.clone()), 1);
    let loss = log_scores.gather(1, labels).mean().neg();
    assert_close("loss", &values(loss.clone()), &[expected["loss"].as_f64().unwrap()], 1e-5);

    let gradients = loss.backward();
    let image_gradient = values(images.grad(&gradients).unwrap());
    let sample = &expected["image_gradient"];
    assert_close("images", &sampled(&image_gradient, sample), &numbers(&sample["values"]), 1e-4);
    let found = collect(&classifier, Some(&gradients));
    let samples = expected["gradients"].as_object().unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), samples.keys().collect::<Vec<_>>());
    for (name, sample) in samples {
        let values = sampled(&found[name], sample);
        assert_close(name, &values, &numbers(&sample["values"]), 1e-4);
    }
    let found = collect(&classifier, None);
    for (name, sample) in expected["buffers_after_one_step"].as_object().unwrap() {
        let values = sampled(&found[name], sample);
        assert_close(name, &values, &numbers(&sample["values"]), 1e-5);
    }
}

#[test]
fn a_deep_copy_stays_as_it_was() {
    let classifier = classifier();
    let (copy, before) = (classifier.deep_copy(), collect(&classifier, None));
    let device = longtail_testing::device().autodiff();
    classifier.forward(tensor("image:9", [2, 3, 16, 16], &device));
    let after = collect(&classifier, None);
    assert_eq!(collect(&copy, None), before);
    assert_ne!(after["bn1.running_mean"], before["bn1.running_mean"]);
    assert_ne!(after["layer3.2.bn2.running_var"], before["layer3.2.bn2.running_var"]);
}

/// PyTorch's default: uniform in 1 / sqrt(fan_in), for the linear bias too.
#[test]
fn first_weights_have_pytorch_bounds_and_repeat() {
    let config = ClassifierConfig::new(BackboneConfig::CifarResNet32);
    let device = longtail_testing::device();
    let make = |seed, device: &Device| collect(&config.init(10, None, seed, device).unwrap(), None);
    let weights = make(3, &device);
    assert_eq!(weights, make(3, &device.clone().autodiff()));
    assert_ne!(weights, make(4, &device));
    for (name, fan_in) in
        [("layer3.1.conv2.weight", 576.0), ("conv1.weight", 27.0), ("linear.bias", 64.0)]
    {
        let (limit, values) = (1.0 / f32::sqrt(fan_in), &weights[name]);
        let largest = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        assert!(largest <= limit && largest > 0.6 * limit, "{name}: {largest} of {limit}");
    }
    let values = &weights["layer3.1.conv2.weight"];
    let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
    assert!((variance * 576.0 * 3.0 - 1.0).abs() < 0.02, "{variance}");
    assert!(weights["layer1.0.bn1.weight"].iter().all(|&v| v == 1.0));
}

/// torchvision: normal with variance 2 / fan_out.
#[test]
fn first_weights_of_a_resnet_are_kaiming_normal() {
    let config = ClassifierConfig::new(BackboneConfig::ResNet18);
    let device = longtail_testing::device();
    let weights = collect(&config.init(10, Some(-4.5), 0, &device).unwrap(), None);
    let values = &weights["layer2.1.conv1.weight"];
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
    let expected = 2.0 / (128.0 * 9.0);
    assert!((variance / expected - 1.0).abs() < 0.02 && mean.abs() < 0.001, "{variance} {mean}");
    assert!(weights["linear.bias"].iter().all(|&v| v == -4.5));
}
