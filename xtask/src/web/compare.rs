//! What the page shows against what `longtail predict` finds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::browser::Device;
use crate::process;

/// Objects with a lower score are not compared; the page shows none.
const MIN_SCORE: f64 = 0.05;
/// Differences that are allowed.
const MAX_SCORE_DIFFERENCE: f64 = 1e-3;
const MAX_PIXELS: f64 = 1.0;
/// The page without an adapter says this of the device.
const NO_ADAPTER: &str = "This browser offers no WebGPU adapter";

/// An object with its box as `[x1, y1, x2, y2]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    class: String,
    score: f64,
    bbox: [f64; 4],
}

/// The objects of every image, by name of the file.
pub(super) type Objects = BTreeMap<String, Vec<Object>>;

/// What `longtail predict` finds in images.
pub(super) fn native(
    longtail: &Path,
    run: &Path,
    folder: &Path,
    names: &[&str],
) -> Result<Objects> {
    let output = process::command(longtail)
        .args(["predict", "--json", "--min-score", "0", "--run"])
        .arg(run)
        .args(names.iter().map(|name| folder.join(name)))
        .output()
        .context("cannot start longtail")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let images: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(images.len() == names.len(), "{} results of {} images", images.len(), names.len());
    let found = names.iter().zip(&images).map(|(name, image)| {
        let objects = list(&image["detections"])?.iter().map(|object| {
            let [x, y, width, height] = numbers(&object["bbox"])?;
            read(object, [x, y, x + width, y + height])
        });
        Ok(((*name).to_owned(), objects.collect::<Result<_>>()?))
    });
    found.collect()
}

/// Checks a report of the page and tells what was compared.
///
/// # Errors
/// If anything is not as it should be.
pub(super) fn check(report: &Value, native: &Objects, device: Device) -> Result<String> {
    if let Some(error) = report["error"].as_str() {
        bail!("{error}");
    }
    ensure!(report["first"] == "done", "the first example: {}", report["status"]);
    let shown = shown_text(&report["device"]);
    if device == Device::WebGpu && shown.contains(NO_ADAPTER) {
        return Ok(format!("SKIPPED: {shown}"));
    }
    let expected = if device == Device::Cpu { "CPU" } else { "WebGPU" };
    ensure!(shown.starts_with(expected), "the page runs on {shown:?}, not on {expected}");

    let refused = list(&report["refused"])?;
    ensure!(refused.len() == 2, "{} files were refused, not 2", refused.len());
    for file in refused {
        let is_told =
            file["status"].as_str().is_some_and(|text| text.starts_with("Sorry: this file"));
        ensure!(file["state"] == "error" && is_told, "a file that is no image: {file}");
    }
    let size = shown_text(&report["huge"]["size"]);
    ensure!(size.starts_with("5000 × 3000, scaled to "), "the huge image: {}", report["huge"]);

    let mut text = format!("device: {shown}\n");
    let (mut compared, mut worst) = (0, Difference::default());
    for (name, expected) in native {
        let images = list(&report["images"])?;
        let image = images.iter().find(|image| image["name"] == name.as_str());
        let image = image.with_context(|| format!("{name} is missing"))?;
        let found = list(&image["objects"])?.iter().map(|o| read(o, numbers(&o["box"])?));
        let found: Vec<Object> = found.collect::<Result<_>>()?;
        let (count, difference) = differences(expected, &found).with_context(|| name.clone())?;
        let (size, time) = (shown_text(&image["size"]), shown_text(&image["time"]));
        let _ = writeln!(text, "  {name:<8} {size:>11}  {time}  {count} objects, {difference}");
        compared += count;
        worst = worst.max(difference);
    }
    ensure!(compared > 0, "no object was compared");
    let _ = writeln!(text, "  huge     {size}  {}", shown_text(&report["huge"]["time"]));
    let _ =
        write!(text, "{compared} objects as native: {worst}; 2 files that are no images refused");
    Ok(text)
}

/// Largest differences.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Difference {
    pixels: f64,
    score: f64,
}

impl Difference {
    fn max(self, other: Self) -> Self {
        Self { pixels: self.pixels.max(other.pixels), score: self.score.max(other.score) }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "boxes within {:.5} px, scores within {:.1e}", self.pixels, self.score)
    }
}

/// Every object that counts on one side is on the other; how many, and the largest differences.
fn differences(native: &[Object], page: &[Object]) -> Result<(usize, Difference)> {
    // Those near the bound may be missing on one side.
    let counts = |object: &&Object| object.score >= MIN_SCORE + MAX_SCORE_DIFFERENCE;
    let mut worst = Difference::default();
    let mut count = 0;
    for object in native.iter().filter(counts) {
        let difference = nearest(object, page)
            .with_context(|| format!("the page lacks {object:?}; it has {page:?}"))?;
        worst = worst.max(difference);
        count += 1;
    }
    for object in page.iter().filter(counts) {
        nearest(object, native).with_context(|| format!("only the page has {object:?}"))?;
    }
    Ok((count, worst))
}

/// How far the best match of the same class is away, if one is near enough.
fn nearest(object: &Object, others: &[Object]) -> Option<Difference> {
    let same = others.iter().filter(|other| other.class == object.class);
    let difference = |other: &Object| {
        let sides = object.bbox.iter().zip(other.bbox).map(|(a, b)| (a - b).abs());
        let pixels = sides.fold(0.0, f64::max);
        Difference { pixels, score: (object.score - other.score).abs() }
    };
    same.map(difference)
        .filter(|d| d.pixels <= MAX_PIXELS && d.score <= MAX_SCORE_DIFFERENCE)
        .min_by(|a, b| a.pixels.total_cmp(&b.pixels))
}

/// A text of the page; empty where there is none.
fn shown_text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("not a list: {value}"))
}

fn numbers(value: &Value) -> Result<[f64; 4]> {
    let numbers: Option<Vec<f64>> = list(value)?.iter().map(Value::as_f64).collect();
    numbers.and_then(|n| n.try_into().ok()).with_context(|| format!("not four numbers: {value}"))
}

fn read(object: &Value, bbox: [f64; 4]) -> Result<Object> {
    let class = object["class"].as_str().with_context(|| format!("no class: {object}"))?.to_owned();
    let score = object["score"].as_f64().with_context(|| format!("no score: {object}"))?;
    Ok(Object { class, score, bbox })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(class: &str, score: f64, x1: f64) -> Object {
        Object { class: class.to_owned(), score, bbox: [x1, 2.0, 30.0, 40.0] }
    }

    #[test]
    fn differences_are_bounded_on_both_sides() {
        let native = [object("owl", 0.9, 5.0), object("wren", 0.5, 1.0), object("owl", 0.05, 9.0)];
        let page = [object("wren", 0.5005, 1.5), object("owl", 0.9, 5.0)];
        let (count, worst) = differences(&native, &page).unwrap();
        assert_eq!((count, worst.pixels), (2, 0.5));
        assert!((worst.score - 5e-4).abs() < 1e-12);
        let refused = |page: &[Object]| differences(&native, page).unwrap_err().to_string();
        assert!(refused(&page[..1]).starts_with("the page lacks Object { class: \"owl\""));
        let far = [page[0].clone(), object("owl", 0.9, 6.5)];
        assert!(refused(&far).starts_with("the page lacks"));
        let surer = [page[0].clone(), object("owl", 0.902, 5.0)];
        assert!(refused(&surer).starts_with("the page lacks"));
        let more = [page[0].clone(), page[1].clone(), object("heron", 0.2, 5.0)];
        assert!(refused(&more).starts_with("only the page has Object { class: \"heron\""));
    }

    #[test]
    fn a_report_is_checked_in_all_its_parts() {
        let objects = json!([{ "class": "owl", "score": 0.9, "box": [5.0, 2.0, 30.0, 40.0] }]);
        let refused = json!({ "state": "error", "status": "Sorry: this file is empty." });
        let report = json!({
            "first": "done", "device": "CPU, WebAssembly", "refused": [refused, refused],
            "images": [{ "name": "1.png", "size": "64 × 64", "time": "9 ms", "objects": objects }],
            "huge": { "size": "5000 × 3000, scaled to 640 × 384", "time": "2.0 s" },
        });
        let native = Objects::from([("1.png".to_owned(), vec![object("owl", 0.9, 5.0)])]);
        let text = check(&report, &native, Device::Cpu).unwrap();
        assert!(text.contains("1 objects as native: boxes within 0.00000 px"), "{text}");
        assert!(check(&report, &native, Device::WebGpu).is_err());
        assert!(check(&report, &Objects::new(), Device::Cpu).is_err());
        for (key, value) in [("error", json!("no")), ("first", json!("error")), ("huge", json!({}))]
        {
            let mut wrong = report.clone();
            wrong[key] = value;
            assert!(check(&wrong, &native, Device::Cpu).is_err(), "{key}");
        }
        let mut without = report.clone();
        without["device"] = json!(format!("CPU. {NO_ADAPTER}; the CPU runs instead."));
        let text = check(&without, &native, Device::WebGpu).unwrap();
        assert!(text.starts_with("SKIPPED: "), "{text}");
    }
}
