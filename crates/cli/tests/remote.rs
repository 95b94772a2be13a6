//! A server on this machine: the fused operations and whole trainings on its device, against the
//! same on `flex`.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use longtail::burn::tensor::{Device, Int, Tensor};
use longtail::kernels::{
    Labels, Roi, RoiAlignOptions, RowSet, SeesawShift, Shift, SigmoidTerms, SoftmaxTerms,
    read_floats, roi_align, set_fused, sigmoid_loss_with_sums, softmax_loss,
};
use longtail::training::{
    DetectionRecipe, Outcome, ProgressMode, Recipe, TrainOptions, train, train_detector,
};

struct Server {
    process: Child,
    name: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longtail"));
        command.args(["device-server", "--device", "flex", "--bind", "127.0.0.1:0"]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let name = line.trim().strip_prefix("serving flex on ").unwrap().to_string();
        Self { process, name }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn numbers(length: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let draw = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..length).map(draw).collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    let values = numbers(shape.iter().product(), seed);
    Tensor::<1>::from_floats(values.as_slice(), device).reshape(shape)
}

/// Losses, statistics and gradients of the fused operations on a device.
fn operations(device: &Device) -> Vec<(&'static str, Vec<f32>)> {
    let device = device.clone().autodiff();
    let vector = |length, seed| Some(tensor([length], seed, &device).abs() + 0.5);
    let labels = || Tensor::<1, Int>::from_ints([0, 4, 2, 5, 2, 1, 0, 3], &device);
    let mut found = Vec::new();

    let logits = tensor([8, 5], 1, &device).require_grad();
    let terms = SigmoidTerms {
        shift: vector(5, 2),
        shift_rows: RowSet::Foreground,
        negative_weights: vector(5, 3),
        focal_gamma: vector(5, 4),
        row_weights: vector(8, 5),
        factor: 0.25,
        ..Default::default()
    };
    let output = sigmoid_loss_with_sums(logits.clone(), Labels::Classes(labels()), terms);
    let gradient = logits.grad(&output.losses.clone().powf_scalar(2.0).sum().backward());
    found.push(("sigmoid loss", read_floats(output.losses).unwrap()));
    found.push(("sums of gradients", read_floats(output.negative_sums).unwrap()));
    found.push(("gradient of the sigmoid loss", read_floats(gradient.unwrap()).unwrap()));

    let log_counts = tensor([6], 6, &device).abs() * 4.0;
    let seesaw = SeesawShift { log_counts, p: 0.8, q: 2.0, log_epsilon: -4.6 };
    for shift in [Shift::PerColumn(tensor([6], 7, &device)), Shift::Seesaw(seesaw)] {
        let logits = tensor([8, 6], 8, &device).require_grad();
        let terms = SoftmaxTerms { shift: Some(shift), ..Default::default() };
        let losses = softmax_loss(logits.clone(), labels(), terms);
        let gradient = logits.grad(&losses.clone().powf_scalar(2.0).sum().backward());
        found.push(("softmax loss", read_floats(losses).unwrap()));
        found.push(("gradient of the softmax loss", read_floats(gradient.unwrap()).unwrap()));
    }

    let levels = [tensor([2, 3, 16, 16], 9, &device), tensor([2, 3, 8, 8], 10, &device)];
    let levels = levels.map(Tensor::require_grad);
    let roi = |image, level, bbox| Roi { image, level, bbox };
    let rois =
        [roi(1, 0, [2.0, 3.0, 40.0, 33.5]), roi(0, 1, [0.0, 0.0, 63.0, 63.0]), roi(0, 0, [9.0; 4])];
    let options = RoiAlignOptions {
        output_size: [3, 2],
        scales: vec![0.25, 0.125],
        sampling_ratio: Some(2),
        aligned: true,
    };
    let pooled = roi_align(&levels, &rois, &options);
    let gradients = pooled.clone().powf_scalar(2.0).sum().backward();
    found.push(("regions", read_floats(pooled).unwrap()));
    for level in &levels {
        let gradient = level.grad(&gradients).unwrap();
        found.push(("gradient of the features", read_floats(gradient).unwrap()));
    }
    found
}

fn assert_same(what: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1e-3_f32, |size, value| size.max(value.abs()));
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= tolerance * size, "{what}, value {index}: {a}, not {e}");
    }
}

fn assert_operations(remote: &Device) {
    let expected = operations(&longtail::device("flex").unwrap());
    for is_fused in [true, false] {
        set_fused(is_fused);
        // The same kernels on the other side of the wire: the same bits.
        let tolerance = if is_fused { 0.0 } else { 1e-5 };
        for ((what, actual), (_, expected)) in operations(remote).iter().zip(&expected) {
            assert_same(&format!("{what}, fused: {is_fused}"), actual, expected, tolerance);
        }
    }
    set_fused(true);
}

const CLASSIFIER: &str = r#"
    batch_size = 8
    iterations = 4
    dataset.source = { kind = "synthetic", image_size = 16, head_count = 10, imbalance = 5.0, test_count = 1 }
    model.backbone = "cifar-resnet20"
    loss = { method = "eql-v2" }
    optimizer = { kind = "sgd", lr = 0.01 }
    run = { workers = 1, log_every = 1 }
    [transforms]
    preset = "cifar"
    train = []
"#;

fn options(out: &Path) -> TrainOptions {
    TrainOptions { progress: ProgressMode::Quiet, ..TrainOptions::new(out) }
}

/// The losses of the steps, in order.
fn losses(out: &Path) -> Vec<f32> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let value = |line: &str| -> Option<f32> {
        let rest = line.split("\"loss\":").nth(1)?;
        rest.split([',', '}']).next()?.parse().ok()
    };
    text.lines().filter_map(value).collect()
}

fn assert_trainings(remote: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let local = longtail::device("flex").unwrap();
    let recipe = Recipe::parse("remote", CLASSIFIER, &[""; 0]).unwrap();
    let detector = include_str!("../../training/tests/tiny_detector.toml");
    let overrides = ["iterations=2", "run.log_every=1"];
    let detector = DetectionRecipe::parse("remote", detector, &overrides).unwrap();
    for (name, device) in [("local", &local), ("remote", remote)] {
        let outcome = train(&recipe, device, &options(&folder.path().join(name))).unwrap();
        assert!(matches!(outcome, Outcome::Finished(_)));
        let out = folder.path().join(format!("{name}-detector"));
        let outcome = train_detector(&detector, device, &options(&out)).unwrap();
        assert!(matches!(outcome, Outcome::Finished(_)));
    }
    for (kind, num_steps, tolerance) in [("", 4, 1e-3), ("-detector", 2, 1e-2)] {
        let of = |name: &str| losses(&folder.path().join(format!("{name}{kind}")));
        let expected = of("local");
        assert_eq!(expected.len(), num_steps, "{expected:?}");
        assert_same(&format!("losses{kind}"), &of("remote"), &expected, tolerance);
    }
}

#[test]
fn a_server_on_this_machine_computes_and_trains_as_flex() {
    let server = Server::start();
    let remote = longtail::device(&server.name).unwrap();
    assert_operations(&remote);
    assert_trainings(&remote);

    let error = longtail::device(&format!("{}#1", server.name)).unwrap_err().to_string();
    assert!(error.contains("#1"), "{error}");
    let together = longtail::devices(&format!("{0},remote:ws://127.0.0.1:1", server.name));
    assert!(together.is_err());
}
