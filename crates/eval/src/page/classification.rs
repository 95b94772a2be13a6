//! The page of a classifier's run.

use super::{
    RunExtras,
    detection::{list, shared},
    html::{GroupTag, document, escape_html, figure, filter, headline, notes, section, tiles},
    table::{Cell, ClassTable},
};
use crate::{
    ClassificationReport, EvalError,
    table::{percent, plural, thousands},
    text::GROUPS,
};

/// Pairs of classes listed.
const MAX_PAIRS: usize = 20;

/// A page about a classifier: numbers, plots, confusions, every class, pictures of errors.
///
/// # Errors
/// If the plotting library fails.
pub fn classification_page(
    report: &ClassificationReport,
    extras: &RunExtras,
) -> Result<String, EvalError> {
    let images = plural(report.num_examples, "image", "images");
    let subtitle = format!("{}: {images}", report.protocol.test_set);
    let mut body = headline(&report.name, &subtitle);
    body.push_str(&tiles(&numbers(report)));
    body.push_str(&notes(&extras.notes));
    body.push_str(&section("plots", "Plots"));
    for (_, svg) in report.plots()? {
        body.push_str(&figure(&svg));
    }
    body.push_str(&confusions(report));
    body.push_str(&shared(extras));
    body.push_str(&section("classes", "All classes"));
    body.push_str(&filter(&GROUPS.map(GroupTag::from)));
    body.push_str(&class_table(report));
    body.push_str(&section("protocol", "How it was measured"));
    body.push_str(&list(&report.protocol_lines()));
    Ok(document(&report.name, &body))
}

fn numbers(report: &ClassificationReport) -> Vec<(String, String, &'static str)> {
    let mut tiles = vec![(percent(report.micro_accuracy), "accuracy, %".to_string(), "")];
    tiles.push((percent(report.macro_accuracy), "mean of classes, %".into(), ""));
    if let Some(top5) = report.top5_accuracy {
        tiles.push((percent(top5), "top-5 accuracy, %".into(), ""));
    }
    for group in GROUPS {
        if let Some(accuracy) = report.shots.group(group) {
            let size = plural(accuracy.num_classes as u64, "class", "classes");
            let style = GroupTag::from(group).style;
            tiles.push((percent(accuracy.accuracy), format!("{group}, %: {size}"), style));
        }
    }
    if let Some(calibration) = &report.calibration {
        let name = "expected calibration error, %";
        tiles.push((percent(calibration.expected_error), name.into(), ""));
    }
    tiles
}

fn confusions(report: &ClassificationReport) -> String {
    let pairs = report.confusion.most_confused(MAX_PAIRS);
    if pairs.is_empty() {
        return String::new();
    }
    let mut html = section("confusions", "Most frequent confusions");
    html.push_str(
        "<div class=\"scroll\"><table>\n<thead><tr><th>label</th><th>taken for</th>\
         <th>images</th><th>% of the label</th></tr></thead>\n<tbody>\n",
    );
    for (label, predicted, count) in pairs {
        let share = count as f64 / report.classes[label].num_examples.max(1) as f64;
        let [label, predicted] =
            [label, predicted].map(|class| escape_html(&report.classes[class].name));
        html.push_str(&format!(
            "<tr><th scope=\"row\">{label}</th><td class=\"text\">{predicted}</td><td>{}</td>\
             <td>{}</td></tr>\n",
            thousands(count),
            percent(share),
        ));
    }
    html + "</tbody></table></div>\n"
}

fn class_table(report: &ClassificationReport) -> String {
    let header = [
        "class",
        "group",
        "training images",
        "test images",
        "accuracy, %",
        "precision, %",
        "F1, %",
    ];
    let mut table = ClassTable::new(header);
    for label in report.by_frequency() {
        let class = &report.classes[label];
        let group = Some(GroupTag::from(class.group));
        let cells = [
            Cell::Group(group),
            Cell::Number(Some(class.train_images)),
            Cell::Number(Some(class.num_examples)),
            Cell::Share(class.accuracy),
            Cell::Share(class.precision),
            Cell::Share(class.f1),
        ];
        table.row(&class.name, None, group, cells);
    }
    table.html()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClassificationEvaluator, EvaluationProtocol};
    use longtail_types::{ClassCounts, ClassMap};

    #[test]
    fn the_page_has_numbers_plots_and_confusions() {
        let mut evaluator = ClassificationEvaluator::new(2).unwrap();
        evaluator.add(&[0.9, 0.1, 0.8, 0.2, 0.7, 0.3], &[0, 0, 1]).unwrap();
        let classes = ClassMap::from_names(["owl", "<i>"]).unwrap();
        let counts = ClassCounts::new(vec![300, 3], vec![300, 3], 303).unwrap();
        let protocol = EvaluationProtocol::default();
        let report = evaluator.report("run", &classes, &counts, protocol).unwrap();
        let html = classification_page(&report, &RunExtras::default()).unwrap();
        for part in [
            "<dt>accuracy, %</dt><dd>66.67</dd>",
            "<dt>few, %: 1 class</dt><dd>0.00</dd>",
            "<tr><th scope=\"row\">&lt;i&gt;</th><td class=\"text\">owl</td><td>1</td><td>100.00</td>",
            "data-name=\"&lt;i&gt;\" data-group=\"few\"",
            "expected calibration error, %",
        ] {
            assert!(html.contains(part), "{part} is not in the page");
        }
        assert!(!html.contains("<i>") && !html.contains("Errors</h2>"));
    }
}
