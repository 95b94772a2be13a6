//! `longtail demo`: the same detector, several losses.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use longtail::burn::tensor::Device;
use longtail::data::DetectionDataset;
use longtail::eval::{DetectionComparison, DetectionReport};
use longtail::training::{
    DetectionRecipe, INTERRUPTED_EXIT_CODE, Outcome, TrainOptions, TrainedDetector,
    draw_detections, enlarge, side_by_side, stop_on_interrupt, train_detector, write_png,
};
use longtail::types::{ClassMap, Detection, FrequencyGroup};

use super::Options;

/// The recipe of all runs; only the loss differs.
const RECIPE: &str = include_str!("../../demo_detect.toml");

/// The losses compared: title, folder, and what the recipe says. The first is the baseline.
const LOSSES: [(&str, &str, &str); 3] = [
    ("sigmoid cross-entropy", "bce", r#"{ method = "binary-cross-entropy", prior = 0.02 }"#),
    ("EQL", "eql", r#"{ method = "eql", tail = "lvis-rare-and-common", prior = 0.02 }"#),
    ("Balanced Sigmoid", "balanced-sigmoid", r#"{ method = "balanced-sigmoid" }"#),
];

/// Validation images that are drawn with what each detector finds.
const NUM_DRAWN: usize = 12;

/// Detections with a lower score are not drawn.
const MIN_SCORE: f32 = 0.2;

/// How much larger than the images the drawings are.
const ENLARGEMENT: usize = 4;

pub(super) fn run(demo: &Options) -> anyhow::Result<ExitCode> {
    let device = longtail::device(&demo.device)?;
    let out = demo.out();
    let stop = stop_on_interrupt()?;
    let mut reports: Vec<DetectionReport> = Vec::new();
    for (title, folder, loss) in LOSSES {
        let mut overrides = vec![format!("loss={loss}"), format!("name={title}")];
        overrides.extend_from_slice(&demo.set);
        let recipe = DetectionRecipe::parse("the demo's recipe", RECIPE, &overrides)?;
        if reports.is_empty() {
            describe(&recipe)?;
        }
        println!("training a detector with {title} ..");
        let mut options = TrainOptions::new(out.join(folder));
        options.stop = stop.clone();
        options.progress = demo.progress();
        match train_detector(&recipe, &device, &options)? {
            Outcome::Finished(result) => reports.push(result.boxes),
            Outcome::Interrupted { step } => {
                println!("stopped after step {step}");
                return Ok(ExitCode::from(INTERRUPTED_EXIT_CODE));
            }
        }
    }
    let comparison = DetectionComparison::new(&reports)?;
    comparison.write(&out, "The same detector, three losses")?;
    draw(&out, &device)?;
    println!("\nAverage precision of boxes, in percent:\n\n{}", comparison.table());
    println!("\nPlots, reports and drawn detections: {}", out.display());
    Ok(ExitCode::SUCCESS)
}

fn describe(recipe: &DetectionRecipe) -> anyhow::Result<()> {
    let train = recipe.dataset.load()?.train;
    let counts = train.class_counts()?;
    let groups = [FrequencyGroup::Frequent, FrequencyGroup::Common, FrequencyGroup::Rare];
    let sizes = groups.map(|group| {
        let members = counts.image_counts().iter();
        members.filter(|&&count| FrequencyGroup::of(count) == group).count()
    });
    println!(
        "The embedded training set: {} images, {} objects of {} classes, {} of them frequent \
         (more than 100 images), {} common, {} rare (at most 10).\n",
        train.num_images(),
        counts.num_instances(),
        counts.num_classes(),
        sizes[0],
        sizes[1],
        sizes[2],
    );
    Ok(())
}

/// Draws some validation images: what is there, then what each detector finds.
fn draw(out: &Path, device: &Device) -> anyhow::Result<()> {
    let detectors: Vec<TrainedDetector> = LOSSES
        .iter()
        .map(|(_, folder, _)| TrainedDetector::load(&out.join(folder), &[""; 0], device))
        .collect::<Result<_, _>>()?;
    let Some(first) = detectors.first() else { return Ok(()) };
    let (recipe, classes) = (first.recipe(), first.classes());
    let val = recipe.dataset.load_val(classes)?;
    let folder = out.join("detections");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    for index in 0..NUM_DRAWN.min(val.num_images()) {
        let image = val.load(index)?;
        let mut panels = vec![panel(&image, &truth(&val, index), classes)];
        for detector in &detectors {
            let mut found = detector.predictor().detect_image(&image)?;
            found.retain(|detection| detection.score >= MIN_SCORE);
            panels.push(panel(&image, &found, classes));
        }
        write_png(&folder.join(format!("{index:02}.png")), &side_by_side(&panels))?;
    }
    Ok(())
}

fn panel(
    image: &longtail::data::RgbImage,
    detections: &[Detection],
    classes: &ClassMap,
) -> longtail::data::RgbImage {
    let (image, detections) = enlarge(image, detections, ENLARGEMENT);
    draw_detections(&image, &detections, classes)
}

/// The annotated objects as if they were detected for sure.
fn truth(set: &DetectionDataset, index: usize) -> Vec<Detection> {
    let objects = set.box_instances(index).into_iter();
    let sure = |object: longtail::types::Instance| Detection {
        label: object.label,
        score: 1.0,
        bbox: object.bbox,
        mask: object.mask,
    };
    objects.map(sure).collect()
}
