//! First rates of a meta sampler, and their gradient.

use burn::tensor::Tensor;

use super::class_draw::Drawn;

/// Rates proportional to `frequency^-power`, the smallest and the largest symmetric about one half.
pub(super) fn first_rates(counts: &[u64], power: f64) -> Vec<f64> {
    let total: u64 = counts.iter().sum();
    let inverse = |&count: &u64| (count.max(1) as f64 / total.max(1) as f64).powf(-power);
    let inverse: Vec<f64> = counts.iter().map(inverse).collect();
    let smallest = inverse.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = inverse.iter().copied().fold(0.0, f64::max);
    inverse.into_iter().map(|value| value / (smallest + largest)).collect()
}

/// The gradient of the meta loss by `psi`, where `rate = sigmoid(psi)`, `[classes]`:
/// `-reach / B (1 - rate_c) sum_b a_b y_b (1[class of b is c] - m_bc)`.
pub(super) fn rate_gradient(
    rates: Tensor<1>,
    drawn: &Drawn,
    alignment: Tensor<1>,
    reach: f64,
) -> Tensor<1> {
    let [num_slots, num_classes] = drawn.mass.dims();
    let classes = Tensor::arange(0..num_classes as i64, &drawn.labels.device());
    let is_class = drawn.labels.clone().unsqueeze_dim::<2>(1).equal(classes.unsqueeze()).float();
    let pull = (alignment * drawn.relaxed.clone()).unsqueeze_dim::<2>(1);
    let sums = ((is_class - drawn.mass.clone()) * pull).sum_dim(0).squeeze_dim::<1>(0);
    (1.0 - rates) * sums * (-reach / num_slots.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{ClassRates, LayerGradient, PlainLayer, SgdStep, Velocity, logit_gradient};
    use crate::optimizer_config::OptimizerConfig;
    use crate::stage_two::class_draw::DrawNoise;
    use burn::module::Param;
    use burn::tensor::TensorData;
    use longtail_losses::{
        BalancedSoftmaxConfig, ClassificationLoss, ClassificationLossConfig, CrossEntropyConfig,
        Reduction, RowLabels,
    };
    use longtail_models::Linear;
    use longtail_testing::{assert_close, device, values};
    use longtail_types::ClassCounts;
    use serde_json::Value;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    /// Draws, and the gradient through the whole step, against the graph of PyTorch, which the
    /// script holds against finite differences at 1e-6 (xtask/reference/meta_sampler.py). There a
    /// Gumbel softmax runs over all images; here it is class by class.
    #[test]
    fn the_gradient_is_that_of_the_whole_step() {
        let reference: Value =
            serde_json::from_str(include_str!("../../tests/data/meta_sampler.json")).unwrap();
        let device = device();
        let matrix = |values: &[f64], columns: usize| -> Tensor<2> {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            let rows = values.len() / columns;
            Tensor::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        let named = |name: &str, columns: usize| matrix(&numbers(&reference[name]), columns);
        let vector = |name: &str| named(name, 1).squeeze_dim::<1>(1);
        let nested = |name: &str| -> Vec<Vec<f64>> {
            reference[name].as_array().unwrap().iter().map(numbers).collect()
        };
        let counts: Vec<usize> =
            numbers(&reference["counts"]).iter().map(|&n| n as usize).collect();
        let labels: Vec<usize> =
            counts.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c, n)).collect();

        let exponentials = nested("exponentials");
        let noise = DrawNoise::of_exponentials(&exponentials, &labels, &device);
        let psi = numbers(&reference["psi"]);
        let rates: Vec<f64> = psi.iter().map(|psi| 1.0 / (1.0 + (-psi).exp())).collect();
        let mut learned = ClassRates::new(&rates, 0.01, &device);
        let rates = learned.rates();
        let drawn = noise.draw(rates.clone());
        let found: Vec<f64> =
            drawn.images.clone().into_data().iter::<i64>().map(|i| i as f64).collect();
        assert_eq!(found, numbers(&reference["drawn"]));
        let relaxed = values(drawn.relaxed.clone());
        assert_close("relaxed", &relaxed, &numbers(&reference["relaxed"]), 1e-5);
        let mass: Vec<f64> = nested("mass").concat();
        assert_close("mass", &values(drawn.mass.clone()), &mass, 1e-5);

        let image_counts: Vec<u64> = counts.iter().map(|&n| n as u64).collect();
        let class_counts =
            ClassCounts::new(image_counts.clone(), image_counts, labels.len() as u64).unwrap();
        let loss = BalancedSoftmaxConfig::default().init(&class_counts, &device).unwrap();
        let loss = ClassificationLoss::BalancedSoftmax(loss);
        let plain = ClassificationLossConfig::CrossEntropy(CrossEntropyConfig::default());
        let plain = plain.init(&class_counts, &device).unwrap();
        let layer = Linear {
            weight: Param::from_tensor(named("weight", 3)),
            bias: Some(Param::from_tensor(vector("bias"))),
        };
        let features = matrix(&nested("features").concat(), 3);
        let rows = features.select(0, drawn.images.clone());
        let num_slots = exponentials.len() as f64;
        for case in reference["cases"].as_array().unwrap() {
            let config = OptimizerConfig::Sgd {
                lr: reference["lr"].as_f64().unwrap(),
                momentum: case["momentum"].as_f64().unwrap(),
                nesterov: case["nesterov"].as_bool().unwrap(),
                weight_decay: case["weight_decay"].as_f64().unwrap(),
                decayed: Default::default(),
            };
            let sgd = SgdStep::new(&config, config.lr()).unwrap();
            let velocity = Velocity {
                weight: Some(named("velocity_weight", 3)),
                bias: Some(vector("velocity_bias")),
            };
            let logits = PlainLayer::of(&layer).forward(rows.clone());
            let row_labels = RowLabels::classes(drawn.labels.clone());
            let of_rows = logit_gradient(&loss, logits, row_labels, Reduction::Mean).unwrap();
            let inner = LayerGradient::new(of_rows.by_logits.clone(), rows.clone(), &layer);
            let moved = inner.step(&layer, sgd, velocity);
            let meta_rows = named("meta_features", 3);
            let meta_labels: Vec<usize> =
                numbers(&reference["meta_labels"]).iter().map(|&l| l as usize).collect();
            let meta_labels = RowLabels::from_host(&meta_labels, counts.len(), &device).unwrap();
            let logits = moved.forward(meta_rows.clone());
            let meta = logit_gradient(&plain, logits, meta_labels, Reduction::Mean).unwrap();
            let expected = case["meta_loss"].as_f64().unwrap();
            assert_close("meta loss", &values(meta.loss), &[expected], 1e-5);
            let meta = LayerGradient::new(meta.by_logits, meta_rows, &layer);
            let alignment = meta.alignment(of_rows.by_logits * num_slots, rows.clone());
            let gradient = rate_gradient(rates.clone(), &drawn, alignment, sgd.reach());
            let expected = numbers(&case["gradient"]);
            let largest = expected.iter().fold(0.0_f64, |max, v| max.max(v.abs()));
            for (found, expected) in values(gradient.clone()).into_iter().zip(&expected) {
                let error = (f64::from(found) - expected).abs() / largest;
                assert!(error < 1e-3, "{found} {expected}");
            }

            learned = ClassRates::new(
                &psi.iter().map(|psi| 1.0 / (1.0 + (-psi).exp())).collect::<Vec<_>>(),
                0.01,
                &device,
            );
            (0..3).for_each(|_| learned.update(gradient.clone()));
            let expected: Vec<f64> = numbers(&case["psi_after_three_steps_of_adam"])
                .iter()
                .map(|psi| 1.0 / (1.0 + (-psi).exp()))
                .collect();
            assert_close("rates", &values(learned.rates()), &expected, 1e-4);
        }
    }

    #[test]
    fn first_rates_are_the_authors() {
        assert_eq!(first_rates(&[90, 9, 1], 0.0), [0.5; 3]);
        // v = (0.9^-0.3, 0.09^-0.3, 0.01^-0.3) / (v_min + v_max), in NumPy.
        let expected = [0.205_879_71, 0.410_784_02, 0.794_120_29];
        for (rate, expected) in first_rates(&[90, 9, 1], 0.3).into_iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-6, "{rate} {expected}");
        }
    }
}
