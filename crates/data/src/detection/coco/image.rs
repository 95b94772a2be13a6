//! One entry of `images`.

use longtail_types::MAX_IMAGE_PIXELS;
use serde::de::{IgnoredAny, MapAccess};

use super::entries::Entry;
use super::value::{Checked, Expect, Ids, Key, Text, Unsigned, needed, optional};
use crate::detection::ProblemKind;
use crate::detection::builder::image_size;
use crate::detection::raw::{RawImage, RawSet};

pub(super) struct ImageEntry;

#[derive(Clone, Copy)]
enum Field {
    Id,
    Height,
    Width,
    FileName,
    CocoUrl,
    Negative,
    NotExhaustive,
}

const FIELDS: &[(&str, Field)] = &[
    ("id", Field::Id),
    ("height", Field::Height),
    ("width", Field::Width),
    ("file_name", Field::FileName),
    ("coco_url", Field::CocoUrl),
    ("neg_category_ids", Field::Negative),
    ("not_exhaustive_category_ids", Field::NotExhaustive),
];

/// The fields as they stand; the lists of category ids are already in the set.
#[derive(Default)]
struct Fields {
    id: Option<Checked<u64>>,
    height: Option<Checked<u64>>,
    width: Option<Checked<u64>>,
    file_name: Option<Checked<String>>,
    coco_url: Option<Checked<String>>,
    negative: Option<Checked<()>>,
    not_exhaustive: Option<Checked<()>>,
}

impl Entry for ImageEntry {
    const LIST: &'static str = "images";
    const PROBLEM: ProblemKind = ProblemKind::ImageField;

    fn read<'de, A: MapAccess<'de>>(
        raw: &mut RawSet,
        place: usize,
        fields: A,
    ) -> Result<(), A::Error> {
        let (negative, not_exhaustive) = (raw.negative.len(), raw.not_exhaustive.len());
        let mut fields = Fields::read(fields, raw)?;
        let id = fields.id.as_ref().and_then(|id| id.as_ref().ok()).copied();
        let mut push = |kind, message| raw.push_entry_problem(kind, Self::LIST, place, id, message);
        let has_list = |name, list: Option<Checked<()>>| {
            let has_list = list.is_some();
            (has_list, optional(name, "a list of category ids", list).err())
        };
        let (has_negative, wrong) = has_list("neg_category_ids", fields.negative.take());
        wrong.into_iter().for_each(|message| push(ProblemKind::LvisField, message));
        let (has_not_exhaustive, wrong) =
            has_list("not_exhaustive_category_ids", fields.not_exhaustive.take());
        wrong.into_iter().for_each(|message| push(ProblemKind::LvisField, message));
        match fields.check() {
            Ok((id, size, name)) => raw.images.push(RawImage {
                place,
                id,
                size,
                name,
                annotations: None,
                has_negative,
                has_not_exhaustive,
            }),
            Err(message) => {
                push(ProblemKind::ImageField, message);
                raw.negative.truncate(negative);
                raw.not_exhaustive.truncate(not_exhaustive);
            }
        }
        Ok(())
    }
}

impl Fields {
    fn read<'de, A: MapAccess<'de>>(mut fields: A, raw: &mut RawSet) -> Result<Self, A::Error> {
        let mut read = Self::default();
        let image = raw.images.len() as u32;
        while let Some(field) = fields.next_key_seed(Key(FIELDS))? {
            match field {
                Some(Field::Id) => read.id = Some(fields.next_value_seed(Expect(Unsigned))?),
                Some(Field::Height) => {
                    read.height = Some(fields.next_value_seed(Expect(Unsigned))?)
                }
                Some(Field::Width) => read.width = Some(fields.next_value_seed(Expect(Unsigned))?),
                Some(Field::FileName) => {
                    read.file_name = Some(fields.next_value_seed(Expect(Text))?);
                }
                Some(Field::CocoUrl) => read.coco_url = Some(fields.next_value_seed(Expect(Text))?),
                Some(Field::Negative) => {
                    let ids = Ids { image, ids: &mut raw.negative };
                    read.negative = Some(fields.next_value_seed(Expect(ids))?);
                }
                Some(Field::NotExhaustive) => {
                    let ids = Ids { image, ids: &mut raw.not_exhaustive };
                    read.not_exhaustive = Some(fields.next_value_seed(Expect(ids))?);
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(read)
    }

    /// Id, `[height, width]` and file name.
    fn check(self) -> Checked<(u64, [u32; 2], String)> {
        const SIDE: &str = "a number of pixels";
        let id = needed("id", "a whole number of at least 0", self.id)?;
        let height = needed("height", SIDE, self.height)?;
        let width = needed("width", SIDE, self.width)?;
        let size = image_size(height, width).ok_or_else(|| {
            format!(
                "width and height must make 1 to {MAX_IMAGE_PIXELS} pixels, got {width}x{height}"
            )
        })?;
        let file_name = optional("file_name", "a text", self.file_name)?;
        let coco_url = optional("coco_url", "a text", self.coco_url)?;
        let from_url = || coco_url.as_deref().and_then(name_in_url);
        let name = file_name.filter(|name| !name.is_empty()).or_else(from_url);
        Ok((id, size, name.ok_or("file_name is missing, and so is coco_url")?))
    }
}

/// `train2017/000000391895.jpg` of `http://images.cocodataset.org/train2017/000000391895.jpg`:
/// LVIS v1 gives no file names.
fn name_in_url(url: &str) -> Option<String> {
    let mut parts = url.rsplit('/');
    let (file, split) = (parts.next()?, parts.next()?);
    (!file.is_empty()).then(|| format!("{split}/{file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_urls() {
        let url = "http://images.cocodataset.org/train2017/000000391895.jpg";
        assert_eq!(name_in_url(url).as_deref(), Some("train2017/000000391895.jpg"));
        assert_eq!((name_in_url("a.jpg"), name_in_url("http://x/")), (None, None));
    }
}
