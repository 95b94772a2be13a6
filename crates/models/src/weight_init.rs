//! First weights: a function of the seed and the parameter's name, on every device.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a parameter is filled with at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// One value everywhere.
    Constant(f32),
    /// Uniform in `[-limit, limit)`.
    Uniform {
        /// Half the width of the interval.
        limit: f64,
    },
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
}

/// Draws first weights. Each parameter has its own ChaCha8 stream, keyed by the seed and the
/// parameter's full name, so neither the device nor the order of creation changes a value.
#[derive(Clone, Debug)]
pub struct WeightInit<'a> {
    seed: u64,
    path: String,
    device: &'a Device,
}

impl<'a> WeightInit<'a> {
    /// Starts at the root of a model.
    pub fn new(seed: u64, device: &'a Device) -> Self {
        Self { seed, path: String::new(), device }
    }

    /// The same seed and device, one name further down.
    pub fn child(&self, name: &str) -> Self {
        Self { path: self.join(name), ..self.clone() }
    }

    /// The device on which parameters are made.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// The values of parameter `name`, on the host.
    pub fn values(&self, name: &str, count: usize, fill: Fill) -> Vec<f32> {
        let mut rng = generator(self.seed, &self.join(name));
        match fill {
            Fill::Constant(value) => vec![value; count],
            Fill::Uniform { limit } => {
                (0..count).map(|_| ((2.0 * unit(&mut rng) - 1.0) * limit) as f32).collect()
            }
            Fill::Normal { std } => {
                let mut values: Vec<f32> = (0..count.div_ceil(2))
                    .flat_map(|_| normal_pair(&mut rng))
                    .map(|value| (value * std) as f32)
                    .collect();
                values.truncate(count);
                values
            }
        }
    }

    /// A trainable parameter of this shape.
    pub fn param<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        fill: Fill,
    ) -> Param<Tensor<D>> {
        self.param_from(shape, self.values(name, shape.iter().product(), fill))
    }

    /// A trainable parameter of these values.
    pub(crate) fn param_from<const D: usize>(
        &self,
        shape: [usize; D],
        values: Vec<f32>,
    ) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// 128 bits of the name and 64 of the seed make the key.
fn generator(seed: u64, path: &str) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&fnv1a(path.bytes()).to_le_bytes());
    key[16..24].copy_from_slice(&fnv1a(path.bytes().rev()).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// The 64-bit FNV-1a hash.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Uniform in `[0, 1)` with 53 random bits.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Two independent standard normal values (Box-Muller).
fn normal_pair(rng: &mut ChaCha8Rng) -> [f64; 2] {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * unit(rng)).sin_cos();
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    }

    #[test]
    fn values_depend_on_seed_and_name_only() {
        let device = longtail_testing::device();
        let root = WeightInit::new(7, &device);
        let fill = Fill::Uniform { limit: 1.0 };
        let first = root.child("layer1").values("weight", 8, fill);
        root.values("other", 100, fill);
        assert_eq!(root.child("layer1").values("weight", 8, fill), first);
        assert_eq!(root.values("layer1.weight", 8, fill), first);
        assert_eq!(root.child("layer1").values("weight", 4, fill), first[..4]);
        assert_ne!(root.child("layer2").values("weight", 8, fill), first);
        assert_ne!(WeightInit::new(8, &device).child("layer1").values("weight", 8, fill), first);
        // Printed by xtask/reference/models.py. Another generator would change every run.
        let found =
            [0, 1].map(|seed| WeightInit::new(seed, &device).values("conv1.weight", 1, fill));
        assert_eq!(found, [[0.275_425_73], [0.787_745_24]]);
    }

    #[test]
    fn moments_are_those_of_the_distribution() {
        let device = longtail_testing::device();
        let root = WeightInit::new(0, &device);
        let count = 100_001;
        let uniform = root.values("a", count, Fill::Uniform { limit: 0.5 });
        assert!(uniform.iter().all(|v| (-0.5..=0.5).contains(v)));
        let (mean, std) = moments(&uniform);
        assert!(mean.abs() < 0.004 && (std - 0.5 / 3.0_f64.sqrt()).abs() < 0.002, "{mean} {std}");
        let normal = root.values("b", count, Fill::Normal { std: 0.1 });
        assert_eq!(normal.len(), count);
        let (mean, std) = moments(&normal);
        assert!(mean.abs() < 0.0015 && (std - 0.1).abs() < 0.001, "{mean} {std}");
        let beyond = normal.iter().filter(|v| v.abs() > 0.2).count() as f64 / count as f64;
        assert!((beyond - 0.0455).abs() < 0.003, "{beyond}"); // two standard deviations
    }
}
