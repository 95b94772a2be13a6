//! From a folder in the form of Pascal VOC to a data set.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use longtail_types::ClassMap;

use super::xml::{VocImage, parse};
use crate::DataError;
use crate::decode::image_file_size;
use crate::detection::builder::image_size;
use crate::detection::files::{files_in, read_lines};
use crate::detection::raw::{Form, RawAnnotation, RawCategory, RawImage, RawSet};
use crate::detection::segments::Segment;
use crate::detection::synthetic::parallel::in_parallel;
use crate::detection::{DetectionDataset, ProblemKind, ReadOptions};

/// Endings of image files that are tried where an XML file names none that is there.
const ENDINGS: [&str; 6] = ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG"];

impl DetectionDataset {
    /// Reads a folder in the form of Pascal VOC: `Annotations/*.xml`, `JPEGImages` and, for a
    /// `split`, `ImageSets/Main/SPLIT.txt`; without a split all XML files. XML files and images may
    /// also lie in `folder` itself.
    ///
    /// Borders count pixels from 1, both included: a box is `[xmin - 1, ymin - 1, xmax, ymax]`. An
    /// object marked `difficult` is [ignored](crate::Annotation::is_ignored): no target, and not
    /// counted. `part`s are read over. Without `classes`, classes are the names in all XML files of
    /// the folder, whatever the split, in alphabetical order.
    ///
    /// # Errors
    /// If there is no XML file or no such split; in strict mode with the first error of
    /// [`problems`](Self::problems).
    pub fn read_voc(
        folder: &Path,
        split: Option<&str>,
        classes: Option<&ClassMap>,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        let annotations = first_folder(folder, &["Annotations"]);
        let files = files_in(&annotations, &["xml"])?;
        if files.is_empty() {
            let expected = "Annotations/IMAGE.xml";
            return Err(DataError::NoAnnotationFiles { path: folder.to_path_buf(), expected });
        }
        let images = options.images.clone();
        let images = images.unwrap_or_else(|| first_folder(folder, &["JPEGImages", "images"]));
        let parsed = in_parallel(0..files.len(), |file| {
            let text = fs::read(&files[file]).map_err(|error| error.to_string())?;
            parse(&String::from_utf8_lossy(&text))
        });
        let mut raw = RawSet::new(Form::Xml, folder.to_path_buf());
        let names: Vec<String> = match classes {
            Some(classes) => classes.names().map(str::to_owned).collect(),
            None => {
                let objects = parsed.iter().flatten().flat_map(|image| &image.objects);
                let names: BTreeSet<_> = objects.filter_map(|object| object.name.clone()).collect();
                names.into_iter().collect()
            }
        };
        for (place, name) in names.iter().enumerate() {
            let id = classes.and_then(|classes| classes.id(place)).unwrap_or(place as u64);
            let frequency = classes.and_then(|classes| classes.frequency(place));
            raw.categories.push(RawCategory { place, id, name: name.clone(), frequency });
        }
        let stem = |file: &PathBuf| file.file_stem().map(|s| s.to_string_lossy().into_owned());
        let by_stem: HashMap<_, _> =
            files.iter().enumerate().map(|(place, file)| (stem(file), place)).collect();
        let chosen = match split {
            None => (0..files.len()).collect(),
            Some(split) => {
                let list = folder.join("ImageSets/Main").join(format!("{split}.txt"));
                let mut chosen = Vec::new();
                for (line, text) in read_lines(&list)? {
                    let Some(name) = text.split_whitespace().next() else { continue };
                    match by_stem.get(&Some(name.to_owned())) {
                        Some(&place) => chosen.push(place),
                        None => {
                            let place = format!("{}, line {line}", list.display());
                            let message = format!("no annotations of {name:?}");
                            raw.problems.push(ProblemKind::AnnotationFile, place, message);
                        }
                    }
                }
                chosen
            }
        };
        let ids = raw.categories.iter().map(|category| (category.name.clone(), category.id));
        let ids: HashMap<_, _> = ids.collect();
        for place in chosen {
            match &parsed[place] {
                Ok(image) => raw.add_voc_image(image, place, &files[place], &images, &ids),
                Err(message) => {
                    let file = files[place].display().to_string();
                    raw.problems.push(ProblemKind::AnnotationFile, file, message.clone());
                }
            }
        }
        raw.assemble(&ReadOptions { images: Some(images), ..options.clone() })
    }
}

/// The first folder of that name, else the folder itself.
fn first_folder(folder: &Path, names: &[&str]) -> PathBuf {
    let folders = names.iter().map(|name| folder.join(name));
    folders.into_iter().find(|path| path.is_dir()).unwrap_or_else(|| folder.to_path_buf())
}

impl RawSet {
    fn add_voc_image(
        &mut self,
        image: &VocImage,
        place: usize,
        file: &Path,
        images: &Path,
        ids: &HashMap<String, u64>,
    ) {
        let (id, source) = (place as u64 + 1, file.display().to_string());
        let name = image_name(image, file, images);
        let known = image.height.zip(image.width).and_then(|(h, w)| image_size(h, w));
        let from_file = || image_file_size(&images.join(&name)).ok();
        let size = known.or_else(|| from_file().and_then(|[h, w]| image_size(h as u64, w as u64)));
        let Some(size) = size else {
            let message = "size is missing, and there is no image to take it from".to_owned();
            self.problems.push(ProblemKind::ImageField, source, message);
            return;
        };
        for (number, object) in (1..).zip(&image.objects) {
            let object_place = || format!("{source}, object {number}");
            let mut refuse = |kind, message| self.problems.push(kind, object_place(), message);
            let category = match object.name.as_ref().map(|name| (name, ids.get(name))) {
                None => {
                    refuse(ProblemKind::AnnotationField, "name is missing".to_owned());
                    continue;
                }
                Some((name, None)) => {
                    let message = format!("name {name:?} is not one of the classes");
                    refuse(ProblemKind::UnknownCategory, message);
                    continue;
                }
                Some((_, Some(&category))) => category,
            };
            let [xmin, ymin, xmax, ymax] = match object.borders() {
                Ok(borders) => borders,
                Err(message) => {
                    refuse(ProblemKind::AnnotationField, message);
                    continue;
                }
            };
            let bbox = [xmin - 1.0, ymin - 1.0, xmax, ymax];
            if bbox[2] < bbox[0] || bbox[3] < bbox[1] {
                let message = format!(
                    "bndbox has a negative size: xmin {xmin}, ymin {ymin}, xmax {xmax}, ymax {ymax}"
                );
                refuse(ProblemKind::NegativeBox, message);
                continue;
            }
            self.annotations.push(RawAnnotation {
                id: self.annotations.len() as u64 + 1,
                image: id,
                category,
                area: None,
                bbox: bbox.map(|border| border as f32),
                place: number,
                segment: Segment::None,
                is_crowd: false,
                is_ignored: object.is_difficult,
            });
        }
        self.images.push(RawImage {
            place,
            id,
            size,
            name,
            annotations: Some(source),
            has_negative: false,
            has_not_exhaustive: false,
        });
    }
}

/// The name that the XML file gives if there is such a file; else its own with an ending of images.
fn image_name(image: &VocImage, file: &Path, images: &Path) -> String {
    if !image.file_name.is_empty() && images.join(&image.file_name).is_file() {
        return image.file_name.clone();
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names = ENDINGS.iter().map(|ending| format!("{stem}.{ending}"));
    let found = names.into_iter().find(|name| images.join(name).is_file());
    found.unwrap_or_else(|| {
        let named = Some(&image.file_name).filter(|name| !name.is_empty());
        named.cloned().unwrap_or_else(|| format!("{stem}.jpg"))
    })
}
