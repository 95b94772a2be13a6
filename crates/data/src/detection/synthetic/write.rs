//! Writing the set as images and LVIS v1 JSON, piece by piece.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use longtail_types::{FrequencyGroup, Mask};

use super::look::Look;
use super::plan::{Plan, frequencies};
use super::polygons::mask_polygons;
use super::{Drawn, SyntheticDetectionConfig, in_parallel};
use crate::sources::{PartialFolder, write_png};
use crate::{DataError, Split};

/// Images drawn before their annotations are written.
const CHUNK: usize = 512;

/// What [`SyntheticDetectionConfig::write`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntheticContents {
    /// PNG images and annotations.
    ImagesAndAnnotations,
    /// The same annotations without the images: for load tests.
    AnnotationsOnly,
}

/// What was written, over both splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyntheticSummary {
    /// Images, drawn or not.
    pub images: usize,
    /// Annotated objects.
    pub annotations: usize,
    /// Polygons of all annotations.
    pub polygons: usize,
}

impl SyntheticDetectionConfig {
    /// Writes `root/annotations/lvis_train.json`, `root/annotations/lvis_val.json`, and the images
    /// as `root/images/train/000000000001.png` and `root/images/val/...`.
    ///
    /// The annotations are LVIS v1's, with `file_name`, read by `lvis-api` and
    /// [`DetectionDataset`](crate::DetectionDataset) alike: polygons along the borders of pixels,
    /// whose union is exactly the mask. The folder appears whole or not at all. Memory grows with
    /// the number of images alone, by some hundred bytes each.
    ///
    /// # Errors
    /// If a setting is outside its range, `root` exists already, or the disk refuses.
    pub fn write(
        &self,
        root: impl AsRef<Path>,
        contents: SyntheticContents,
    ) -> Result<SyntheticSummary, DataError> {
        self.validate()?;
        let partial = PartialFolder::of(root.as_ref())?;
        let mut summary = SyntheticSummary::default();
        for split in [Split::Train, Split::Test] {
            self.write_split(partial.path(), split, contents, &mut summary)?;
        }
        partial.finish()?;
        Ok(summary)
    }

    fn write_split(
        &self,
        root: &Path,
        split: Split,
        contents: SyntheticContents,
        summary: &mut SyntheticSummary,
    ) -> Result<(), DataError> {
        let name = match split {
            Split::Train => "train",
            Split::Test => "val",
        };
        let make_folder = |folder: &Path| fs::create_dir_all(folder).map_err(DataError::io(folder));
        let images = root.join("images").join(name);
        let with_images = contents == SyntheticContents::ImagesAndAnnotations;
        if with_images {
            make_folder(&images)?;
        }
        let path = root.join("annotations");
        make_folder(&path)?;
        let path = path.join(format!("lvis_{name}.json"));
        let file = File::create(&path).map_err(DataError::io(&path))?;
        let mut file = BufWriter::new(file);
        let mut put = |text: &str| file.write_all(text.as_bytes()).map_err(DataError::io(&path));

        let plan = Plan::new(self, split)?;
        let mut first_ids = Vec::with_capacity(plan.images.len());
        let mut next_id = 1;
        for objects in &plan.images {
            first_ids.push(next_id);
            next_id += objects.iter().filter(|object| object.is_annotated).count();
        }
        put(
            "{\"info\": {\"description\": \"Synthetic long-tailed detection set\"},\n\"annotations\": [",
        )?;
        let mut records = String::new();
        let mut counts = vec![[0; 2]; self.num_classes];
        let mut separator = "\n";
        for start in (0..plan.images.len()).step_by(CHUNK) {
            let end = (start + CHUNK).min(plan.images.len());
            let draw = |number: usize| -> Result<Piece, DataError> {
                let mut drawn = self.draw(split, number, &plan.images[number], with_images);
                let id = self.image_id(split, number);
                if let Some(image) = drawn.image.take() {
                    write_png(&images.join(format!("{id:012}.png")), &image)?;
                }
                Ok(Piece::new(self, id, first_ids[number], &drawn))
            };
            for piece in in_parallel(start..end, draw) {
                let piece = piece?;
                summary.images += 1;
                summary.annotations += piece.labels.len();
                summary.polygons += piece.polygons;
                let mut labels = piece.labels;
                labels.iter().for_each(|&label| counts[label][1] += 1);
                labels.sort_unstable();
                labels.dedup();
                labels.iter().for_each(|&label| counts[label][0] += 1);
                if !piece.annotations.is_empty() {
                    put(separator)?;
                    put(&piece.annotations)?;
                    separator = ",\n";
                }
                if !records.is_empty() {
                    records.push_str(",\n");
                }
                records.push_str(&piece.record);
            }
        }
        put("\n],\n\"images\": [\n")?;
        put(&records)?;
        put("\n],\n\"licenses\": [],\n\"categories\": [\n")?;
        put(&self.categories(&counts))?;
        put("\n]}\n")?;
        let file = file.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all()).map_err(DataError::io(&path))
    }

    fn categories(&self, counts: &[[usize; 2]]) -> String {
        let flags = frequencies(self);
        let category = |(label, [images, instances]): (usize, &[usize; 2])| {
            let (id, name) = (label + 1, Look::of(label).name());
            let flag = match flags[label] {
                FrequencyGroup::Rare => "r",
                FrequencyGroup::Common => "c",
                FrequencyGroup::Frequent => "f",
            };
            format!(
                "{{\"id\": {id}, \"name\": \"{name}\", \"frequency\": \"{flag}\", \
                 \"image_count\": {images}, \"instance_count\": {instances}, \
                 \"synset\": \"{}.n.01\", \"synonyms\": [\"{name}\"], \"def\": \"a {name}\"}}",
                name.replace(' ', "_")
            )
        };
        counts.iter().enumerate().map(category).collect::<Vec<_>>().join(",\n")
    }
}

/// The JSON of one image.
struct Piece {
    /// Its annotations, separated by commas.
    annotations: String,
    /// Its entry in `images`.
    record: String,
    /// Label of every annotation.
    labels: Vec<usize>,
    polygons: usize,
}

impl Piece {
    fn new(
        config: &SyntheticDetectionConfig,
        image_id: u64,
        first_id: usize,
        drawn: &Drawn,
    ) -> Self {
        let (mut annotations, mut polygons) = (String::new(), 0);
        for (id, instance) in (first_id..).zip(&drawn.instances) {
            let Some(mask) = &instance.mask else { continue };
            let [x, y, width, height] = instance.bbox.to_xywh();
            let separator = if annotations.is_empty() { "" } else { ",\n" };
            // Writing to a string does not fail.
            let _ = write!(
                annotations,
                "{separator}{{\"id\": {id}, \"image_id\": {image_id}, \"category_id\": {}, \
                 \"bbox\": [{x}, {y}, {width}, {height}], \"area\": {}, \"segmentation\": [",
                instance.label + 1,
                mask.area()
            );
            polygons += write_polygons(mask, &mut annotations);
            annotations.push_str("]}");
        }
        let ids = |labels: &[usize]| {
            let ids: Vec<String> = labels.iter().map(|label| (label + 1).to_string()).collect();
            ids.join(", ")
        };
        let record = format!(
            "{{\"id\": {image_id}, \"file_name\": \"{image_id:012}.png\", \"width\": {}, \
             \"height\": {}, \"neg_category_ids\": [{}], \"not_exhaustive_category_ids\": [{}]}}",
            config.width,
            config.height,
            ids(&drawn.negatives),
            ids(&drawn.not_exhaustive)
        );
        let labels = drawn.instances.iter().map(|instance| instance.label).collect();
        Self { annotations, record, labels, polygons }
    }
}

/// Appends `[x, y, ...], [x, y, ...]`; returns the number of polygons.
fn write_polygons(mask: &Mask, text: &mut String) -> usize {
    let polygons = mask_polygons(mask);
    for (i, polygon) in polygons.iter().enumerate() {
        text.push_str(if i == 0 { "[" } else { ", [" });
        for (j, [x, y]) in polygon.iter().enumerate() {
            let separator = if j == 0 { "" } else { ", " };
            let _ = write!(text, "{separator}{x}, {y}");
        }
        text.push(']');
    }
    polygons.len()
}
