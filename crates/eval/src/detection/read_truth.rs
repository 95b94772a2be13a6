//! Ground truth from files in the JSON of COCO and LVIS.

use std::collections::{HashMap, HashSet, hash_map::Entry};
use std::path::Path;

use hotcoco::{Annotation, COCO, Category, Dataset, Image};
use longtail_types::{ClassMap, FrequencyGroup};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    ground_truth::GroundTruth,
    locate::{self, bad_entry},
    settings::Benchmark,
    truth_builder::pixels,
};
use crate::EvalError;

impl GroundTruth {
    /// Reads annotations in the JSON of COCO or LVIS; the classes keep the order of the file.
    ///
    /// Where an object has no `area`, that of its mask counts, else that of its box (the references
    /// refuse such files). An annotation with id 0 is an object like any other (the references
    /// never find it).
    ///
    /// # Errors
    /// If the file cannot be read, is cut off or no JSON of this form; if an id is missing, stands
    /// twice or is unknown; if an image has no size; without images or classes; for LVIS also if
    /// an image lacks `neg_category_ids` or `not_exhaustive_category_ids` or only some classes have
    /// `frequency`. The error names the file, the entry and the value.
    pub fn read(path: &Path, benchmark: Benchmark) -> Result<Self, EvalError> {
        let mut coco = COCO::new(path).map_err(|error| explain(path, error))?;
        let check = Check { path, dataset: &coco.dataset };
        let classes = check.classes(benchmark)?;
        check.images()?;
        check.annotations()?;
        if benchmark == Benchmark::Lvis {
            check.federated_lists()?;
        }
        let image_counts = coco.dataset.categories.iter();
        let image_counts = image_counts.map(|class| class.extra.get("image_count")?.as_u64());
        let image_counts = image_counts.collect();
        let dataset = std::mem::take(&mut coco.dataset);
        Ok(Self::new(dataset, classes, benchmark, image_counts))
    }
}

/// What is wrong with a file that hotcoco could not read.
fn explain(path: &Path, error: hotcoco::Error) -> EvalError {
    let file = path.to_path_buf();
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(source) => return EvalError::Io { path: file, source },
    };
    if !text.trim_ascii_start().starts_with(b"{") {
        let message = format!(
            "annotations are an object with images, annotations and categories, this is {}: {}",
            locate::kind(&text),
            locate::shorten(&text)
        );
        return EvalError::BadFile { path: file, message };
    }
    let list = |name| locate::field(&text, name).unwrap_or_default();
    let found = [
        ("categories", bad_entry::<Category>(list("categories"))),
        ("images", bad_entry::<Image>(list("images"))),
        ("annotations", bad_entry::<Annotation>(list("annotations"))),
    ];
    for (list, found) in found {
        if let Some((index, message)) = found {
            return EvalError::BadEntry { path: file, list, index, message };
        }
    }
    EvalError::BadFile { path: file, message: error.to_string() }
}

struct Check<'a> {
    path: &'a Path,
    dataset: &'a Dataset,
}

impl Check<'_> {
    fn bad(&self, list: &'static str, index: usize, message: String) -> EvalError {
        EvalError::BadEntry { path: self.path.to_path_buf(), list, index, message }
    }

    fn bad_file(&self, message: impl Into<String>) -> EvalError {
        EvalError::BadFile { path: self.path.to_path_buf(), message: message.into() }
    }

    /// Errors if an id stands twice.
    fn unique(&self, list: &'static str, ids: impl Iterator<Item = u64>) -> Result<(), EvalError> {
        let mut seen = HashMap::new();
        for (index, id) in ids.enumerate() {
            match seen.entry(id) {
                Entry::Vacant(place) => _ = place.insert(index),
                Entry::Occupied(first) => {
                    let first = first.get();
                    let message = format!(
                        "id {id} is that of {list}[{first}] (an id that is left out counts as 0)"
                    );
                    return Err(self.bad(list, index, message));
                }
            }
        }
        Ok(())
    }

    fn classes(&self, benchmark: Benchmark) -> Result<ClassMap, EvalError> {
        let classes = &self.dataset.categories;
        if classes.is_empty() {
            return Err(self.bad_file("the list `categories` is missing or empty"));
        }
        self.unique("categories", classes.iter().map(|class| class.id))?;
        let mut map = Vec::with_capacity(classes.len());
        for (index, class) in classes.iter().enumerate() {
            let frequency = match class.frequency.as_deref() {
                Some("r") => Some(FrequencyGroup::Rare),
                Some("c") => Some(FrequencyGroup::Common),
                Some("f") => Some(FrequencyGroup::Frequent),
                Some(other) => {
                    let message =
                        format!("`frequency` is {other:?}, expected \"r\", \"c\" or \"f\"");
                    return Err(self.bad("categories", index, message));
                }
                None => None,
            };
            map.push((class.id, class.name.clone(), frequency));
        }
        let without = map.iter().position(|(_, _, frequency)| frequency.is_none());
        let has_some = map.iter().any(|(_, _, frequency)| frequency.is_some());
        if let (Benchmark::Lvis, true, Some(index)) = (benchmark, has_some, without) {
            let message = "`frequency` is missing, which other classes have".to_string();
            return Err(self.bad("categories", index, message));
        }
        ClassMap::from_ids(map).map_err(|error| self.bad_file(error.to_string()))
    }

    fn images(&self) -> Result<(), EvalError> {
        let images = &self.dataset.images;
        if images.is_empty() {
            return Err(self.bad_file("the list `images` is missing or empty"));
        }
        self.unique("images", images.iter().map(|image| image.id))?;
        for (index, image) in images.iter().enumerate() {
            pixels([image.height as usize, image.width as usize]).map_err(|message| {
                self.bad("images", index, format!("id {}: {message}", image.id))
            })?;
        }
        Ok(())
    }

    fn annotations(&self) -> Result<(), EvalError> {
        let objects = &self.dataset.annotations;
        self.unique("annotations", objects.iter().map(|object| object.id))?;
        let images: HashSet<u64> = self.dataset.images.iter().map(|image| image.id).collect();
        let classes: HashSet<u64> = self.dataset.categories.iter().map(|class| class.id).collect();
        for (index, object) in objects.iter().enumerate() {
            let Annotation { id, image_id, category_id, .. } = object;
            let unknown = match (images.contains(image_id), classes.contains(category_id)) {
                (true, true) => continue,
                (false, _) => format!("id {id}: `image_id` {image_id} is not in `images`"),
                (true, false) => {
                    format!("id {id}: `category_id` {category_id} is not in `categories`")
                }
            };
            return Err(self.bad("annotations", index, unknown));
        }
        Ok(())
    }

    /// hotcoco reads a list that is missing as empty: where one is empty, the file is asked again.
    fn federated_lists(&self) -> Result<(), EvalError> {
        #[derive(Deserialize)]
        struct Lists {
            images: Vec<Fields>,
        }
        #[derive(Deserialize)]
        struct Fields {
            neg_category_ids: Option<IgnoredAny>,
            not_exhaustive_category_ids: Option<IgnoredAny>,
        }
        let images = &self.dataset.images;
        let is_sure = |image: &Image| {
            !image.neg_category_ids.is_empty() && !image.not_exhaustive_category_ids.is_empty()
        };
        if images.iter().all(is_sure) {
            return Ok(());
        }
        let io = |source| EvalError::Io { path: self.path.to_path_buf(), source };
        let text = std::fs::read(self.path).map_err(io)?;
        let lists: Lists =
            serde_json::from_slice(&text).map_err(|error| self.bad_file(error.to_string()))?;
        for (index, fields) in lists.images.iter().enumerate() {
            let missing = match fields {
                Fields { neg_category_ids: None, .. } => "neg_category_ids",
                Fields { not_exhaustive_category_ids: None, .. } => "not_exhaustive_category_ids",
                _ => continue,
            };
            let id = images.get(index).map(|image| image.id).unwrap_or_default();
            let message = format!(
                "id {id}: `{missing}` is missing; LVIS needs it, and the COCO benchmark does not"
            );
            return Err(self.bad("images", index, message));
        }
        Ok(())
    }
}
