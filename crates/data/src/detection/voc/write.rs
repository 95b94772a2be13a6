//! One XML file an image.

use std::fmt::Write as _;
use std::path::Path;

use quick_xml::escape::escape;

use crate::DataError;
use crate::detection::made::Made;
use crate::detection::segments::decimal;
use crate::detection::write_folder::stem;
use crate::detection::{Annotation, DetectionDataset};

/// Refuses classes whose names do not come back from between two tags, where blanks at the ends do
/// not count.
pub(in crate::detection) fn check_names(
    set: &DetectionDataset,
    root: &Path,
) -> Result<(), DataError> {
    let is_writable = |name: &&str| {
        !name.is_empty() && name.trim() == *name && !name.chars().any(char::is_control)
    };
    match set.class_map().names().find(|name| !is_writable(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("class {name:?}: no such name can be written in this form");
            Err(DataError::Folder { path: root.to_path_buf(), message })
        }
    }
}

/// Writes `Annotations/IMAGE.xml` for each image. Every object has a place.
pub(in crate::detection) fn write_annotations(
    set: &DetectionDataset,
    root: &Path,
    files: &[String],
    made: &mut Made,
) -> Result<(), DataError> {
    for (index, file) in files.iter().enumerate() {
        let path = root.join("Annotations").join(format!("{}.xml", stem(file)));
        made.write(&path, &document(set, index, file))?;
    }
    Ok(())
}

fn document(set: &DetectionDataset, index: usize, file: &str) -> String {
    let [height, width] = set.image_size(index);
    let mut text = format!(
        "<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{}</filename>\n  \
         <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n",
        escape(file)
    );
    for annotation in set.annotations(index) {
        let name = set.class_map().name(annotation.label as usize).unwrap_or_default();
        object(&mut text, name, annotation);
    }
    text.push_str("</annotation>\n");
    text
}

/// Borders count pixels from 1, both included.
fn object(text: &mut String, name: &str, annotation: &Annotation) {
    let [x1, y1, x2, y2] = annotation.bbox.to_array().map(decimal);
    let difficult = u8::from(annotation.is_ignored || annotation.is_crowd);
    let _ = write!(
        text,
        "  <object>\n    <name>{}</name>\n    <difficult>{difficult}</difficult>\n    \
         <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>\n  \
         </object>\n",
        escape(name),
        x1 + 1.0,
        y1 + 1.0,
    );
}
