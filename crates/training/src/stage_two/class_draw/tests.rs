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
            weights.iter().zip(labels).filter(|(_, l)| *l == class).map(|(w, _)| w / total).sum()
        };
        assert_close("mass", &mass[3 * slot..3 * slot + 3], &[0, 1, 2].map(of_class), 1e-6);
    }
}
