//! Slow loops in double precision, and fixed pseudo-random numbers.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::{Device, Tensor, TensorData};
use longtail_kernels::ConvOptions;

/// Numbers in `[-1, 1)`, the same on every machine.
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1 << 23) as f32) - 1.0
    };
    (0..len).map(next).collect()
}

pub(crate) fn tensor<const D: usize>(
    values: &[f32],
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// Sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvCase {
    pub(crate) x: [usize; 4],
    pub(crate) weight: [usize; 4],
    pub(crate) options: ConvOptions,
    pub(crate) has_bias: bool,
}

impl ConvCase {
    pub(crate) fn output(&self) -> [usize; 4] {
        let [batch_size, _, height, width] = self.x;
        let [out_channels, _, kernel_height, kernel_width] = self.weight;
        let size = self.options.output_size([height, width], [kernel_height, kernel_width]);
        let [out_height, out_width] = size.expect("the kernel fits");
        [batch_size, out_channels, out_height, out_width]
    }

    /// Calls `visit(x, weight, output)` with the indices of every product of the convolution.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ConvOptions { stride, padding, dilation, groups } = self.options;
        let [batch_size, in_channels, height, width] = self.x;
        let [out_channels, group_channels, kernel_height, kernel_width] = self.weight;
        let [_, _, out_height, out_width] = self.output();
        let group_out = out_channels / groups;
        for n in 0..batch_size {
            for m in 0..out_channels {
                for c in 0..group_channels {
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            for oy in 0..out_height {
                                for ox in 0..out_width {
                                    let y = oy * stride[0] + ky * dilation[0];
                                    let x = ox * stride[1] + kx * dilation[1];
                                    let Some(y) = y.checked_sub(padding[0]) else { continue };
                                    let Some(x) = x.checked_sub(padding[1]) else { continue };
                                    if y >= height || x >= width {
                                        continue;
                                    }
                                    let channel = m / group_out * group_channels + c;
                                    visit(
                                        ((n * in_channels + channel) * height + y) * width + x,
                                        ((m * group_channels + c) * kernel_height + ky)
                                            * kernel_width
                                            + kx,
                                        ((n * out_channels + m) * out_height + oy) * out_width + ox,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Output and gradients of a convolution for a given output gradient.
pub(crate) struct ConvResult {
    pub(crate) output: Vec<f64>,
    pub(crate) x: Vec<f64>,
    pub(crate) weight: Vec<f64>,
    pub(crate) bias: Vec<f64>,
}

pub(crate) fn conv(
    case: &ConvCase,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    g: &[f32],
) -> ConvResult {
    let [_, out_channels, out_height, out_width] = case.output();
    let plane = out_height * out_width;
    let mut result = ConvResult {
        output: vec![0.0; g.len()],
        x: vec![0.0; x.len()],
        weight: vec![0.0; weight.len()],
        bias: vec![0.0; out_channels],
    };
    for (index, &g) in g.iter().enumerate() {
        let channel = index / plane % out_channels;
        result.bias[channel] += f64::from(g);
        if case.has_bias {
            result.output[index] = f64::from(bias[channel]);
        }
    }
    case.for_each(|i, k, o| {
        result.output[o] += f64::from(x[i]) * f64::from(weight[k]);
        result.x[i] += f64::from(g[o]) * f64::from(weight[k]);
        result.weight[k] += f64::from(g[o]) * f64::from(x[i]);
    });
    result
}

/// Output, statistics and gradients of a batch normalization.
pub(crate) struct NormResult {
    pub(crate) output: Vec<f64>,
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
    pub(crate) x: Vec<f64>,
    pub(crate) weight: Vec<f64>,
    pub(crate) bias: Vec<f64>,
}

/// By the chain rule through mean and variance, written out.
pub(crate) fn batch_norm(
    [batch_size, channels, height, width]: [usize; 4],
    [x, weight, bias, g]: [&[f32]; 4],
    epsilon: f64,
) -> NormResult {
    let plane = height * width;
    let count = (batch_size * plane) as f64;
    let at = |c: usize| -> Vec<usize> {
        let start = |n: usize| (n * channels + c) * plane;
        (0..batch_size).flat_map(|n| start(n)..start(n) + plane).collect()
    };
    let mut result = NormResult {
        output: vec![0.0; x.len()],
        mean: vec![0.0; channels],
        variance: vec![0.0; channels],
        x: vec![0.0; x.len()],
        weight: vec![0.0; channels],
        bias: vec![0.0; channels],
    };
    for c in 0..channels {
        let (weight, bias) = (f64::from(weight[c]), f64::from(bias[c]));
        let mean = at(c).iter().map(|&i| f64::from(x[i])).sum::<f64>() / count;
        let variance = at(c).iter().map(|&i| (f64::from(x[i]) - mean).powi(2)).sum::<f64>() / count;
        let std = (variance + epsilon).sqrt();
        // d loss / d variance and d loss / d mean.
        let mut to_variance = 0.0;
        let mut to_mean = 0.0;
        for i in at(c) {
            let centered = f64::from(x[i]) - mean;
            result.output[i] = centered / std * weight + bias;
            result.weight[c] += f64::from(g[i]) * centered / std;
            result.bias[c] += f64::from(g[i]);
            to_variance -= f64::from(g[i]) * weight * centered / (2.0 * std.powi(3));
            to_mean -= f64::from(g[i]) * weight / std;
        }
        for i in at(c) {
            let centered = f64::from(x[i]) - mean;
            result.x[i] = f64::from(g[i]) * weight / std
                + to_variance * 2.0 * centered / count
                + to_mean / count;
        }
        (result.mean[c], result.variance[c]) = (mean, variance);
    }
    result
}

/// Asserts that a test computes the same bits with one and with three threads: it runs itself in
/// processes of so many, which write what `bits` gives to a file. `name` is the kernel; the test is
/// called `bits_do_not_depend_on_threads`.
pub(crate) fn assert_same_bits_with_threads(
    name: &str,
    min_bytes: usize,
    bits: impl FnOnce() -> Vec<u8>,
) {
    const FILE: &str = "LONGTAIL_TEST_BITS";
    if let Some(file) = std::env::var_os(FILE) {
        std::fs::write(file, bits()).unwrap();
        return;
    }
    let [one, three] = ["1", "3"].map(|threads| {
        let file = std::env::temp_dir().join(format!("{name}_{}_{threads}", std::process::id()));
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .arg("bits_do_not_depend_on_threads")
            .env("RAYON_NUM_THREADS", threads)
            .env(FILE, &file)
            .status()
            .unwrap();
        assert!(status.success());
        let bits = std::fs::read(&file).unwrap();
        std::fs::remove_file(file).unwrap();
        bits
    });
    assert!(one.len() > min_bytes && one == three);
}
