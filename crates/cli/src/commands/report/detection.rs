//! The errors of a detector, with the part of the image around them.

use std::collections::HashMap;

use longtail::data::{DataError, DetectionDataset, Mark};
use longtail::eval::{
    AnnotatedImage, AnnotatedObject, Benchmark, DetectionReport, ErrorCollector, FalseDetection,
    FalseKind, Gallery, MissedObject, Picture, RunExtras,
};
use longtail::training::DetectionRecipe;
use longtail::types::{BBox, Detection, FrequencyGroup, Instance};

use super::{Room, add, mistakes::failed};
use crate::page::{FALSE, OBJECT, in_parallel};

/// Collects the errors of a detector on a validation set.
pub(super) struct Errors {
    val: DetectionDataset,
    collector: ErrorCollector,
    /// Index of each image by its id.
    indices: HashMap<u64, usize>,
}

/// An error with what is said about it.
struct Shown {
    image: usize,
    /// What the picture shows the surroundings of.
    focus: BBox,
    boxes: Vec<(BBox, [u8; 3])>,
    caption: Vec<String>,
}

impl Errors {
    pub(super) fn new(val: &DetectionDataset, recipe: &DetectionRecipe, per_class: usize) -> Self {
        let federated = if val.is_federated() { Benchmark::Lvis } else { Benchmark::Coco };
        let benchmark = recipe.evaluation.protocol.unwrap_or(federated);
        let indices = (0..val.num_images()).map(|index| (val.image(index).id, index)).collect();
        let collector = ErrorCollector::new(benchmark, per_class);
        Self { val: val.clone(), collector, indices }
    }

    /// Takes what was found in an image.
    pub(super) fn add(&mut self, index: usize, found: &[Detection]) {
        let labels = |labels: &[u32]| labels.iter().map(|&label| label as usize).collect();
        let objects = self.val.annotations(index).iter().map(|annotation| {
            let (label, bbox) = (annotation.label as usize, annotation.bbox);
            AnnotatedObject {
                instance: Instance { label, bbox, mask: None },
                is_crowd: annotation.is_crowd || annotation.is_ignored,
                area: Some(annotation.area),
            }
        });
        let truth = AnnotatedImage {
            id: self.val.image(index).id,
            size: self.val.image_size(index),
            objects: objects.collect(),
            negative: labels(self.val.negative_labels(index)),
            not_exhaustive: labels(self.val.not_exhaustive_labels(index)),
        };
        self.collector.add_image(&truth, found);
    }

    /// A gallery for each kind of error; missed objects of rare classes first, then the others.
    pub(super) fn galleries(
        &self,
        report: &DetectionReport,
        mut room: Room,
        extras: &mut RunExtras,
    ) {
        let name = |label: usize| {
            report.classes.get(label).map_or("?", |class| class.name.as_str()).to_string()
        };
        let order: Vec<usize> = report.by_frequency().into_iter().rev().collect();
        let is_rare = |label: &usize| {
            report
                .classes
                .get(*label)
                .is_some_and(|class| class.group == Some(FrequencyGroup::Rare))
        };
        let (rare, others): (Vec<usize>, Vec<usize>) = order.into_iter().partition(is_rare);
        for (title, labels) in [
            ("Missed objects of rare classes", rare),
            ("Missed objects of other classes, from the rarest on", others),
        ] {
            let (total, missed) = self.collector.missed(&labels, room.pictures);
            let shown = missed.into_iter().filter_map(|missed| self.missed(missed, name));
            let text = format!(
                "no detection of their class overlaps them by 0.5; {total} objects of all classes \
                 are missed. Green: the object; red: the surest detection nearby"
            );
            let pictures = self.pictures(shown.collect(), &mut room, extras);
            add(extras, Gallery { title: title.into(), text, pictures });
        }
        for kind in FalseKind::ALL {
            let (total, errors) = self.collector.false_detections(kind, room.pictures);
            let shown = errors.into_iter().filter_map(|error| self.false_detection(error, name));
            let (title, meaning) = words(kind);
            let text = format!("{meaning}; {total} in all, the surest first");
            let pictures = self.pictures(shown.collect(), &mut room, extras);
            add(extras, Gallery { title: title.into(), text, pictures });
        }
        if room.budget.is_spent() {
            extras
                .notes
                .push("Some pictures of errors are left out: --max-mb gives them room.".into());
        }
    }

    fn missed(&self, missed: &MissedObject, name: impl Fn(usize) -> String) -> Option<Shown> {
        let mut boxes = vec![(missed.bbox, OBJECT)];
        let mut caption = vec![name(missed.label)];
        match missed.nearest {
            Some((label, score, bbox, overlap)) => {
                boxes.push((bbox, FALSE));
                caption.push(format!("{} {score:.2}, IoU {overlap:.2}", name(label)));
            }
            None => caption.push("nothing nearby".into()),
        }
        let image = *self.indices.get(&missed.image_id)?;
        Some(Shown { image, focus: missed.bbox, boxes, caption })
    }

    fn false_detection(
        &self,
        error: &FalseDetection,
        name: impl Fn(usize) -> String,
    ) -> Option<Shown> {
        let mut boxes = Vec::new();
        let mut caption = vec![format!("{} {:.2}", name(error.label), error.score)];
        if let Some((label, bbox)) = error.object {
            boxes.push((bbox, OBJECT));
            caption.push(format!("{}, IoU {:.2}", name(label), error.overlap));
        }
        boxes.push((error.bbox, FALSE));
        let image = *self.indices.get(&error.image_id)?;
        Some(Shown { image, focus: error.bbox, boxes, caption })
    }

    fn pictures(&self, shown: Vec<Shown>, room: &mut Room, extras: &mut RunExtras) -> Vec<Picture> {
        if room.budget.is_spent() {
            return Vec::new();
        }
        let side = room.side;
        let made = in_parallel(&shown, |shown| self.picture(shown, side));
        let mut pictures = Vec::new();
        for picture in made {
            match picture {
                Ok(picture) if room.budget.take(picture.num_bytes()) => pictures.push(picture),
                Ok(_) => {}
                Err(error) => failed(extras, error),
            }
        }
        pictures
    }

    fn picture(&self, shown: &Shown, side: usize) -> Result<Picture, DataError> {
        let image = self.val.load(shown.image)?;
        let marks = shown.boxes.iter().map(|&(bbox, color)| Mark { bbox, mask: None, color });
        let marks: Vec<Mark> = marks.collect();
        let thumbnail = image.object_thumbnail(shown.focus, &marks, side)?;
        let (jpeg, size) = (thumbnail.jpeg, thumbnail.size);
        let title = self.val.item_name(shown.image);
        Ok(Picture { jpeg, size, caption: shown.caption.clone(), title })
    }
}

/// Title of a kind, and what it means.
fn words(kind: FalseKind) -> (&'static str, &'static str) {
    match kind {
        FalseKind::Classification => (
            "Wrong class",
            "an object of another class is there, with an overlap of 0.5 or more. Green: the \
             object; red: the detection",
        ),
        FalseKind::Localization => {
            ("Wrong place", "an object of the class is near, with an overlap of 0.1 to 0.5")
        }
        FalseKind::Background => ("Background", "no annotated object is there"),
        FalseKind::Duplicate => ("Duplicates", "the object was found with a higher score"),
        FalseKind::ClassificationAndLocalization => (
            "Wrong class and place",
            "an object of another class is near, with an overlap of 0.1 to 0.5",
        ),
    }
}
