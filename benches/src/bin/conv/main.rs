//! Times convolution, batch norm and ReLU beside PyTorch: the 61 convolutions of ResNet-50 with a
//! pyramid at 320 pixels, batch 2; the parts of ResNet-20 on CIFAR, batch 128, and that network
//! as a whole.
//!
//! `conv [--peer PYTHON] [--suite resnet50|resnet20|all] [--rounds N] [--threads N] [--only WORD]`,
//! for example with `--peer .venv/bin/python`. Both sides take turns on one machine; medians count.
//! The peer runs twice: by default and with glibc's thresholds raised; the faster one is compared.
//! Takes a minute.
#![allow(clippy::print_stdout, reason = "its result is a table")]

mod network;
mod peer;

use std::error::Error;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use longtail_kernels::{add_relu, relu};

use crate::network::{Forward, Norm, convolution, parameter, resnet20};
use crate::peer::Peer;

const REPETITIONS: usize = 4;

/// Requests of a suite and how often each shape occurs.
const RESNET50_FPN: [(&str, usize); 28] = [
    ("conv 2 3 64 320 7 2", 1),
    ("conv 2 64 64 80 1 1", 1),
    ("conv 2 64 64 80 3 1", 3),
    ("conv 2 64 256 80 1 1", 4),
    ("conv 2 256 64 80 1 1", 2),
    ("conv 2 256 128 80 1 1", 1),
    ("conv 2 128 128 80 3 2", 1),
    ("conv 2 256 512 80 1 2", 1),
    ("conv 2 128 512 40 1 1", 4),
    ("conv 2 512 128 40 1 1", 3),
    ("conv 2 128 128 40 3 1", 3),
    ("conv 2 512 256 40 1 1", 2), // layer3 and lateral
    ("conv 2 256 256 40 3 2", 1),
    ("conv 2 512 1024 40 1 2", 1),
    ("conv 2 256 1024 20 1 1", 6),
    ("conv 2 1024 256 20 1 1", 6), // layer3 and lateral
    ("conv 2 256 256 20 3 1", 6),  // layer3 and pyramid
    ("conv 2 1024 512 20 1 1", 1),
    ("conv 2 512 512 20 3 2", 1),
    ("conv 2 1024 2048 20 1 2", 1),
    ("conv 2 512 2048 10 1 1", 3),
    ("conv 2 2048 512 10 1 1", 2),
    ("conv 2 512 512 10 3 1", 2),
    ("conv 2 2048 256 10 1 1", 1),
    ("conv 2 256 256 80 1 1", 1),
    ("conv 2 256 256 80 3 1", 1),
    ("conv 2 256 256 40 3 1", 1),
    ("conv 2 256 256 10 3 1", 1),
];

const RESNET20: [(&str, usize); 12] = [
    ("conv 128 3 16 32 3 1", 1),
    ("conv 128 16 16 32 3 1", 6),
    ("conv 128 16 32 32 3 2", 1),
    ("conv 128 32 32 16 3 1", 5),
    ("conv 128 32 64 16 3 2", 1),
    ("conv 128 64 64 8 3 1", 5),
    ("conv 128 16 32 32 1 2", 1),
    ("norm 128 16 32", 1),
    ("norm 128 64 8", 1),
    ("relu 128 16 32", 1),
    ("add_relu 128 16 32", 1),
    ("resnet20 128", 1),
];

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

/// Milliseconds of the forward pass, and of forward and backward pass, of every repetition.
fn time(forward: &Forward) -> Vec<[f64; 2]> {
    let once = |_| {
        let start = Instant::now();
        let output = forward();
        let middle = start.elapsed().as_secs_f64() * 1e3;
        drop(output.backward());
        [middle, start.elapsed().as_secs_f64() * 1e3]
    };
    (0..REPETITIONS).map(once).collect()
}

/// Median per column.
fn medians(times: &[[f64; 2]]) -> [f64; 2] {
    [0, 1].map(|column| {
        let mut values: Vec<f64> = times.iter().map(|pair| pair[column]).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    })
}

/// Geometric means and largest values of ratios, each with its weight.
#[derive(Default)]
struct Summary {
    count: f64,
    logs: [f64; 2],
    worst: [f64; 2],
    ours: [f64; 2],
    theirs: [f64; 2],
}

impl Summary {
    fn add(&mut self, ours: [f64; 2], theirs: [f64; 2], count: usize) {
        let count = count as f64;
        self.count += count;
        for pass in 0..2 {
            let ratio = ours[pass] / theirs[pass];
            self.logs[pass] += count * ratio.ln();
            self.worst[pass] = self.worst[pass].max(ratio);
            self.ours[pass] += count * ours[pass];
            self.theirs[pass] += count * theirs[pass];
        }
    }

    fn print(&self) {
        for (pass, name) in ["forward", "forward and backward"].into_iter().enumerate() {
            println!(
                "{name}: geometric mean {:.3}, largest {:.2}, sum of times {:.3} ({:.1} of {:.1})",
                (self.logs[pass] / self.count).exp(),
                self.worst[pass],
                self.ours[pass] / self.theirs[pass],
                self.ours[pass],
                self.theirs[pass],
            );
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut python, mut rounds, mut threads, mut only) = (None, 5, 2, None);
    let mut suite = "all".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--peer" => python = Some(value),
            "--suite" => suite = value,
            "--rounds" => rounds = value.parse()?,
            "--threads" => threads = value.parse()?,
            "--only" => only = Some(value),
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let device = Device::flex().autodiff();
    let mut peers = Vec::new();
    for keeps_memory in [false, true] {
        peers.extend(python.as_ref().map(|python| Peer::new(python, threads, keeps_memory)));
    }
    let mut peers = peers.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (name, requests) in [("resnet50", RESNET50_FPN.as_slice()), ("resnet20", &RESNET20)] {
        if suite != "all" && suite != name {
            continue;
        }
        println!(
            "{:<25} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7}",
            "milliseconds, medians", "forward", "fwd+bwd", "peer fwd", "peer f+b", "fwd", "fwd+bwd"
        );
        let mut summary = Summary::default();
        for &(request, count) in requests {
            if only.as_ref().is_some_and(|only| !request.contains(only.as_str())) {
                continue;
            }
            let forward = build(request, &device)?;
            time(&forward);
            let mut ours = Vec::new();
            let mut theirs = vec![Vec::new(); peers.len()];
            for _ in 0..rounds {
                ours.extend(time(&forward));
                for (peer, times) in peers.iter_mut().zip(&mut theirs) {
                    times.extend(peer.time(request, REPETITIONS)?);
                }
            }
            let ours = medians(&ours);
            print!("{request:<25} {:>9.3} {:>9.3}", ours[0], ours[1]);
            let theirs = theirs.iter().map(|times| medians(times));
            let best = theirs.reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1])]);
            if let Some(best) = best {
                summary.add(ours, best, count);
                print!(" {:>9.3} {:>9.3}", best[0], best[1]);
                print!(" {:>7.2} {:>7.2}", ours[0] / best[0], ours[1] / best[1]);
            }
            println!(" x{count}");
        }
        if python.is_some() {
            summary.print();
        }
    }
    Ok(())
}
