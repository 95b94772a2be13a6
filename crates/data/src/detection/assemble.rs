//! From parsed annotations to a data set: ids are looked up, and all is checked against each other.

use std::collections::{HashMap, HashSet};

use longtail_types::{BBox, ClassMap};

use super::accepted::Accepted;
use super::raw::{Form, RawAnnotation, RawCategory, RawSet, entry};
use super::store::{Federated, Lists, Store};
use super::{Annotation, DetectionDataset, ProblemKind, Problems, ReadMode, ReadOptions};
use crate::DataError;

pub(super) type KindAndMessage = (ProblemKind, String);

impl RawSet {
    /// The data set; in strict mode an error if there is any.
    pub(super) fn assemble(mut self, options: &ReadOptions) -> Result<DetectionDataset, DataError> {
        self.segments.check_len()?;
        self.segments.shrink();
        let mut problems = std::mem::take(&mut self.problems);
        let (class_map, labels) =
            classes(self.form, std::mem::take(&mut self.categories), &mut problems)?;
        let accepted = Accepted::new(&self, options, &mut problems);
        let federated = self.federated(&accepted, &labels, &mut problems);
        let annotations = self.annotations(&accepted, &labels, &mut problems);
        for image in (0..accepted.images.len()).filter(|&image| annotations.of(image).is_empty()) {
            let place = self.form.image_place(&self.images[accepted.places[image]]);
            problems.push(ProblemKind::NoAnnotations, place, "no annotations".to_owned());
        }
        if let (ReadMode::Strict, Some(first)) = (options.mode, problems.first_error()) {
            let (problem, more) = (first.to_string(), problems.errors().count() - 1);
            return Err(DataError::Annotations { path: self.path, problem, more });
        }
        let (images, segments) = (accepted.images, self.segments);
        let store = Store { class_map, images, annotations, segments, federated, problems };
        Ok(DetectionDataset::new(store))
    }

    fn annotations(
        &mut self,
        accepted: &Accepted,
        labels: &HashMap<u64, u32>,
        problems: &mut Problems,
    ) -> Lists<Annotation> {
        let mut known = KnownIds::new(&self.annotations);
        let raw_annotations = std::mem::take(&mut self.annotations);
        let mut annotations = Vec::with_capacity(raw_annotations.len());
        for raw in raw_annotations {
            let image = accepted.by_id.get(&raw.image).copied();
            let mut push = |(kind, message)| {
                let image = image.map(|image| &self.images[accepted.places[image as usize]]);
                problems.push(kind, self.form.annotation_place(&raw, image), message);
            };
            match known.check(&raw).and_then(|()| self.annotation(&raw, accepted, labels)) {
                Ok((image, annotation, note)) => {
                    note.into_iter().for_each(push);
                    annotations.push((image, annotation));
                }
                Err(problem) => push(problem),
            }
        }
        Lists::group(accepted.images.len(), annotations)
    }

    /// An annotation with its image, and with a note if there is one to make; or why not.
    fn annotation(
        &self,
        raw: &RawAnnotation,
        accepted: &Accepted,
        labels: &HashMap<u64, u32>,
    ) -> Result<(u32, Annotation, Option<KindAndMessage>), KindAndMessage> {
        let image = accepted.image(raw.image)?;
        let [height, width] = accepted.images.sizes[image as usize];
        let label = *labels.get(&raw.category).ok_or_else(|| {
            let message = format!("category_id {} is not one of the categories", raw.category);
            (ProblemKind::UnknownCategory, message)
        })?;
        if let Some((_, size)) = self.segments.runs(raw.segment)
            && size != [height, width]
        {
            let message =
                format!("segmentation has size {size:?}, its image has [{height}, {width}]");
            return Err((ProblemKind::RunLengths, message));
        }
        let bbox = BBox::from(raw.bbox);
        let note = check_box(bbox, [height, width].map(|side| side as usize))?;
        let RawAnnotation { id, segment, is_crowd, is_ignored, .. } = *raw;
        let area = raw.area.unwrap_or(f64::from(bbox.area()));
        Ok((image, Annotation { id, area, bbox, label, segment, is_crowd, is_ignored }, note))
    }

    fn federated(
        &self,
        accepted: &Accepted,
        labels: &HashMap<u64, u32>,
        problems: &mut Problems,
    ) -> Option<Federated> {
        if !self.images.iter().any(|image| image.has_negative || image.has_not_exhaustive) {
            return None;
        }
        for image in accepted.places.iter().map(|&place| &self.images[place]) {
            let lists = [
                ("neg_category_ids", image.has_negative),
                ("not_exhaustive_category_ids", image.has_not_exhaustive),
            ];
            for (name, _) in lists.into_iter().filter(|(_, is_there)| !is_there) {
                let place = self.form.image_place(image);
                problems.push(ProblemKind::LvisField, place, format!("{name} is missing"));
            }
        }
        let mut group = |name: &str, ids: &[(u32, u64)]| {
            let mut list = Vec::with_capacity(ids.len());
            for &(place, id) in ids {
                let Some(image) = accepted.by_place[place as usize] else { continue };
                match labels.get(&id) {
                    Some(&label) => list.push((image, label)),
                    None => {
                        let place = self.form.image_place(&self.images[place as usize]);
                        let message = format!("{name} has {id}, which is not a category");
                        problems.push(ProblemKind::UnknownCategory, place, message);
                    }
                }
            }
            Lists::group(accepted.images.len(), list)
        };
        Some(Federated {
            negative: group("neg_category_ids", &self.negative),
            not_exhaustive: group("not_exhaustive_category_ids", &self.not_exhaustive),
        })
    }
}

/// A note about a box in an image of `[height, width]`, or why it cannot be used.
fn check_box(bbox: BBox, size: [usize; 2]) -> Result<Option<KindAndMessage>, KindAndMessage> {
    let written = || format!("{:?}", bbox.to_xywh());
    let [height, width] = size;
    if !bbox.to_array().iter().all(|border| border.is_finite()) {
        let message = format!("bbox {} reaches beyond all numbers of 32 bits", written());
        return Err((ProblemKind::AnnotationField, message));
    }
    if bbox.is_empty() {
        let message = format!("bbox {} has no area", written());
        return Ok(Some((ProblemKind::EmptyBox, message)));
    }
    let clipped = bbox.clip(size);
    let image = || format!("the {width}x{height} pixels of its image");
    if clipped.is_empty() {
        let message = format!("bbox {} lies outside of {}", written(), image());
        return Err((ProblemKind::BoxOutside, message));
    }
    let borders = bbox.to_array().into_iter().zip(clipped.to_array());
    let over = borders.map(|(border, clipped)| (border - clipped).abs()).fold(0.0, f32::max);
    if over <= 1.0 {
        return Ok(None);
    }
    let message = format!("bbox {} reaches {over} pixels over {}", written(), image());
    Ok(Some((ProblemKind::BoxOverBorder, message)))
}

/// The classes in the order of their ids, and the label of each id.
fn classes(
    form: Form,
    mut categories: Vec<RawCategory>,
    problems: &mut Problems,
) -> Result<(ClassMap, HashMap<u64, u32>), DataError> {
    let place = |category: &RawCategory| match form {
        Form::Json => entry("categories", category.place, Some(category.id)),
        Form::Xml | Form::Lines => format!("category {:?}", category.name),
    };
    if categories.is_empty() {
        problems.push(ProblemKind::NoCategories, "categories", "there are none".to_owned());
    }
    let mut first_places = HashMap::new();
    categories.retain(|category| {
        let first = *first_places.entry(category.id).or_insert(category.place);
        if first != category.place {
            let message = format!("its id is that of categories[{first}]");
            problems.push(ProblemKind::DuplicateCategory, place(category), message);
        }
        first == category.place
    });
    if categories.iter().any(|category| category.frequency.is_some()) {
        for category in categories.iter().filter(|category| category.frequency.is_none()) {
            let message = "frequency is missing".to_owned();
            problems.push(ProblemKind::LvisField, place(category), message);
        }
    }
    categories.sort_by_key(|category| category.id);
    let mut names = HashSet::new();
    for category in &mut categories {
        if !names.contains(&category.name) {
            names.insert(category.name.clone());
            continue;
        }
        let message = format!("its name {:?} stands twice", category.name);
        problems.push(ProblemKind::DuplicateCategoryName, place(category), message);
        // The longer name may be that of another category.
        while !names.insert(category.name.clone()) {
            category.name = format!("{} ({})", category.name, category.id);
        }
    }
    let labels = categories.iter().zip(0..).map(|(category, label)| (category.id, label)).collect();
    let classes = categories.into_iter();
    let classes = classes.map(|RawCategory { id, name, frequency, .. }| (id, name, frequency));
    Ok((ClassMap::from_ids(classes)?, labels))
}

/// The annotation ids so far; without a table where they ascend, as in most files.
enum KnownIds {
    Ascending,
    Any(HashSet<u64>),
}

impl KnownIds {
    fn new(annotations: &[RawAnnotation]) -> Self {
        let is_ascending = annotations.is_sorted_by(|a, b| a.id < b.id);
        if is_ascending { Self::Ascending } else { Self::Any(HashSet::new()) }
    }

    fn check(&mut self, annotation: &RawAnnotation) -> Result<(), KindAndMessage> {
        let is_new = match self {
            Self::Ascending => true,
            Self::Any(ids) => ids.insert(annotation.id),
        };
        if is_new {
            return Ok(());
        }
        let message = format!("its id {} stands twice", annotation.id);
        Err((ProblemKind::DuplicateAnnotation, message))
    }
}
