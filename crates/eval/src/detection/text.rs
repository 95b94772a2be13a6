//! A report of a detector as a table for the terminal, as Markdown and as CSV.

use super::{
    analysis::ErrorAnalysis,
    protocol::{GROUPS, GroupSource, group_bounds, group_name},
    report::{DetectionClass, DetectionReport},
};
use crate::{
    table::{Table, class_list, percent, plural, thousands},
    text::quote,
};

impl DetectionReport {
    /// The numbers for the terminal, and the protocol behind them.
    pub fn table(&self) -> String {
        let mut text = self.headline(&self.name).text();
        self.protocol_lines().iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text
    }

    /// The report for people: what was measured, how, and every class.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}", self.name, self.headline("").markdown());
        let lines = self.protocol_lines();
        let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
        text.push_str(&format!("\n## Protocol\n\n{lines}{}", self.plot_links()));
        if let Some(analysis) = &self.analysis {
            text.push_str(&self.error_section(analysis));
        }
        text.push_str(&format!("\n## Classes\n\n{}", self.class_table()));
        text
    }

    /// One line per class; a number that was not measured is an empty field.
    pub fn csv(&self) -> String {
        let mut text = "label,id,name,train_images,group,num_objects,num_detections,".to_string();
        text.push_str("AP,AP50,AR\n");
        for (label, class) in self.classes.iter().enumerate() {
            let DetectionClass { id, num_objects, num_detections, .. } = class;
            let (name, group) = (quote(&class.name), class.group.map_or("", group_name));
            let train = class.train_images.map(|images| images.to_string()).unwrap_or_default();
            text.push_str(&format!("{label},{id},{name},{train},{group},"));
            text.push_str(&format!("{num_objects},{num_detections}"));
            for value in [class.ap, class.ap50, class.ar] {
                text.push_str(&value.map_or_else(|| ",".into(), |value| format!(",{value:.6}")));
            }
            text.push('\n');
        }
        text
    }

    fn headline(&self, name: &str) -> Table {
        let measured = self.classes.iter().filter(|class| class.ap.is_some()).count();
        let mut table = Table::new([name, "%", "classes"]);
        for (name, value) in self.metrics.named() {
            let group =
                GROUPS.into_iter().find(|group| name == ["APr", "APc", "APf"][*group as usize]);
            let (name, classes) = match group {
                Some(group) => {
                    let bounds = group_bounds(group);
                    let name = format!("{name}, {} ({bounds})", group_name(group));
                    (name, self.group_size(group)[1])
                }
                None => (describe(name).to_string(), measured),
            };
            table.row([name, percent(value), classes.to_string()]);
        }
        table
    }

    /// What a reader must know to repeat the numbers.
    fn protocol_lines(&self) -> Vec<String> {
        let protocol = &self.protocol;
        let images = plural(protocol.num_images, "image", "images");
        let objects = plural(self.num_objects, "object", "objects");
        let detections = plural(self.num_detections, "detection", "detections");
        let mut lines =
            vec![format!("Test set: {} ({images}, {objects}, {detections}).", protocol.test_set)];
        lines.extend(protocol.lines());
        let sizes = GROUPS.map(|group| {
            let [all, measured] = self.group_size(group);
            format!("{} {} ({} measured)", thousands(all as u64), group_name(group), measured)
        });
        lines.push(match protocol.groups {
            Some(GroupSource::Flags) => {
                format!("Groups by the annotations' flags: {}.", sizes.join(", "))
            }
            Some(GroupSource::TrainingImages) => {
                let bounds =
                    GROUPS.map(|group| format!("{} {}", group_name(group), group_bounds(group)));
                let (bounds, sizes) = (bounds.join(", "), sizes.join(", "));
                format!("Groups by training images ({bounds}): {sizes}.")
            }
            None => "Groups: none, as neither flags nor training images are known.".into(),
        });
        if let Some(source) = &protocol.train_counts {
            lines.push(format!("Training images per class: {source}."));
        }
        let unseen = self.classes.iter().filter(|class| class.ap.is_none()).count() as u64;
        if unseen > 0 {
            let unseen = plural(unseen, "class", "classes");
            lines.push(format!(
                "Without an object to be found, and left out of all means: {unseen}."
            ));
        }
        lines
    }

    fn plot_links(&self) -> String {
        let mut text = "\n## Plots\n\n".to_string();
        for (name, title) in self.plot_titles() {
            text.push_str(&format!("![{title}]({name})\n"));
        }
        text
    }

    fn error_section(&self, analysis: &ErrorAnalysis) -> String {
        let mut table = Table::new(["errors", "number", "AP50 gain, points"]);
        let points = |gain: f64| format!("{:+.2}", 100.0 * gain);
        for error in &analysis.errors {
            table.row([error.kind.clone(), thousands(error.count), points(error.gain)]);
        }
        let none = String::new();
        table.row([
            "all false detections".into(),
            none.clone(),
            points(analysis.false_positive_gain),
        ]);
        table.row(["all objects not found".into(), none, points(analysis.false_negative_gain)]);
        let mut text = format!(
            "\n## Errors\n\nBy TIDE, on {}: what AP50 ({} % there) would gain if the errors of one \
             kind were mended. An object counts as found from overlap {:.2} on; a detection lies on \
             background up to {:.2}.\n\n{}",
            plural(analysis.num_images, "image", "images"),
            percent(analysis.ap),
            analysis.overlap,
            analysis.background_overlap,
            table.markdown(),
        );
        let background = self.classes.len();
        let pairs = analysis.confusion.most_confused(usize::MAX).into_iter();
        let pairs = pairs.filter(|&(label, found, _)| label != background && found != background);
        let mut table = Table::new(["label", "taken for", "objects", "% of the label"]);
        let totals = analysis.confusion.label_totals();
        let mut is_empty = true;
        for (label, found, count) in pairs.take(10) {
            let share = count as f64 / totals[label].max(1) as f64;
            let [label, found] = [label, found].map(|class| self.classes[class].name.clone());
            table.row([label, found, thousands(count), percent(share)]);
            is_empty = false;
        }
        if !is_empty {
            let min_score = analysis.min_score;
            text.push_str(&format!(
                "\nMost frequent confusions, of detections with a score of {min_score} or more:\n\n{}",
                table.markdown()
            ));
        }
        text
    }

    fn class_table(&self) -> String {
        let is_sorted = self.classes.iter().any(|class| class.train_images.is_some());
        let intro = if is_sorted { "Sorted by training images." } else { "" };
        let header =
            ["class", "training images", "group", "objects", "detections", "AP", "AP50", "AR"];
        let value = |value: Option<f64>| value.map(percent).unwrap_or_default();
        class_list(intro, header, &self.by_frequency(), |label| {
            let class = &self.classes[label];
            [
                class.name.clone(),
                class.train_images.map(thousands).unwrap_or_default(),
                class.group.map(group_name).unwrap_or_default().to_string(),
                thousands(class.num_objects),
                thousands(class.num_detections),
                value(class.ap),
                value(class.ap50),
                value(class.ar),
            ]
        })
    }
}

fn describe(name: &str) -> &str {
    match name {
        "AP" => "AP, overlap 0.50 to 0.95",
        "AP50" => "AP50, overlap 0.50",
        "AP75" => "AP75, overlap 0.75",
        "APs" => "APs, small objects",
        "APm" => "APm, medium objects",
        "APl" => "APl, large objects",
        "AR1" => "AR1, best detection",
        "AR10" => "AR10, best ten",
        "AR" => "AR, all that count",
        "ARs" => "ARs, small objects",
        "ARm" => "ARm, medium objects",
        "ARl" => "ARl, large objects",
        other => other,
    }
}
