//! What the detections are held against.

use std::collections::HashSet;
use std::sync::Arc;

use hotcoco::{Annotation, COCO, Dataset};
use longtail_types::{ClassCounts, ClassMap, FrequencyGroup};

use super::{federated, settings::Benchmark};
use crate::EvalError;

/// Annotated images, as one benchmark reads them.
///
/// From a file with [`GroundTruth::read`], from memory with [`GroundTruth::builder`].
#[derive(Clone)]
pub struct GroundTruth {
    pub(crate) coco: Arc<COCO>,
    pub(crate) classes: ClassMap,
    pub(crate) benchmark: Benchmark,
    /// `image_count` of each class in the file, where every class has one.
    pub(crate) image_counts: Option<Vec<u64>>,
}

impl std::fmt::Debug for GroundTruth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers = [self.num_images(), self.num_objects(), self.classes.len()];
        write!(f, "GroundTruth({}, [images, objects, classes] {numbers:?})", self.benchmark)
    }
}

impl GroundTruth {
    /// `dataset` must be sound: known and unique ids.
    pub(crate) fn new(
        mut dataset: Dataset,
        classes: ClassMap,
        benchmark: Benchmark,
        image_counts: Option<Vec<u64>>,
    ) -> Self {
        if benchmark == Benchmark::Lvis {
            let objects = std::mem::take(&mut dataset.annotations);
            dataset.annotations = objects.into_iter().filter_map(federated::read_object).collect();
        }
        let coco = Arc::new(COCO::from_dataset(dataset));
        Self { coco, classes, benchmark, image_counts }
    }

    /// The classes; detections name them by their place here.
    pub fn classes(&self) -> &ClassMap {
        &self.classes
    }

    /// The rules by which it is read.
    pub fn benchmark(&self) -> Benchmark {
        self.benchmark
    }

    /// Number of images.
    pub fn num_images(&self) -> usize {
        self.coco.dataset.images.len()
    }

    /// Number of objects, crowd regions included.
    pub fn num_objects(&self) -> usize {
        self.coco.dataset.annotations.len()
    }

    /// Ids of the images, in the order they were given.
    pub fn image_ids(&self) -> impl ExactSizeIterator<Item = u64> {
        self.coco.dataset.images.iter().map(|image| image.id)
    }

    /// The same annotations under the labels of a model: `classes` holds the same ids, perhaps in
    /// another order or with other names.
    ///
    /// # Errors
    /// If an id is only in one of the two.
    pub fn with_classes(mut self, classes: ClassMap) -> Result<Self, EvalError> {
        let (model, truth) = ("a class of the model", "in the ground truth");
        check_contained(&self.classes, &classes, truth, "a class of the model")?;
        check_contained(&classes, &self.classes, model, truth)?;
        if let Some(counts) = self.image_counts.take() {
            let place = |label| self.classes.label_of(classes.id(label)?);
            let counts = (0..classes.len()).map(|label| counts.get(place(label)?).copied());
            self.image_counts = counts.collect();
        }
        // The annotations' own flags stay where the model knows none.
        let merged = (0..classes.len()).filter_map(|label| {
            let (id, name) = (classes.id(label)?, classes.name(label)?);
            let own = self.classes.label_of(id).and_then(|label| self.classes.frequency(label));
            Some((id, name.to_string(), own.or(classes.frequency(label))))
        });
        self.classes = ClassMap::from_ids(merged)?;
        Ok(self)
    }

    /// Only these images.
    ///
    /// # Errors
    /// If there is no image of an id.
    pub fn subset(&self, image_ids: &[u64]) -> Result<Self, EvalError> {
        if let Some(&image_id) = image_ids.iter().find(|&&id| self.coco.get_img(id).is_none()) {
            return Err(EvalError::UnknownImage { image_id });
        }
        let kept: HashSet<u64> = image_ids.iter().copied().collect();
        let Dataset { images, annotations, categories, .. } = &self.coco.dataset;
        let dataset = Dataset {
            images: images.iter().filter(|image| kept.contains(&image.id)).cloned().collect(),
            annotations: annotations
                .iter()
                .filter(|object| kept.contains(&object.image_id))
                .cloned()
                .collect(),
            categories: categories.clone(),
            ..Default::default()
        };
        Ok(Self { coco: Arc::new(COCO::from_dataset(dataset)), ..self.clone() })
    }

    /// Objects of an image.
    pub(crate) fn objects(&self, image_id: u64) -> Vec<Annotation> {
        let ids = self.coco.get_ann_ids_for_img(image_id);
        ids.iter().filter_map(|&id| self.coco.get_ann(id).cloned()).collect()
    }

    /// Group of each class: the flag of the annotations, else by its training images.
    pub(crate) fn groups(&self, counts: Option<&ClassCounts>) -> Option<Vec<FrequencyGroup>> {
        let flags = (0..self.classes.len()).map(|label| self.classes.frequency(label));
        let flags: Option<Vec<_>> = flags.collect();
        flags.or_else(|| {
            let counts = counts?.image_counts().iter();
            Some(counts.map(|&count| FrequencyGroup::of(count)).collect())
        })
    }
}

fn check_contained(
    classes: &ClassMap,
    others: &ClassMap,
    where_is: &'static str,
    where_not: &'static str,
) -> Result<(), EvalError> {
    let ids: HashSet<u64> = (0..others.len()).filter_map(|label| others.id(label)).collect();
    let missing =
        (0..classes.len()).find(|&label| classes.id(label).is_some_and(|id| !ids.contains(&id)));
    match missing {
        Some(label) => Err(EvalError::ClassNotShared {
            id: classes.id(label).unwrap_or_default(),
            name: classes.name(label).unwrap_or_default().to_string(),
            where_is,
            where_not,
        }),
        None => Ok(()),
    }
}
