//! The `segmentation` of an annotation: polygons, or run lengths in either form.

use hotcoco::Rle;
use hotcoco::mask::{rle_from_string, rle_to_string};
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::value::{Checked, Expect, Key, Number, Unsigned, Welcome, drain};
use crate::detection::ProblemKind;
use crate::detection::builder::is_polygon;
use crate::detection::segments::{Segment, Segments};

/// What a segmentation turned out to be.
#[derive(Debug, Default)]
pub(super) struct Outlined {
    pub(super) segment: Segment,
    /// The first thing wrong with it.
    pub(super) problem: Option<(ProblemKind, String)>,
    /// Whether the problem leaves nothing to use.
    pub(super) is_lost: bool,
}

impl Outlined {
    fn lost(kind: ProblemKind, message: String) -> Self {
        Self { segment: Segment::None, problem: Some((kind, message)), is_lost: true }
    }
}

/// Pushes a segmentation into the flat arrays.
pub(super) struct Segmentation<'a>(pub(super) &'a mut Segments);

impl Welcome for Segmentation<'_> {
    type Value = Outlined;

    fn null(self) -> Option<Outlined> {
        Some(Outlined::default())
    }

    fn list<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked<Outlined>, A::Error> {
        let segments = self.0;
        let (start, mut problem, mut index) = (segments.checkpoint(), None, 0);
        while let Some(item) = items.next_element_seed(Expect(Polygon(segments)))? {
            let count = match item {
                Ok(count) => count,
                Err(found) => {
                    segments.roll_back(start);
                    drain(items)?;
                    return Ok(Err(format!("a list with {found} at [{index}]")));
                }
            };
            if is_polygon(count) {
                segments.end_polygon();
            } else {
                segments.drop_polygon();
                let message = format!(
                    "segmentation[{index}] must be at least 3 points x, y, got {count} numbers"
                );
                problem = problem.or(Some((ProblemKind::Polygon, message)));
            }
            index += 1;
        }
        let segment = segments.polygons_since(start);
        let is_lost = problem.is_some() && segment == Segment::None;
        Ok(Ok(Outlined { segment, problem, is_lost }))
    }

    fn object<'de, A: MapAccess<'de>>(self, mut fields: A) -> Result<Checked<Outlined>, A::Error> {
        let (mut counts, mut size) = (None, None);
        while let Some(key) = fields.next_key_seed(Key(&[("counts", true), ("size", false)]))? {
            match key {
                Some(true) => counts = Some(fields.next_value_seed(Expect(Counts))?),
                Some(false) => size = Some(fields.next_value_seed(Expect(Size))?),
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let (counts, [height, width]) = match (counts, size) {
            (None, _) => return Ok(Err("an object without counts".to_owned())),
            (_, None) => return Ok(Err("an object without size".to_owned())),
            (Some(Err(found)), _) => return Ok(Err(format!("an object whose counts are {found}"))),
            (_, Some(Err(found))) => return Ok(Err(format!("an object whose size is {found}"))),
            (Some(Ok(counts)), Some(Ok(size))) => (counts, size),
        };
        let refused = |message| Ok(Ok(Outlined::lost(ProblemKind::RunLengths, message)));
        let (text, counts) = match counts {
            RunLengths::Text(text) => match rle_from_string(&text, height, width) {
                Ok(runs) => (text, runs.counts),
                Err(error) => return refused(format!("segmentation: {error}")),
            },
            RunLengths::List(counts) => {
                let runs = Rle { h: height, w: width, counts };
                (rle_to_string(&runs), runs.counts)
            }
        };
        let sum: u64 = counts.iter().copied().map(u64::from).sum();
        let pixels = u64::from(height) * u64::from(width);
        if sum != pixels {
            return refused(format!(
                "segmentation: run lengths add up to {sum} pixels, but its size \
                 [{height}, {width}] has {pixels}"
            ));
        }
        let segment = self.0.push_runs(&text, [height, width]);
        Ok(Ok(Outlined { segment, ..Outlined::default() }))
    }
}

/// One polygon: pushes its numbers and says how many there were.
struct Polygon<'a>(&'a mut Segments);

impl Welcome for Polygon<'_> {
    type Value = usize;

    fn list<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked<usize>, A::Error> {
        while let Some(number) = items.next_element_seed(Expect(Number))? {
            match number {
                Ok(number) => self.0.push_coordinate(number),
                Err(found) => {
                    drain(items)?;
                    return Ok(Err(format!("a list with {found}")));
                }
            }
        }
        Ok(Ok(self.0.open_coordinates()))
    }
}

/// Run lengths in either form.
enum RunLengths {
    Text(String),
    List(Vec<u32>),
}

struct Counts;

impl Welcome for Counts {
    type Value = RunLengths;

    fn text(self, value: &str) -> Option<RunLengths> {
        Some(RunLengths::Text(value.to_owned()))
    }

    fn list<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked<RunLengths>, A::Error> {
        let mut counts = Vec::new();
        while let Some(count) = items.next_element_seed(Expect(Unsigned))? {
            match count.and_then(|count| u32::try_from(count).map_err(|_| count.to_string())) {
                Ok(count) => counts.push(count),
                Err(found) => {
                    drain(items)?;
                    return Ok(Err(format!("a list with {found}")));
                }
            }
        }
        Ok(Ok(RunLengths::List(counts)))
    }
}

/// `[height, width]`
struct Size;

impl Welcome for Size {
    type Value = [u32; 2];

    fn list<'de, A: SeqAccess<'de>>(self, items: A) -> Result<Checked<[u32; 2]>, A::Error> {
        let Checked::Ok(RunLengths::List(sides)) = Counts.list(items)? else {
            return Ok(Err("a list with something else than numbers".to_owned()));
        };
        Ok(<[u32; 2]>::try_from(sides).map_err(|sides| format!("a list of {}", sides.len())))
    }
}
