//! Writing sets of any form as COCO or LVIS JSON.

use std::io::{self, Write};
use std::path::Path;

use longtail_types::{ClassCounts, FrequencyGroup, write_whole};
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::detection::segments::decimal;
use crate::detection::{Annotation, DetectionDataset};

/// Which fields [`DetectionDataset::write_coco`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnnotationForm {
    /// COCO's: `iscrowd` with every annotation; an ignored one becomes a crowd with `ignore`
    /// beside, since pycocotools knows no other way not to count an object.
    #[default]
    Coco,
    /// LVIS v1's, with `file_name`: `neg_category_ids` and `not_exhaustive_category_ids` with every
    /// image; `frequency`, `image_count` and `instance_count` with every category. Crowds and
    /// ignored objects get `ignore`.
    ///
    /// Of a set that is not federated, all classes without an annotation in an image are negative,
    /// and those of a crowd are not exhaustive.
    Lvis,
}

#[derive(Serialize)]
struct ImageRow<'a> {
    id: u64,
    file_name: &'a str,
    height: usize,
    width: usize,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    lists: Option<ImageLists>,
}

#[derive(Serialize)]
struct ImageLists {
    neg_category_ids: Vec<u64>,
    not_exhaustive_category_ids: Vec<u64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Segmentation<'a> {
    Polygons(Vec<Vec<f64>>),
    Runs { size: [usize; 2], counts: &'a str },
}

#[derive(Serialize)]
struct AnnotationRow<'a> {
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Segmentation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iscrowd: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore: Option<u8>,
}

#[derive(Serialize)]
struct CategoryRow<'a> {
    id: u64,
    name: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    counts: Option<CategoryCounts>,
}

#[derive(Serialize)]
struct CategoryCounts {
    frequency: FrequencyGroup,
    image_count: u64,
    instance_count: u64,
}

impl DetectionDataset {
    /// Writes the annotations as JSON; images are not written. Coordinates and ids are those of
    /// the files that were read. An image in memory gets the name of its id with 12 digits, as
    /// `000000000007.png`. `frequency` is the set's own where it has one, else that of its
    /// [counts](Self::class_counts).
    ///
    /// The file appears whole or not at all; memory does not grow with the set.
    ///
    /// # Errors
    /// If an image stands twice in the set (see [`subset`](Self::subset)), or if the disk refuses.
    pub fn write_coco(&self, path: &Path, form: AnnotationForm) -> Result<(), DataError> {
        let mut ids: Vec<u64> = (0..self.num_images()).map(|i| self.image(i).id).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(DataError::setting("image ids to write", "different", twice[0]));
        }
        let counts = match form {
            AnnotationForm::Lvis if self.num_classes() > 0 => Some(self.class_counts()?),
            AnnotationForm::Lvis | AnnotationForm::Coco => None,
        };
        let write = |file: &mut dyn Write| {
            file.write_all(b"{\"info\":{},\"licenses\":[],\n\"images\":[")?;
            write_rows(file, 0..self.num_images(), |file, image| {
                self.write_image(file, image, form)
            })?;
            file.write_all(b"],\n\"annotations\":[")?;
            let all = (0..self.num_images())
                .flat_map(|image| self.annotations(image).iter().map(move |row| (image, row)));
            write_rows(file, all, |file, (image, row)| {
                serde_json::to_writer(file, &self.annotation_row(image, row, form))
                    .map_err(io::Error::from)
            })?;
            file.write_all(b"],\n\"categories\":[")?;
            write_rows(file, 0..self.num_classes(), |file, label| {
                let row = self.category_row(label, counts.as_ref());
                serde_json::to_writer(file, &row).map_err(io::Error::from)
            })?;
            file.write_all(b"]}\n")
        };
        write_whole(path, write).map_err(DataError::io(path))
    }

    fn write_image(
        &self,
        file: &mut dyn Write,
        image: usize,
        form: AnnotationForm,
    ) -> io::Result<()> {
        let [height, width] = self.image_size(image);
        let id = self.image(image).id;
        let name = self.file_name(image);
        let lists = (form == AnnotationForm::Lvis).then(|| self.lists(image));
        let file_name = name.map_or_else(|| format!("{id:012}.png"), str::to_owned);
        let row = ImageRow { id, file_name: &file_name, height, width, lists };
        serde_json::to_writer(file, &row).map_err(io::Error::from)
    }

    fn lists(&self, image: usize) -> ImageLists {
        let ids = |labels: &[u32]| labels.iter().map(|&label| self.category_id(label)).collect();
        if self.is_federated() {
            return ImageLists {
                neg_category_ids: ids(self.negative_labels(image)),
                not_exhaustive_category_ids: ids(self.not_exhaustive_labels(image)),
            };
        }
        let mut is_present = vec![false; self.num_classes()];
        let mut crowds = Vec::new();
        for annotation in self.annotations(image) {
            is_present[annotation.label as usize] = true;
            if annotation.is_crowd && !crowds.contains(&annotation.label) {
                crowds.push(annotation.label);
            }
        }
        let absent = (0..).zip(is_present).filter(|(_, is_present)| !is_present);
        let absent: Vec<u32> = absent.map(|(label, _)| label).collect();
        ImageLists { neg_category_ids: ids(&absent), not_exhaustive_category_ids: ids(&crowds) }
    }

    fn annotation_row<'a>(
        &'a self,
        image: usize,
        annotation: &'a Annotation,
        form: AnnotationForm,
    ) -> AnnotationRow<'a> {
        let Annotation { id, area, is_crowd, is_ignored, .. } = *annotation;
        let [x1, y1, x2, y2] = annotation.bbox.to_array();
        let runs =
            self.run_lengths(annotation).map(|(counts, size)| Segmentation::Runs { size, counts });
        let polygons = || Segmentation::Polygons(self.polygons(annotation));
        let outline = || runs.unwrap_or_else(polygons);
        let flag = |is_set: bool| is_set.then_some(1);
        let (iscrowd, ignore) = match form {
            AnnotationForm::Coco => (Some(u8::from(is_crowd || is_ignored)), flag(is_ignored)),
            AnnotationForm::Lvis => (None, flag(is_crowd || is_ignored)),
        };
        AnnotationRow {
            id,
            image_id: self.image(image).id,
            category_id: self.category_id(annotation.label),
            bbox: [decimal(x1), decimal(y1), extent(x1, x2), extent(y1, y2)],
            area,
            segmentation: annotation.has_mask().then(outline),
            iscrowd,
            ignore,
        }
    }

    fn category_row(&self, label: usize, counts: Option<&ClassCounts>) -> CategoryRow<'_> {
        let map = self.class_map();
        let counts = counts.map(|counts| {
            let image_count = counts.image_counts()[label];
            CategoryCounts {
                frequency: map.frequency(label).unwrap_or(FrequencyGroup::of(image_count)),
                image_count,
                instance_count: counts.instance_counts()[label],
            }
        });
        let name = map.name(label).unwrap_or_default();
        CategoryRow { id: self.category_id(label as u32), name, counts }
    }

    fn category_id(&self, label: u32) -> u64 {
        self.class_map().id(label as usize).unwrap_or_default()
    }
}

/// Writes rows with commas between them, one a line.
fn write_rows<T>(
    file: &mut dyn Write,
    rows: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut dyn Write, T) -> io::Result<()>,
) -> io::Result<()> {
    for (place, row) in rows.enumerate() {
        file.write_all(if place == 0 { b"\n" } else { b",\n" })?;
        write(file, row)?;
    }
    Ok(())
}

/// `to - from` in the fewest decimals from which reading makes `to` again.
fn extent(from: f32, to: f32) -> f64 {
    let exact = f64::from(to) - decimal(from);
    let short = (exact * 1e4).round() / 1e4;
    if (decimal(from) + short) as f32 == to { short } else { exact }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_have_few_decimals_and_turn_back() {
        assert_eq!(extent(0.1, 0.4), 0.3);
        assert_eq!(extent(199.84, 199.84 + 277.71), 277.71);
        for i in 0..1000 {
            let (from, to) = (i as f32 / 7.0, i as f32 / 7.0 + i as f32 / 3.0);
            assert_eq!((decimal(from) + extent(from, to)) as f32, to);
        }
    }
}
