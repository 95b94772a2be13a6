//! A report as a table for the terminal, as Markdown and as CSV.

use longtail_types::{ShotGroup, ShotThresholds};

use crate::{
    ClassResult, ClassificationReport, GroupAccuracy,
    table::{Table, class_list, percent, plural, thousands},
};

impl ClassificationReport {
    /// A short table for the terminal: accuracy overall and by training images.
    pub fn table(&self) -> String {
        let mut table = Table::new([&self.name, "accuracy %", "classes", "test images"]);
        let measured = self.classes.iter().filter(|class| class.accuracy.is_some()).count();
        let mut row = |name: &str, accuracy: f64, num_classes: usize, num_examples: u64| {
            let examples = thousands(num_examples);
            table.row([name.to_string(), percent(accuracy), num_classes.to_string(), examples]);
        };
        row("overall (micro)", self.micro_accuracy, measured, self.num_examples);
        if let Some(top5) = self.top5_accuracy {
            row("overall, top 5", top5, measured, self.num_examples);
        }
        row("mean of classes (macro)", self.macro_accuracy, measured, self.num_examples);
        for (name, group) in self.groups() {
            row(&name, group.accuracy, group.num_classes, group.num_examples);
        }
        let mut text = table.text();
        if let Some(calibration) = &self.calibration {
            let error = percent(calibration.expected_error);
            text.push_str(&format!("expected calibration error {error} %, 15 bins\n"));
        }
        text
    }

    /// The report for people: what was measured, how, and every class.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n", self.name);
        text.push_str(&self.headline().markdown());
        text.push_str(&format!("\n## Protocol\n\n{}", self.protocol_list()));
        text.push_str(PLOTS);
        text.push_str(self.calibration.as_ref().map_or("", |_| CALIBRATION_PLOT));
        text.push_str(&format!("\n## Classes\n\n{}", self.class_table()));
        let pairs = self.confusion.most_confused(10);
        if !pairs.is_empty() {
            let mut table = Table::new(["label", "taken for", "images", "% of the label"]);
            for (label, predicted, count) in pairs {
                let share = count as f64 / self.classes[label].num_examples.max(1) as f64;
                let [label, predicted] = [label, predicted].map(|c| self.classes[c].name.clone());
                table.row([label, predicted, thousands(count), percent(share)]);
            }
            text.push_str(&format!("\n## Most frequent confusions\n\n{}", table.markdown()));
        }
        text
    }

    /// One line per class; a number that was not measured is an empty field.
    pub fn csv(&self) -> String {
        let mut text = "label,name,train_images,group,num_examples,num_predicted,".to_string();
        text.push_str("accuracy,precision,f1\n");
        for (label, class) in self.classes.iter().enumerate() {
            let ClassResult { train_images, group, num_examples, num_predicted, .. } = class;
            let name = quote(&class.name);
            text.push_str(&format!("{label},{name},{train_images},{group},"));
            text.push_str(&format!("{num_examples},{num_predicted}"));
            for value in [class.accuracy, class.precision, class.f1] {
                text.push_str(&value.map_or_else(|| ",".into(), |value| format!(",{value:.6}")));
            }
            text.push('\n');
        }
        text
    }

    fn headline(&self) -> Table {
        let mut table = Table::new(["", "%"]);
        table.row(["accuracy, overall (micro)".into(), percent(self.micro_accuracy)]);
        if let Some(top5) = self.top5_accuracy {
            table.row(["top-5 accuracy, overall".into(), percent(top5)]);
        }
        table.row(["accuracy, mean of classes (macro)".into(), percent(self.macro_accuracy)]);
        for (name, group) in self.groups() {
            let size = plural(group.num_classes as u64, "class", "classes");
            table.row([format!("accuracy, {name}, {size}"), percent(group.accuracy)]);
        }
        table.row(["precision, mean of classes".into(), percent(self.macro_precision)]);
        table.row(["F1, mean of classes".into(), percent(self.macro_f1)]);
        if let Some(calibration) = &self.calibration {
            table.row(["expected calibration error".into(), percent(calibration.expected_error)]);
            table.row(["mean confidence".into(), percent(calibration.mean_confidence)]);
        }
        table
    }

    /// The groups that have test examples, with their bounds.
    fn groups(&self) -> Vec<(String, GroupAccuracy)> {
        let named = GROUPS.map(|group| {
            let name = format!("{group} ({})", bounds(group, self.protocol.thresholds));
            Some((name, self.shots.group(group)?))
        });
        named.into_iter().flatten().collect()
    }

    fn protocol_list(&self) -> String {
        self.protocol_lines().iter().map(|line| format!("- {line}\n")).collect()
    }

    /// How it was measured, one sentence each.
    pub(crate) fn protocol_lines(&self) -> Vec<String> {
        let protocol = &self.protocol;
        let [many, medium, few] = GROUPS.map(|group| self.group_size(group));
        let bounds =
            GROUPS.map(|group| format!("{group} = {}", bounds(group, protocol.thresholds)));
        let images = thousands(self.num_train_images);
        let mut lines = vec![
            format!("Test set: {} ({} images).", protocol.test_set, thousands(self.num_examples)),
            format!("Training images per class: {} ({images} images).", protocol.train_counts),
            format!("Groups by training images per class: {}.", bounds.join(", ")),
            format!("Classes: {many} many, {medium} medium, {few} few."),
            "Accuracy of a group: mean of the accuracies of its classes. A group or class without \
             test images is absent."
                .to_string(),
            "Prediction: highest score; of equal scores the class with the lowest index.".into(),
            match self.calibration {
                Some(_) => "Calibration: 15 bins of equal width, `(m/15, (m+1)/15]`.".into(),
                None => "Calibration: absent, the scores are no probabilities.".into(),
            },
        ];
        let unseen = self.classes.iter().filter(|class| class.num_examples == 0).count() as u64;
        if unseen > 0 {
            lines.push(format!("Without test images: {}.", plural(unseen, "class", "classes")));
        }
        lines
    }

    fn class_table(&self) -> String {
        let header =
            ["class", "training images", "group", "test images", "accuracy", "precision", "F1"];
        let value = |value: Option<f64>| value.map(percent).unwrap_or_default();
        class_list("Sorted by training images.", header, &self.by_frequency(), |label| {
            let class = &self.classes[label];
            [
                class.name.clone(),
                thousands(class.train_images),
                class.group.to_string(),
                thousands(class.num_examples),
                value(class.accuracy),
                value(class.precision),
                value(class.f1),
            ]
        })
    }
}

pub(crate) const GROUPS: [ShotGroup; 3] = [ShotGroup::Many, ShotGroup::Medium, ShotGroup::Few];

const PLOTS: &str = "
## Plots

![Accuracy of each class](class_accuracy.svg)
![Training images of each class](class_distribution.svg)
![Confusion](confusion.svg)
";
const CALIBRATION_PLOT: &str = "![Confidence against accuracy](calibration.svg)\n";

/// `more than 100`, `20 to 100`, `fewer than 20`.
pub(crate) fn bounds(group: ShotGroup, thresholds: ShotThresholds) -> String {
    let ShotThresholds { many_above, few_below } = thresholds;
    match group {
        ShotGroup::Many => format!("more than {}", thousands(many_above)),
        ShotGroup::Medium => format!("{} to {}", thousands(few_below), thousands(many_above)),
        ShotGroup::Few => format!("fewer than {}", thousands(few_below)),
    }
}

/// A CSV field, in quotes if it has to be.
pub(crate) fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_string()
    }
}
