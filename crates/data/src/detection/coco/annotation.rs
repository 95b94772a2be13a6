//! One entry of `annotations`.

use serde::de::{IgnoredAny, MapAccess};

use super::entries::Entry;
use super::outline::{Outlined, Segmentation};
use super::value::{Checked, Expect, Flag, FourNumbers, Key, Number, Unsigned, needed, optional};
use crate::detection::ProblemKind;
use crate::detection::assemble::KindAndMessage;
use crate::detection::raw::{RawAnnotation, RawSet};
use crate::detection::segments::Segments;

pub(super) struct AnnotationEntry;

#[derive(Clone, Copy)]
enum Field {
    Id,
    Image,
    Category,
    Bbox,
    Area,
    Crowd,
    Ignore,
    Segmentation,
}

const FIELDS: &[(&str, Field)] = &[
    ("segmentation", Field::Segmentation),
    ("id", Field::Id),
    ("image_id", Field::Image),
    ("category_id", Field::Category),
    ("bbox", Field::Bbox),
    ("area", Field::Area),
    ("iscrowd", Field::Crowd),
    ("ignore", Field::Ignore),
];

/// The fields as they stand.
#[derive(Default)]
struct Fields {
    id: Option<Checked<u64>>,
    image: Option<Checked<u64>>,
    category: Option<Checked<u64>>,
    bbox: Option<Checked<[f64; 4]>>,
    area: Option<Checked<f64>>,
    crowd: Option<Checked<bool>>,
    ignore: Option<Checked<bool>>,
    outline: Option<Checked<Outlined>>,
}

impl Entry for AnnotationEntry {
    const LIST: &'static str = "annotations";
    const PROBLEM: ProblemKind = ProblemKind::AnnotationField;

    fn read<'de, A: MapAccess<'de>>(
        raw: &mut RawSet,
        place: usize,
        fields: A,
    ) -> Result<(), A::Error> {
        let start = raw.segments.checkpoint();
        let fields = Fields::read(fields, &mut raw.segments)?;
        let id = fields.id.as_ref().and_then(|id| id.as_ref().ok()).copied();
        let mut push =
            |(kind, message)| raw.push_entry_problem(kind, Self::LIST, place, id, message);
        match fields.check(place) {
            Ok((annotation, note)) => {
                note.into_iter().for_each(push);
                raw.annotations.push(annotation);
            }
            Err(problem) => {
                push(problem);
                raw.segments.roll_back(start);
            }
        }
        Ok(())
    }
}

impl Fields {
    fn read<'de, A: MapAccess<'de>>(
        mut fields: A,
        segments: &mut Segments,
    ) -> Result<Self, A::Error> {
        let mut read = Self::default();
        while let Some(field) = fields.next_key_seed(Key(FIELDS))? {
            match field {
                Some(Field::Id) => read.id = Some(fields.next_value_seed(Expect(Unsigned))?),
                Some(Field::Image) => read.image = Some(fields.next_value_seed(Expect(Unsigned))?),
                Some(Field::Category) => {
                    read.category = Some(fields.next_value_seed(Expect(Unsigned))?);
                }
                Some(Field::Bbox) => read.bbox = Some(fields.next_value_seed(Expect(FourNumbers))?),
                Some(Field::Area) => read.area = Some(fields.next_value_seed(Expect(Number))?),
                Some(Field::Crowd) => read.crowd = Some(fields.next_value_seed(Expect(Flag))?),
                Some(Field::Ignore) => read.ignore = Some(fields.next_value_seed(Expect(Flag))?),
                Some(Field::Segmentation) => {
                    let seed = Expect(Segmentation(segments));
                    read.outline = Some(fields.next_value_seed(seed)?);
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(read)
    }

    /// The annotation, with what was left out of its outline; or why it cannot be used.
    fn check(
        self,
        place: usize,
    ) -> Result<(RawAnnotation, Option<KindAndMessage>), KindAndMessage> {
        const ID: &str = "a whole number of at least 0";
        const FLAG: &str = "0 or 1";
        let field = |message| (ProblemKind::AnnotationField, message);
        let id = needed("id", ID, self.id).map_err(field)?;
        let image = needed("image_id", ID, self.image).map_err(field)?;
        let category = needed("category_id", ID, self.category).map_err(field)?;
        let numbers = "[x, y, width, height]";
        let [x, y, width, height] = needed("bbox", numbers, self.bbox).map_err(field)?;
        let area = optional("area", "a number", self.area).map_err(field)?;
        let is_crowd = optional("iscrowd", FLAG, self.crowd).map_err(field)?;
        let is_ignored = optional("ignore", FLAG, self.ignore).map_err(field)?;
        let polygons = "a list of polygons or an object of run lengths";
        let outline = optional("segmentation", polygons, self.outline).map_err(field)?;
        if width < 0.0 || height < 0.0 {
            let message = format!("bbox has a negative size: [{x}, {y}, {width}, {height}]");
            return Err((ProblemKind::NegativeBox, message));
        }
        let Outlined { segment, problem, is_lost } = outline.unwrap_or_default();
        if let (true, Some(problem)) = (is_lost, problem.clone()) {
            return Err(problem);
        }
        let annotation = RawAnnotation {
            id,
            image,
            category,
            area,
            bbox: [x, y, x + width, y + height].map(|border| border as f32),
            place: place as u32,
            segment,
            is_crowd: is_crowd.unwrap_or_default(),
            is_ignored: is_ignored.unwrap_or_default(),
        };
        Ok((annotation, problem))
    }
}
