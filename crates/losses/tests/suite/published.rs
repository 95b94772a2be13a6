//! Losses and gradients against `xtask/reference/losses_basic.py`.

use longtail_losses::{ClassificationLoss, LossMethod, Reduction, SoftmaxEqualizationConfig};
use longtail_testing::{assert_close, development_data, values};
use longtail_types::{ClassCounts, TailRule};
use serde_json::{Value, json};

use crate::support::{
    classes, device, evaluate, floats, gradient, init, integers, labels_of, matrix, tracked,
};

const TOLERANCE: f64 = 1e-5;

struct Published {
    data: Value,
    counts: ClassCounts,
    num_rows: usize,
}

impl Published {
    fn new(json: &str) -> Self {
        let data: Value = serde_json::from_str(json).unwrap();
        let images = integers(&data["image_counts"]);
        let counts =
            ClassCounts::new(images.clone(), images, data["num_images"].as_u64().unwrap()).unwrap();
        let num_rows = data["n"].as_u64().unwrap() as usize;
        Self { data, counts, num_rows }
    }

    fn tail(&self) -> Value {
        json!({"image-frequency-below": self.data["lambda"]})
    }

    fn compare(&self, name: &str, loss: f64, gradient: &[f32]) {
        let expected = &self.data["losses"][name];
        assert_close(name, &[loss as f32], &[expected["loss"].as_f64().unwrap()], TOLERANCE);
        assert_close(name, gradient, &floats(&expected["grad"]), TOLERANCE);
    }

    fn labels(&self, which: &str) -> Vec<usize> {
        labels_of(&self.data[which])
    }

    fn check_stateless(&self) {
        let cases = [
            ("eql_sigmoid", json!({"method": "eql", "tail": self.tail()}), "targets_det"),
            ("bce_sigmoid", json!({"method": "binary-cross-entropy"}), "targets_det"),
            ("balanced_softmax", json!({"method": "balanced-softmax"}), "targets_cls"),
            ("cross_entropy", json!({"method": "cross-entropy"}), "targets_cls"),
            ("sigmoid_focal_sum", json!({"method": "focal"}), "targets_det"),
            (
                "class_balanced_ce",
                json!({"method": "class-balanced", "beta": 0.999}),
                "targets_cls",
            ),
            ("ldam", json!({"method": "ldam"}), "targets_cls"),
            ("logit_adjusted_tau1", json!({"method": "logit-adjustment"}), "targets_cls"),
            (
                "balanced_sigmoid_released",
                json!({"method": "balanced-sigmoid", "form": "released"}),
                "targets_det",
            ),
        ];
        let logits = floats(&self.data["logits"]);
        for (name, config, labels) in cases {
            let loss = init(config, &self.counts);
            let reduction = match name {
                "sigmoid_focal_sum" => Reduction::Sum,
                _ => Reduction::Mean,
            };
            let (loss, gradient) =
                evaluate(&loss, &logits, classes(&self.labels(labels)), reduction);
            self.compare(name, loss, &gradient);
        }
    }

    fn check_seql(&self) {
        let name = "eql_softmax_given_mask";
        let tail = TailRule::ImageFrequencyBelow(self.data["lambda"].as_f64().unwrap());
        let is_tail = tail.tail_classes(&self.counts).unwrap();
        let beta = floats(&self.data["losses"][name]["beta"]);
        let mask: Vec<f64> = beta
            .iter()
            .enumerate()
            .map(|(i, &beta)| if is_tail[i % is_tail.len()] { beta } else { 0.0 })
            .collect();
        let config = SoftmaxEqualizationConfig { tail, ..Default::default() };
        let seql = config.init(&self.counts, &device()).unwrap();
        let logits = tracked(&floats(&self.data["logits"]), self.num_rows);
        let labels = classes(&self.labels("targets_cls"));
        let mask = matrix(&mask, self.num_rows, &device());
        let output = seql.forward_masked(logits.clone(), labels, mask, Reduction::Mean).unwrap();
        let (loss, gradient) = gradient(&logits, &output);
        self.compare(name, loss, &gradient);
        assert_eq!(seql.layout().num_logits(), self.counts.num_classes());
    }

    fn check_eqlv2(&self) {
        let name = "eqlv2_one_step";
        let expected = &self.data["losses"][name];
        let (positive, negative) =
            (floats(&expected["pos_before"]), floats(&expected["neg_before"]));
        let ratio: Vec<f64> =
            positive.iter().zip(&negative).map(|(p, n)| p / (n + 1e-10)).collect();
        let mut loss = init(json!({"method": "eql-v2"}), &self.counts);
        let state = [("positive", positive), ("negative", negative), ("ratio", ratio)];
        load_state(&mut loss, &state);

        let logits = tracked(&floats(&expected["logits"]), self.num_rows);
        let output = loss.forward(logits.clone(), classes(&self.labels("targets_det"))).unwrap();
        let (value, gradient) = gradient(&logits, &output);
        self.compare(name, value, &gradient);

        loss.apply(output.update).unwrap();
        let state = loss.state();
        let after =
            |key: &str| values(state.iter().find(|(name, _)| name == key).unwrap().1.clone());
        assert_close("positive", &after("positive"), &floats(&expected["pos_after"]), TOLERANCE);
        assert_close("negative", &after("negative"), &floats(&expected["neg_after"]), TOLERANCE);
    }

    /// The file has the class part alone, with the counts after the batch. Two equal objectness
    /// logits add ln 2 to each row, and nothing to the class columns' gradient.
    fn check_seesaw(&self) {
        let name = "seesaw_classes";
        let expected = &self.data["losses"][name];
        let num_classes = self.counts.num_classes();
        let labels = self.labels("targets_det");
        let mut before = floats(&expected["cumulative_counts"]);
        labels.iter().filter(|&&label| label < num_classes).for_each(|&l| before[l] -= 1.0);
        let mut loss = init(json!({"method": "seesaw"}), &self.counts);
        load_state(&mut loss, &[("label_counts", before)]);

        let classes_only = floats(&self.data["logits"]);
        let rows = classes_only.chunks(num_classes);
        let entries: Vec<f64> = rows.flat_map(|row| row.iter().copied().chain([0.0; 2])).collect();
        let (value, gradient) = evaluate(&loss, &entries, classes(&labels), Reduction::Mean);
        let foreground = labels_of(&expected["rows"]);
        let gradient: Vec<f32> = gradient
            .chunks(num_classes + 2)
            .enumerate()
            .filter(|(row, _)| foreground.contains(row))
            .flat_map(|(_, row)| row[..num_classes].to_vec())
            .collect();
        self.compare(name, value - 2.0_f64.ln(), &gradient);
    }

    fn check(&self) {
        self.check_stateless();
        self.check_seql();
        self.check_eqlv2();
        self.check_seesaw();
        assert_eq!(self.data["losses"].as_object().unwrap().len(), 12, "every loss of the file");
    }
}

fn load_state(loss: &mut ClassificationLoss, state: &[(&str, Vec<f64>)]) {
    let tensor = |values: &[f64]| matrix(values, 1, &device()).squeeze_dim::<1>(0);
    let state = state.iter().map(|(name, values)| ((*name).to_string(), tensor(values)));
    loss.load_state(state.collect()).unwrap();
}

#[test]
fn few_classes() {
    Published::new(include_str!("../data/losses_11x23.json")).check();
}

#[test]
fn as_many_classes_as_lvis() {
    if let Some(path) = development_data("golden/losses_4x1230.json") {
        Published::new(&std::fs::read_to_string(path).unwrap()).check();
    }
}
