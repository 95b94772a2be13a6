//! Draws of images by rates per class, with what their gradient needs, class by class.
//!
//! The authors draw an image for each slot `b` of a batch by a hard Gumbel softmax over all `N`
//! images. With rates `pi_c` and independent exponential `E_bi` (`-ln E` is a Gumbel variable), image
//! `i` of class `c` has the weight `pi_c / E_bi`; the heaviest is drawn, and the relaxed draw is
//!
//! ```text
//! y_bi = (pi_c(i) / E_bi) / sum_k (pi_c(k) / E_bk)
//! ```
//!
//! The gradient needs the relaxed draw of the image that was drawn, `y_b`, and the mass of each
//! class, `m_bc = sum of y_bi over its images`. As all images of a class share their rate, both
//! follow from two numbers per slot and class that know nothing of the rates:
//!
//! ```text
//! L_bc = max_i 1 / E_bi        T_bc = sum_i 1 / E_bi        (over the images of class c)
//! class = argmax_c pi_c L_bc   y_b = pi_c L_bc / sum_k pi_k T_bk   m_bc = pi_c T_bc / sum_k pi_k T_bk
//! ```
//!
//! The image is uniform within the class. `L` and `T` are drawn here without the `N` exponentials:
//! the k-th smallest of `n` exponentials exceeds the one before it by an exponential of rate
//! `n - k + 1`, and beyond the smallest `a` the others are `a` plus exponentials again. The first
//! [`EXACT_TERMS`] of a class are drawn so; the sum over the rest is replaced by its mean,
//! `(n - EXACT_TERMS) e^a E1(a)`. So the drawn images and, in classes of up to [`EXACT_TERMS`]
//! images, all terms have exactly the distribution of the authors' form, in memory for slots times
//! classes instead of slots times images.

use burn::tensor::{Device, Int, Tensor, TensorData};
use longtail_types::{KeyedRng, Stream};
use rayon::prelude::*;

/// Smallest exponentials of a class that are drawn; the rest counts by its mean.
const EXACT_TERMS: usize = 16;

/// The images of a training set by class.
#[derive(Clone, Debug)]
pub(crate) struct ClassDraw {
    /// Indices of the images of each class.
    classes: Vec<Vec<usize>>,
    seed: u64,
}

/// The random numbers of a batch: `[slots, classes]`, no rate in them.
#[derive(Clone, Debug)]
pub(crate) struct DrawNoise {
    largest: Tensor<2>,
    sums: Tensor<2>,
    /// The image that is drawn if its class is.
    images: Tensor<2, Int>,
}

/// A batch that was drawn.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// Index of each image, `[slots]`.
    pub(crate) images: Tensor<1, Int>,
    /// Its label, `[slots]`.
    pub(crate) labels: Tensor<1, Int>,
    /// The relaxed draw of the image, `[slots]`.
    pub(crate) relaxed: Tensor<1>,
    /// The relaxed draw summed over each class, `[slots, classes]`; rows sum to 1.
    pub(crate) mass: Tensor<2>,
}

impl ClassDraw {
    /// Draws from these classes.
    pub(crate) fn new(classes: Vec<Vec<usize>>, seed: u64) -> Self {
        Self { classes, seed }
    }

    /// The numbers of batch `step`, a function of (seed, step, slot).
    pub(crate) fn noise(&self, step: u64, num_slots: usize, device: &Device) -> DrawNoise {
        let slot = |slot: usize| {
            let mut rng = KeyedRng::new(self.seed, Stream::MetaDraw, step, slot as u64);
            let mut row = (Vec::new(), Vec::new(), Vec::new());
            for images in &self.classes {
                let [largest, sum] = inverse_exponentials(images.len(), &mut rng);
                let image = rng.unit() * images.len() as f64;
                row.0.push(largest as f32);
                row.1.push(sum as f32);
                row.2.push(images.get(image as usize).map_or(0, |&image| image as i32));
            }
            row
        };
        let rows: Vec<_> = (0..num_slots).into_par_iter().map(slot).collect();
        let shape = [num_slots, self.classes.len()];
        let device = device.clone().without_autodiff();
        let floats =
            |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, shape), &device);
        let largest = floats(rows.iter().flat_map(|row| row.0.iter().copied()).collect());
        let sums = floats(rows.iter().flat_map(|row| row.1.iter().copied()).collect());
        let images: Vec<i32> = rows.into_iter().flat_map(|row| row.2).collect();
        let images = Tensor::from_data(TensorData::new(images, shape), &device);
        DrawNoise { largest, sums, images }
    }
}

impl DrawNoise {
    /// The draw by these rates, `[classes]`. Nothing is read back.
    pub(crate) fn draw(&self, rates: Tensor<1>) -> Drawn {
        let rates = rates.unsqueeze_dim::<2>(0);
        let weights = self.largest.clone() * rates.clone();
        let labels = weights.clone().argmax(1); // [slots, 1]
        let mass = self.sums.clone() * rates;
        let total = mass.clone().sum_dim(1);
        let relaxed = weights.gather(1, labels.clone()) / total.clone();
        Drawn {
            images: self.images.clone().gather(1, labels.clone()).squeeze_dim(1),
            labels: labels.squeeze_dim(1),
            relaxed: relaxed.squeeze_dim(1),
            mass: mass / total,
        }
    }
}

#[cfg(test)]
impl DrawNoise {
    /// The class-wise terms of the authors' form: an exponential for each slot and image.
    pub(crate) fn of_exponentials(
        exponentials: &[Vec<f64>],
        labels: &[usize],
        device: &Device,
    ) -> Self {
        let num_classes = 1 + labels.iter().max().copied().unwrap_or(0);
        let shape = [exponentials.len(), num_classes];
        let num_values = shape[0] * shape[1];
        let (mut largest, mut sums) = (vec![0.0_f32; num_values], vec![0.0_f32; num_values]);
        let mut images = vec![0_i32; num_values];
        for (slot, row) in exponentials.iter().enumerate() {
            for (image, (&label, exponential)) in labels.iter().zip(row).enumerate() {
                let (at, inverse) = (num_classes * slot + label, 1.0 / *exponential as f32);
                sums[at] += inverse;
                if inverse > largest[at] {
                    (largest[at], images[at]) = (inverse, image as i32);
                }
            }
        }
        let floats = |values| Tensor::from_data(TensorData::new(values, shape), device);
        let images = Tensor::from_data(TensorData::new(images, shape), device);
        Self { largest: floats(largest), sums: floats(sums), images }
    }
}

/// The largest of `1 / E_i` and their sum, for `count` exponentials; 0 for none.
fn inverse_exponentials(count: usize, rng: &mut KeyedRng) -> [f64; 2] {
    let (mut last, mut largest, mut sum) = (0.0_f64, 0.0, 0.0);
    for k in 0..count.min(EXACT_TERMS) {
        let exponential = -(1.0 - rng.unit()).ln();
        last += exponential / (count - k) as f64;
        let inverse = 1.0 / last.max(1e-30); // within f32, and never met
        if k == 0 {
            largest = inverse;
        }
        sum += inverse;
    }
    let rest = count.saturating_sub(EXACT_TERMS);
    if rest > 0 {
        sum += rest as f64 * mean_inverse(last);
    }
    [largest, sum]
}

/// The mean of `1 / (a + E)` for an exponential `E`: `e^a E1(a)`.
///
/// The series of E1 up to 1, its continued fraction beyond (Abramowitz and Stegun, 5.1.11 and
/// 5.1.22).
fn mean_inverse(a: f64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    if a <= 1.0 {
        let (mut term, mut sum) = (1.0, -EULER - a.ln());
        for k in 1..30 {
            term *= -a / f64::from(k);
            sum -= term / f64::from(k);
        }
        return a.exp() * sum;
    }
    (1..=60)
        .rev()
        .fold(a, |below, k| {
            let k = f64::from(k);
            a + k / (1.0 + k / below)
        })
        .recip()
}

#[cfg(test)]
mod tests;
