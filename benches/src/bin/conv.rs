//! Times convolution, batch norm and ReLU at the shapes of ResNet-20 on CIFAR, batch 128, and the
//! whole network forward and backward, beside PyTorch.
//!
//! `conv [--peer PYTHON] [--rounds N] [--threads N] [--only WORD]`, for example with
//! `--peer .venv/bin/python`. Both sides take turns on one machine; the best time of each counts.
//! Takes about half a minute.
#![allow(clippy::print_stdout, reason = "its result is a table")]

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use longtail_kernels::{ConvOptions, add_relu, batch_norm_train, conv2d, relu};

type Forward = Box<dyn Fn() -> Tensor<4>>;

fn parameter<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.1), device).require_grad()
}

fn convolution(x: Tensor<4>, weight: Tensor<4>, stride: usize) -> Tensor<4> {
    let padding = weight.dims()[2] / 2;
    let options = ConvOptions { stride: [stride; 2], padding: [padding; 2], ..Default::default() };
    conv2d(x, weight, None, &options)
}

struct Norm {
    weight: Tensor<1>,
    bias: Tensor<1>,
}

impl Norm {
    fn new(channels: usize, device: &Device) -> Self {
        Self { weight: parameter([channels], device), bias: parameter([channels], device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        batch_norm_train(x, self.weight.clone(), self.bias.clone(), 1e-5).output
    }
}

struct Block {
    conv1: Tensor<4>,
    norm1: Norm,
    conv2: Tensor<4>,
    norm2: Norm,
    project: Option<Tensor<4>>,
    stride: usize,
}

impl Block {
    fn new(channels: usize, out: usize, device: &Device) -> Self {
        Self {
            conv1: parameter([out, channels, 3, 3], device),
            norm1: Norm::new(out, device),
            conv2: parameter([out, out, 3, 3], device),
            norm2: Norm::new(out, device),
            project: (channels != out).then(|| parameter([out, channels, 1, 1], device)),
            stride: if channels == out { 1 } else { 2 },
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = convolution(x.clone(), self.conv1.clone(), self.stride);
        let y = relu(self.norm1.forward(y));
        let y = self.norm2.forward(convolution(y, self.conv2.clone(), 1));
        let shortcut = match &self.project {
            None => x,
            Some(project) => convolution(x, project.clone(), self.stride),
        };
        add_relu(y, shortcut)
    }
}

fn resnet20(batch_size: usize, device: &Device) -> Forward {
    let widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64];
    let stem = parameter([16, 3, 3, 3], device);
    let stem_norm = Norm::new(16, device);
    let blocks: Vec<Block> =
        widths.windows(2).map(|pair| Block::new(pair[0], pair[1], device)).collect();
    let head = parameter([64, 10], device);
    let x = Tensor::random([batch_size, 3, 32, 32], Distribution::Default, device);
    Box::new(move || {
        let stem = relu(stem_norm.forward(convolution(x.clone(), stem.clone(), 1)));
        let features = blocks.iter().fold(stem, |x, block| block.forward(x));
        let [batch_size, channels, height, width] = features.dims();
        let pooled = features.reshape([batch_size, channels, height * width]).mean_dim(2);
        let logits = pooled.reshape([batch_size, channels]).matmul(head.clone());
        logits.powi_scalar(2).mean().reshape([1, 1, 1, 1])
    })
}

/// The operation of a request, see `benches/peer/conv.py`.
fn build(request: &str, device: &Device) -> Result<Forward, Box<dyn Error>> {
    let mut words = request.split(' ');
    let name = words.next().unwrap_or_default();
    let sizes: Vec<usize> = words.map(str::parse).collect::<Result<_, _>>()?;
    let random = |shape: [usize; 4]| parameter(shape, device);
    Ok(match (name, sizes.as_slice()) {
        ("conv", &[batch, channels, out, size, kernel, stride]) => {
            let shape = [batch, channels, size, size];
            let image = Tensor::random(shape, Distribution::Default, device);
            let x = if channels == 3 { image } else { random(shape) };
            let weight = random([out, channels, kernel, kernel]);
            Box::new(move || convolution(x.clone(), weight.clone(), stride))
        }
        ("norm", &[batch, channels, size]) => {
            let x = random([batch, channels, size, size]);
            let norm = Norm::new(channels, device);
            Box::new(move || norm.forward(x.clone()))
        }
        ("relu", &[batch, channels, size]) => {
            let x = random([batch, channels, size, size]);
            Box::new(move || relu(x.clone()))
        }
        ("add_relu", &[batch, channels, size]) => {
            let [a, b] = [0; 2].map(|_| random([batch, channels, size, size]));
            Box::new(move || add_relu(a.clone(), b.clone()))
        }
        ("resnet20", &[batch]) => resnet20(batch, device),
        _ => return Err(format!("unknown request `{request}`").into()),
    })
}

/// Best milliseconds of the forward pass, and of forward and backward pass.
fn time(forward: &Forward, repetitions: usize) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..repetitions {
        let start = Instant::now();
        let output = forward();
        best[0] = best[0].min(start.elapsed().as_secs_f64() * 1e3);
        drop(output.backward());
        best[1] = best[1].min(start.elapsed().as_secs_f64() * 1e3);
    }
    best
}

/// The PyTorch side, which answers one request at a time.
struct Peer {
    process: Child,
}

impl Peer {
    fn new(python: &str, threads: usize) -> Result<Self, Box<dyn Error>> {
        let process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peer/conv.py"))
            .arg(threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { process })
    }

    fn time(&mut self, request: &str, repetitions: usize) -> Result<[f64; 2], Box<dyn Error>> {
        let closed = || "the peer has closed";
        writeln!(self.process.stdin.as_mut().ok_or_else(closed)?, "{request} {repetitions}")?;
        let mut answer = String::new();
        let mut output = self.process.stdout.as_mut().ok_or_else(closed)?;
        // One line per request, so nothing is lost in this reader.
        BufReader::with_capacity(1, &mut output).read_line(&mut answer)?;
        let times: Vec<f64> =
            answer.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        Ok(times.try_into().map_err(|_| closed())?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut peer, mut rounds, mut threads, mut only) = (None, 5, 2, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--peer" => peer = Some(value),
            "--rounds" => rounds = value.parse()?,
            "--threads" => threads = value.parse()?,
            "--only" => only = Some(value),
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let device = Device::flex().autodiff();
    let requests = [
        "conv 128 3 16 32 3 1",
        "conv 128 16 16 32 3 1",
        "conv 128 16 32 32 3 2",
        "conv 128 32 32 16 3 1",
        "conv 128 32 64 16 3 2",
        "conv 128 64 64 8 3 1",
        "conv 128 16 32 32 1 2",
        "norm 128 16 32",
        "norm 128 64 8",
        "relu 128 16 32",
        "add_relu 128 16 32",
        "conv 8 64 64 56 3 1",
        "conv 8 256 64 56 1 1",
        "conv 8 128 128 28 3 1",
        "conv 8 512 512 7 3 1",
        "conv 8 3 64 224 7 2",
        "resnet20 128",
    ];
    let mut peer = peer.map(|python| Peer::new(&python, threads)).transpose()?;
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7}",
        "milliseconds, best of all", "forward", "fwd+bwd", "peer fwd", "peer f+b", "fwd", "fwd+bwd"
    );
    for request in requests {
        if only.as_ref().is_some_and(|only| !request.contains(only.as_str())) {
            continue;
        }
        let repetitions = 4;
        let forward = build(request, &device)?;
        let mut ours = [f64::INFINITY; 2];
        let mut theirs = [f64::INFINITY; 2];
        for _ in 0..rounds {
            let times = time(&forward, repetitions);
            ours = [ours[0].min(times[0]), ours[1].min(times[1])];
            if let Some(peer) = &mut peer {
                let times = peer.time(request, repetitions)?;
                theirs = [theirs[0].min(times[0]), theirs[1].min(times[1])];
            }
        }
        print!("{request:<25} {:>9.3} {:>9.3}", ours[0], ours[1]);
        if peer.is_some() {
            print!(" {:>9.3} {:>9.3}", theirs[0], theirs[1]);
            print!(" {:>7.2} {:>7.2}", ours[0] / theirs[0], ours[1] / theirs[1]);
        }
        println!();
    }
    Ok(())
}
