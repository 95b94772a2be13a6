//! The page of a detector's run.

use super::{
    RunExtras,
    html::{GroupTag, document, figure, filter, headline, notes, section, tiles},
    picture::pictures,
    table::{Cell, ClassTable},
};
use crate::{
    DetectionReport, EvalError,
    detection::{GROUPS, group_name},
    page::html::escape_html,
    table::{percent, plural, thousands},
};

/// A page about a detector: numbers, plots, every class, pictures of errors. `boxes` and `masks` are
/// of one run.
///
/// # Errors
/// If the plotting library fails.
pub fn detection_page(
    boxes: &DetectionReport,
    masks: Option<&DetectionReport>,
    extras: &RunExtras,
) -> Result<String, EvalError> {
    let protocol = &boxes.protocol;
    let subtitle = format!(
        "{}: {}, {}; rules of {}",
        protocol.test_set,
        plural(protocol.num_images, "image", "images"),
        plural(boxes.num_objects, "object", "objects"),
        protocol.benchmark,
    );
    let mut body = headline(&boxes.name, &subtitle);
    for report in std::iter::once(boxes).chain(masks) {
        body.push_str(&format!(
            "<p class=\"count\">Average precision of {}, %</p>\n",
            report.protocol.overlap
        ));
        body.push_str(&tiles(&numbers(report)));
    }
    body.push_str(&notes(&extras.notes));
    body.push_str(&section("plots", "Plots"));
    for (_, svg) in boxes.plots()? {
        body.push_str(&figure(&svg));
    }
    if let Some(masks) = masks {
        body.push_str(&section("masks", "Masks"));
        let of_masks = masks.plots()?.into_iter();
        let kept = ["ap_by_frequency.svg", "precision_recall.svg", "errors.svg"];
        for (_, svg) in of_masks.filter(|(name, _)| kept.contains(name)) {
            body.push_str(&figure(&svg));
        }
    }
    body.push_str(&shared(extras));
    body.push_str(&section("classes", "All classes"));
    let groups: Vec<GroupTag> = if boxes.protocol.groups.is_some() {
        GROUPS.into_iter().rev().map(GroupTag::from).collect()
    } else {
        Vec::new()
    };
    body.push_str(&filter(&groups));
    body.push_str(&class_table(boxes, masks));
    body.push_str(&section("protocol", "How it was measured"));
    body.push_str(&list(&protocol.lines()));
    Ok(document(&boxes.name, &body))
}

/// Training curves and pictures of errors.
pub(super) fn shared(extras: &RunExtras) -> String {
    let mut html = String::new();
    if !extras.galleries.is_empty() {
        html.push_str(&section("errors", "Errors"));
    }
    for gallery in &extras.galleries {
        html.push_str(&format!(
            "<section class=\"class\">\n<header><h3>{}</h3><span class=\"count\">{}</span>\
             </header>\n{}</section>\n",
            escape_html(&gallery.title),
            escape_html(&gallery.text),
            pictures(&gallery.pictures),
        ));
    }
    if let Some(curves) = &extras.curves {
        html.push_str(&section("training", "Training"));
        html.push_str(&figure(curves));
    }
    html
}

/// Lines as a list; a code mark of Markdown is left out.
pub(super) fn list(lines: &[String]) -> String {
    let lines =
        lines.iter().map(|line| format!("<li>{}</li>\n", escape_html(&line.replace('`', ""))));
    format!("<ul>\n{}</ul>\n", lines.collect::<String>())
}

fn numbers(report: &DetectionReport) -> Vec<(String, String, &'static str)> {
    let styled = report.metrics.named().into_iter().map(|(name, value)| {
        let style = match name {
            "APr" => "few",
            "APc" => "medium",
            "APf" => "many",
            _ => "",
        };
        let group = GROUPS.into_iter().find(|&group| GroupTag::from(group).style == style);
        let name = match group {
            Some(group) => {
                let [_, measured] = report.group_size(group);
                format!("{name}: {} {}", thousands(measured as u64), group_name(group))
            }
            None => name.to_string(),
        };
        (percent(value), name, style)
    });
    styled.collect()
}

fn class_table(boxes: &DetectionReport, masks: Option<&DetectionReport>) -> String {
    let mut header = vec!["class", "group", "training images", "objects", "detections"];
    header.extend(["AP, %", "AP50, %", "AR, %"]);
    if masks.is_some() {
        header.push("AP of masks, %");
    }
    let mut table = ClassTable::new(header);
    for label in boxes.by_frequency() {
        let class = &boxes.classes[label];
        let group = class.group.map(GroupTag::from);
        let mut cells = vec![
            Cell::Group(group),
            Cell::Number(class.train_images),
            Cell::Number(Some(class.num_objects)),
            Cell::Number(Some(class.num_detections)),
            Cell::Share(class.ap),
            Cell::Share(class.ap50),
            Cell::Share(class.ar),
        ];
        if let Some(masks) = masks {
            cells.push(Cell::Share(masks.classes.get(label).and_then(|class| class.ap)));
        }
        table.row(&class.name, None, group, cells);
    }
    table.html()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Benchmark, DetectionEvaluator, DetectionSettings, Gallery, GroundTruth, Overlap,
        StreamingEvaluator, TrainingCounts,
    };
    use longtail_types::{BBox, ClassCounts, ClassMap, Detection, Instance};

    fn report() -> DetectionReport {
        let bbox = BBox::new(10.0, 10.0, 60.0, 50.0);
        let classes = ClassMap::from_names(["owl", "<b>wren"]).unwrap();
        let mut truth = GroundTruth::builder(classes, Benchmark::Coco);
        let objects = vec![Instance { label: 1, bbox, mask: None }.into()];
        let image = crate::AnnotatedImage { id: 1, size: [80, 100], objects, ..Default::default() };
        truth.add_image(&image).unwrap();
        let counts = ClassCounts::new(vec![500, 5], vec![500, 5], 500).unwrap();
        let settings = DetectionSettings {
            training: Some(TrainingCounts { counts, source: "by hand".into() }),
            ..DetectionSettings::new("a & b", Overlap::Boxes)
        };
        let mut evaluator = StreamingEvaluator::new(truth.build().unwrap(), settings).unwrap();
        evaluator.add_image(1, &[Detection { label: 1, score: 0.9, bbox, mask: None }]).unwrap();
        evaluator.finish().unwrap()
    }

    #[test]
    fn the_page_has_numbers_plots_classes_and_errors() {
        let extras = RunExtras {
            curves: Some("<svg id=\"curves\"></svg>".into()),
            galleries: vec![Gallery {
                title: "Background".into(),
                text: "3 in all <".into(),
                pictures: Vec::new(),
            }],
            notes: vec!["a note".into()],
        };
        let html = detection_page(&report(), None, &extras).unwrap();
        for part in [
            "<h1>a &amp; b</h1>",
            "<dt>APr: 1 rare</dt><dd>100.00</dd>",
            "<th scope=\"row\">&lt;b&gt;wren</th>",
            "<figure class=\"plot\"><svg id=\"curves\">",
            "<h3>Background</h3><span class=\"count\">3 in all &lt;</span>",
            "<li>a note</li>",
            "data-v=\"500\"",
        ] {
            assert!(html.contains(part), "{part} is not in the page");
        }
        assert!(!html.contains("<b>wren"));
    }
}
