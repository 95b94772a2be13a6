//! A loss of this library on a model of your own: any Burn module that gives logits.
//!
//! Three clouds of points in the plane, with 1000, 100 and 10 training points, and a small network
//! that you might have written. Trained twice, once per loss; the test set is balanced.
//!
//! ```text
//! cargo run --release -p custom_loss_on_your_head [-- DEVICE]
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor, activation::relu};
use longtail::losses::{ClassificationLoss, ClassificationLossConfig, RowLabels};
use longtail::types::ClassCounts;

/// Your model.
#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    output: Linear,
}

impl Net {
    fn new(num_logits: usize, device: &Device) -> Self {
        let hidden = LinearConfig::new(2, 32).init(device);
        Self { hidden, output: LinearConfig::new(32, num_logits).init(device) }
    }

    fn forward(&self, points: Tensor<2>) -> Tensor<2> {
        self.output.forward(relu(self.hidden.forward(points)))
    }
}

fn main() -> anyhow::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "flex".into());
    let device = longtail::device(&name)?.autodiff();
    let (points, labels) = clouds([1000, 100, 10], &device);
    let counts = ClassCounts::from_labels(labels.iter().copied(), 3)?;
    println!("{counts}\n\nrecall on a balanced test set   class 0  class 1  class 2");
    for (title, config) in [
        ("cross-entropy", ClassificationLossConfig::CrossEntropy(Default::default())),
        ("Balanced Softmax", ClassificationLossConfig::BalancedSoftmax(Default::default())),
    ] {
        let loss = config.init(&counts, &device)?;
        let net = train(&loss, points.clone(), &labels, &device)?;
        let recall = recall(&net, &loss, &device)?;
        println!("{title:<32}{:>7.1}{:>9.1}{:>9.1}", recall[0], recall[1], recall[2]);
    }
    Ok(())
}

/// The part to copy: the loss says how wide the output is, and takes logits and labels.
fn train(
    loss: &ClassificationLoss,
    points: Tensor<2>,
    labels: &[usize],
    device: &Device,
) -> anyhow::Result<Net> {
    device.seed(0);
    let mut net = Net::new(loss.num_logits(), device);
    let mut optimizer = AdamConfig::new().init();
    let labels = RowLabels::from_host(labels, loss.num_classes(), device)?;
    for _ in 0..300 {
        let output = loss.forward(net.forward(points.clone()), labels.clone())?;
        let gradients = GradientsParams::from_grads(output.loss.backward(), &net);
        net = optimizer.step(0.01, net, gradients);
    }
    Ok(net)
}

/// Percentage of each class found; `scores` has dropped the training prior.
fn recall(net: &Net, loss: &ClassificationLoss, device: &Device) -> anyhow::Result<[f64; 3]> {
    let (points, labels) = clouds([500; 3], device);
    let predicted: Tensor<1, Int> = loss.scores(net.forward(points))?.argmax(1).squeeze_dim(1);
    let predicted = predicted.into_data().convert::<i64>().try_to_vec::<i64>();
    let predicted = predicted.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut hits = [0.0; 3];
    for (&label, predicted) in labels.iter().zip(predicted) {
        hits[label] += f64::from(u8::from(label as i64 == predicted)) / 5.0;
    }
    Ok(hits)
}

/// Overlapping normal clouds around the corners of a triangle.
fn clouds(sizes: [usize; 3], device: &Device) -> (Tensor<2>, Vec<usize>) {
    device.seed(sizes[0] as u64);
    let corners = [[0.0, 1.0], [0.9, -0.5], [-0.9, -0.5]];
    let clouds = (0..3).map(|class| {
        let noise = Tensor::<2>::random([sizes[class], 2], Distribution::Normal(0.0, 0.6), device);
        noise + Tensor::<2>::from_floats([corners[class]], device)
    });
    let points = Tensor::cat(clouds.collect(), 0);
    let labels = (0..3).flat_map(|class| vec![class; sizes[class]]).collect();
    (points, labels)
}
