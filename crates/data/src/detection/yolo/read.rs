//! From a folder in the form of YOLO to a data set.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::label_file::parse_line;
use super::settings::{Settings, parse};
use crate::DataError;
use crate::decode::image_file_size;
use crate::detection::builder::image_size;
use crate::detection::files::{files_in, read_lines};
use crate::detection::raw::{Form, RawAnnotation, RawCategory, RawImage, RawSet};
use crate::detection::synthetic::parallel::in_parallel;
use crate::detection::{DetectionDataset, ProblemKind, ReadOptions};

const IMAGES: [&str; 3] = ["jpg", "jpeg", "png"];
const EXPECTED: &str = "data.yaml or classes.txt with names of classes, images/ and labels/";

impl DetectionDataset {
    /// Reads a set in the form of YOLO: images under `images/`, and for each `images/x.jpg` a file
    /// `labels/x.txt` with lines `class x y width height` (the centre, in fractions of the image) or
    /// `class x y x y x y ...` (a polygon). An image without such a file has no objects.
    ///
    /// `path` is a `data.yaml` or a folder with one (or `dataset.yaml`, or `classes.txt` with a name
    /// a line). A `split` is a key of the YAML file (a folder, several, or a text file of image
    /// paths) or else the folder `images/SPLIT`; without one, all images under `images/` are read.
    /// Sizes of images come from their files. The folder of images in the options is not used.
    ///
    /// # Errors
    /// If there are no names of classes or no such folder; in strict mode with the first error of
    /// [`problems`](Self::problems).
    pub fn read_yolo(
        path: &Path,
        split: Option<&str>,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        let (root, settings) = settings(path)?;
        let images = images(&root, &settings, split)?;
        let sizes = in_parallel(0..images.len(), |image| image_file_size(&images[image]));
        let mut raw = RawSet::new(Form::Lines, path.to_path_buf());
        for (place, (id, name)) in settings.names.into_iter().enumerate() {
            raw.categories.push(RawCategory { place, id, name, frequency: None });
        }
        for (id, (image, size)) in (1..).zip(images.iter().zip(sizes)) {
            let name = image.strip_prefix(&root).unwrap_or(image).to_string_lossy().into_owned();
            match size.map(|[height, width]| image_size(height as u64, width as u64)) {
                Ok(Some(size)) => raw.add_yolo_image(id, image, name, size)?,
                Ok(None) => {
                    let message = "it has no pixels".to_owned();
                    raw.problems.push(ProblemKind::ImageField, name, message);
                }
                Err(error) => {
                    let kind = match image.is_file() {
                        true => ProblemKind::UnreadableFile,
                        false => ProblemKind::MissingFile,
                    };
                    raw.problems.push(kind, name, error.to_string());
                }
            }
        }
        raw.assemble(&ReadOptions { images: Some(root), ..options.clone() })
    }
}

/// The folder of a set, and its settings.
fn settings(path: &Path) -> Result<(PathBuf, Settings), DataError> {
    if path.is_file() {
        let folder = path.parent().unwrap_or(Path::new("."));
        return from_yaml(folder, path);
    }
    if !path.is_dir() {
        return Err(DataError::MissingFolder { path: path.to_path_buf() });
    }
    let yaml = ["data.yaml", "dataset.yaml"].map(|name| path.join(name));
    if let Some(file) = yaml.into_iter().find(|file| file.is_file()) {
        return from_yaml(path, &file);
    }
    let list = path.join("classes.txt");
    if !list.is_file() {
        return Err(DataError::NoAnnotationFiles { path: path.to_path_buf(), expected: EXPECTED });
    }
    let names = read_lines(&list)?.into_iter().map(|(_, name)| name.trim().to_owned());
    let names = (0..).zip(names).collect();
    Ok((path.to_path_buf(), Settings { names, ..Settings::default() }))
}

fn from_yaml(folder: &Path, file: &Path) -> Result<(PathBuf, Settings), DataError> {
    let text = fs::read_to_string(file).map_err(DataError::io(file))?;
    let wrong = |message| DataError::YoloSettings { path: file.to_path_buf(), message };
    let settings = parse(&text).map_err(wrong)?;
    if settings.names.is_empty() {
        return Err(wrong("names is missing".to_owned()));
    }
    // `path` often names a folder of another machine.
    let root = settings.path.as_ref().map(|path| folder.join(path)).filter(|path| path.is_dir());
    Ok((root.unwrap_or_else(|| folder.to_path_buf()), settings))
}

/// Images of a split, sorted within each folder.
fn images(
    root: &Path,
    settings: &Settings,
    split: Option<&str>,
) -> Result<Vec<PathBuf>, DataError> {
    let in_set = |source: &String| {
        let path = root.join(source);
        // Some tools write paths from a folder inside of the set.
        let inside = || source.strip_prefix("../").map(|source| root.join(source));
        if path.exists() { path } else { inside().filter(|path| path.exists()).unwrap_or(path) }
    };
    let all = root.join("images");
    let sources: Vec<PathBuf> = match split {
        None if !all.is_dir() && !settings.splits.is_empty() => {
            settings.splits.values().flatten().map(in_set).collect()
        }
        None => vec![all],
        Some(split) => match settings.splits.get(split) {
            Some(sources) => sources.iter().map(in_set).collect(),
            None => vec![all.join(split)],
        },
    };
    let mut images = Vec::new();
    for source in sources {
        if source.is_file() {
            let folder = source.parent().unwrap_or(root);
            for (_, line) in read_lines(&source)? {
                images.push(folder.join(line.trim()));
            }
        } else if source.is_dir() {
            find_images(&source, &mut images)?;
        } else {
            return Err(DataError::MissingFolder { path: source });
        }
    }
    Ok(images)
}

fn find_images(folder: &Path, images: &mut Vec<PathBuf>) -> Result<(), DataError> {
    images.extend(files_in(folder, &IMAGES)?);
    let entries = fs::read_dir(folder).map_err(DataError::io(folder))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(DataError::io(folder))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    folders.iter().try_for_each(|folder| find_images(folder, images))
}

/// `labels/train/x.txt` of `images/train/x.jpg`: the last folder `images` becomes `labels`.
fn label_file(image: &Path) -> PathBuf {
    let parts: Vec<Component<'_>> = image.components().collect();
    let last = parts.iter().rposition(|part| part.as_os_str() == "images");
    let renamed = parts.iter().enumerate().map(|(place, part)| {
        if Some(place) == last { "labels".as_ref() } else { part.as_os_str() }
    });
    renamed.collect::<PathBuf>().with_extension("txt")
}

impl RawSet {
    fn add_yolo_image(
        &mut self,
        id: u64,
        image: &Path,
        name: String,
        size: [u32; 2],
    ) -> Result<(), DataError> {
        let file = label_file(image);
        let source = file.display().to_string();
        let lines = if file.is_file() { read_lines(&file)? } else { Vec::new() };
        let [height, width] = size.map(f64::from);
        for (number, line) in lines {
            let line = match parse_line(&line) {
                Ok(line) => line,
                Err((kind, message)) => {
                    self.problems.push(kind, format!("{source}, line {number}"), message);
                    continue;
                }
            };
            let [x, y, w, h] = line.bbox;
            let bbox = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
            let start = self.segments.checkpoint();
            if !line.polygon.is_empty() {
                let sides = [width, height].into_iter().cycle();
                let pixels = line.polygon.iter().zip(sides).map(|(part, side)| part * side);
                pixels.for_each(|value| self.segments.push_coordinate(value));
                self.segments.end_polygon();
            }
            let segment = self.segments.polygons_since(start);
            self.annotations.push(RawAnnotation {
                id: self.annotations.len() as u64 + 1,
                image: id,
                category: line.class,
                area: None,
                bbox: [
                    (bbox[0] * width) as f32,
                    (bbox[1] * height) as f32,
                    (bbox[2] * width) as f32,
                    (bbox[3] * height) as f32,
                ],
                place: number as u32,
                segment,
                is_crowd: false,
                is_ignored: false,
            });
        }
        self.images.push(RawImage {
            place: id as usize,
            id,
            size,
            name,
            annotations: Some(source),
            has_negative: false,
            has_not_exhaustive: false,
        });
        Ok(())
    }
}
