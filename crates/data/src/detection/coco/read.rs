//! From a COCO or LVIS file to a data set.

use std::fs;
use std::path::Path;

use serde::de::DeserializeSeed;

use super::entries::AnnotationFile;
use super::value::Expect;
use crate::DataError;
use crate::detection::raw::{Form, RawSet};
use crate::detection::{DetectionDataset, ReadOptions};

impl DetectionDataset {
    /// Reads annotations in COCO's or LVIS's JSON form, v0.5 or v1.
    ///
    /// Polygons and run lengths, crowds, `ignore`, LVIS's `neg_category_ids`,
    /// `not_exhaustive_category_ids` and `frequency` are kept; other fields are read over.
    /// Category ids need not be dense: labels follow their order. An image without `file_name`
    /// (LVIS v1) is called `split/name` after its `coco_url`. A file that is not there under its
    /// name is looked for in the folder of images itself.
    ///
    /// A box without width or height, which released sets have, is no error: it stays in the
    /// [annotations](Self::annotations) and is counted in [`problems`](Self::problems), but it is
    /// no target and does not enter the class counts. A box over the border is clipped.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON or has no lists of images, annotations and
    /// categories; in strict mode with the first error of [`problems`](Self::problems).
    pub fn read_coco(path: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        parse(path)?.assemble(options)
    }
}

fn parse(path: &Path) -> Result<RawSet, DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut raw = RawSet::new(Form::Json, path.to_path_buf());
    let mut json = serde_json::Deserializer::from_slice(text);
    let content = Expect(AnnotationFile(&mut raw)).deserialize(&mut json);
    let content = content.and_then(|content| json.end().map(|()| content));
    let not_annotations =
        |message| Err(DataError::NotAnnotations { path: path.to_path_buf(), message });
    match content.map_err(|error| DataError::json(path, &error))? {
        Ok(None) => Ok(raw),
        Ok(Some(message)) => not_annotations(message),
        Err(found) => not_annotations(format!("expected an object, got {found}")),
    }
}
