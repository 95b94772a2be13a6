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
mod tests {
    use super::*;
    use longtail_testing::{assert_close, device, values};

    /// The integral of `e^-x / (a + x)` by the trapezoid rule in `ln x`, in NumPy.
    #[test]
    fn mean_inverse_equals_its_integral() {
        for (a, expected) in [
            (1e-4, 8.634_088_07_f64),
            (0.1, 2.014_642_5),
            (1.0, 0.596_347_36),
            (2.5, 0.303_525_836),
            (20.0, 0.047_718_545),
        ] {
            let found = mean_inverse(a);
            assert!((found / expected - 1.0).abs() < 1e-6, "{a}: {found}, {expected}");
        }
    }

    /// Means of the terms over many slots, in both forms. The authors' form draws every
    /// exponential; a class of 40 images is beyond the exact terms here.
    #[test]
    fn terms_have_the_distribution_of_the_full_form() {
        let counts = [40_usize, 5, 1];
        let rates = [0.2_f32, 0.5, 0.9];
        let slots = 40_000;
        let mut next = 0;
        let classes = counts.map(|count| {
            let images = (next..next + count).collect::<Vec<_>>();
            next += count;
            images
        });
        let device = device();
        let draw = ClassDraw::new(classes.to_vec(), 3);
        let drawn = draw.noise(0, slots, &device).draw(Tensor::from_floats(rates, &device));
        let labels: Vec<i64> = drawn.labels.into_data().iter::<i64>().collect();
        let images: Vec<i64> = drawn.images.into_data().iter::<i64>().collect();
        let (relaxed, mass) = (values(drawn.relaxed), values(drawn.mass));
        let mut found = [[0.0_f64; 9]; 3];
        for slot in 0..slots {
            let label = labels[slot] as usize;
            assert!(classes[label].contains(&(images[slot] as usize)));
            let mass = &mass[3 * slot..3 * slot + 3];
            assert!((mass.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            add(&mut found, label, f64::from(relaxed[slot]), [0, 1, 2].map(|c| mass[c].into()));
        }

        let mut expected = [[0.0_f64; 9]; 3];
        for slot in 0..slots {
            let mut rng = KeyedRng::new(9, Stream::MetaDraw, 1, slot as u64);
            let mut best = (0.0, 0);
            let mut mass = [0.0; 3];
            for (class, &count) in counts.iter().enumerate() {
                for _ in 0..count {
                    let weight = f64::from(rates[class]) / -(1.0 - rng.unit()).ln();
                    mass[class] += weight;
                    if weight > best.0 {
                        best = (weight, class);
                    }
                }
            }
            let total: f64 = mass.iter().sum();
            add(&mut expected, best.1, best.0 / total, mass.map(|m| m / total));
        }
        // Differences of means of 40,000 slots: five standard errors are below 0.015.
        let share = |sums: &[[f64; 9]; 3]| -> Vec<f64> {
            sums.iter().flatten().map(|sum| sum / slots as f64).collect()
        };
        for (i, (found, expected)) in share(&found).iter().zip(share(&expected)).enumerate() {
            assert!((found - expected).abs() < 0.015, "{i}: {found} {expected}");
        }
        // Images of a class share its draws; classes come as n_c pi_c.
        let total = 40.0 * 0.2 + 5.0 * 0.5 + 0.9;
        for (class, wanted) in [8.0 / total, 2.5 / total, 0.9 / total].into_iter().enumerate() {
            let share = found[class][0] / slots as f64;
            assert!((share - wanted).abs() < 0.015, "{class}: {share} {wanted}");
        }
        let of_first = images.iter().filter(|&&image| image == 0).count() as f64 / slots as f64;
        assert!((of_first - 0.2 / total).abs() < 0.005, "{of_first}");
    }

    /// Of a drawn class: draws, the relaxed draw and its square, masses and their products with it.
    fn add(sums: &mut [[f64; 9]; 3], label: usize, relaxed: f64, mass: [f64; 3]) {
        let row = [1.0, relaxed, relaxed * relaxed];
        let products = mass.map(|mass| mass * relaxed);
        let values = row.into_iter().chain(mass).chain(products);
        sums[label].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }

    /// With the same exponentials the class-wise terms are those of the full form.
    #[test]
    fn the_class_wise_draw_equals_the_full_one() {
        let device = device();
        let labels = [0_usize, 0, 0, 1, 1, 2];
        let rates = [0.3_f64, 0.6, 0.8];
        let exponentials = [
            [0.4, 1.2, 0.05, 0.7, 2.0, 0.3],
            [1.4, 0.9, 0.8, 0.1, 0.6, 0.9],
            [0.9, 1.1, 2.0, 3.0, 0.9, 0.2],
        ];
        let noise = DrawNoise::of_exponentials(&exponentials.map(Vec::from), &labels, &device);
        let drawn = noise.draw(Tensor::from_floats(rates.map(|rate| rate as f32), &device));
        let found: Vec<i64> = drawn.images.into_data().iter::<i64>().collect();
        let (relaxed, mass) = (values(drawn.relaxed), values(drawn.mass));
        for (slot, row) in exponentials.iter().enumerate() {
            let weights: Vec<f64> = labels.iter().zip(row).map(|(&l, e)| rates[l] / e).collect();
            let total: f64 = weights.iter().sum();
            let best = (0..6).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap();
            assert_eq!(found[slot], best as i64);
            assert_close("relaxed", &relaxed[slot..=slot], &[weights[best] / total], 1e-6);
            let of_class = |class| -> f64 {
                weights
                    .iter()
                    .zip(labels)
                    .filter(|(_, l)| *l == class)
                    .map(|(w, _)| w / total)
                    .sum()
            };
            assert_close("mass", &mass[3 * slot..3 * slot + 3], &[0, 1, 2].map(of_class), 1e-6);
        }
    }
}
