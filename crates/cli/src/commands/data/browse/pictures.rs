//! The pictures of the classes, as far as there is room for them.

use longtail::data::{DataError, DetectionDataset, ImageDataset, Mark};
use longtail::eval::{ClassExamples, Picture};

use super::pick::{Pick, Picks};
use crate::page::{Budget, OBJECT, in_parallel};

/// Pictures made at a time.
const CHUNK: usize = 64;

/// Where pictures come from.
pub(super) enum Maker<'a> {
    Images(&'a ImageDataset),
    Objects(&'a DetectionDataset),
}

/// The pictures, and what became of the others.
#[derive(Default)]
pub(super) struct Made {
    pub(super) examples: Vec<ClassExamples>,
    /// There was no room for them.
    num_left: usize,
    /// They could not be read; the first of the reasons.
    num_failed: usize,
    failure: Option<String>,
}

impl Made {
    pub(super) fn num_pictures(&self) -> usize {
        self.examples.iter().map(|examples| examples.pictures.len()).sum()
    }

    /// What was left out, for the reader.
    pub(super) fn notes(&self, max_mb: f64) -> Vec<String> {
        let mut notes = Vec::new();
        if self.num_left > 0 {
            let (left, all) = (self.num_left, self.num_left + self.num_pictures());
            notes.push(format!(
                "{left} of {all} pictures are left out: those shown take {max_mb} MB; --max-mb, \
                 --per-class and --classes choose others."
            ));
        }
        if let Some(failure) = &self.failure {
            let failed = self.num_failed;
            notes.push(format!("{failed} pictures could not be made; the first: {failure}"));
        }
        notes
    }
}

/// The first picture of every class, then the second of every class, until there is no more room;
/// in each round, rare classes come first.
pub(super) fn examples(picks: &Picks, maker: &Maker, side: usize, mut budget: Budget) -> Made {
    let empty = |&(label, _): &(usize, Vec<Pick>)| ClassExamples { label, pictures: Vec::new() };
    let mut made = Made { examples: picks.classes.iter().map(empty).collect(), ..Made::default() };
    for round in 0..picks.num_rounds() {
        let wanted = picks.round(round);
        for chunk in wanted.chunks(CHUNK) {
            if budget.is_spent() {
                made.num_left += chunk.len();
                continue;
            }
            let pictures = in_parallel(chunk, |&(_, pick)| maker.picture(pick, side));
            for (&(place, _), picture) in chunk.iter().zip(pictures) {
                match picture {
                    Ok(picture) if budget.take(picture.num_bytes()) => {
                        made.examples[place].pictures.push(picture);
                    }
                    Ok(_) => made.num_left += 1,
                    Err(error) => {
                        made.num_failed += 1;
                        made.failure.get_or_insert(error.to_string());
                    }
                }
            }
        }
    }
    made.examples.retain(|examples| !examples.pictures.is_empty());
    made
}

impl Maker<'_> {
    fn picture(&self, pick: Pick, side: usize) -> Result<Picture, DataError> {
        match self {
            Self::Images(set) => {
                let image = set.load(pick.image)?;
                let thumbnail = image.thumbnail(side)?;
                let [width, height] = [image.width(), image.height()];
                let title = format!("{}, {width} × {height} px", set.item_name(pick.image));
                let (jpeg, size) = (thumbnail.jpeg, thumbnail.size);
                Ok(Picture { jpeg, size, caption: Vec::new(), title })
            }
            Self::Objects(set) => {
                let image = set.load(pick.image)?;
                let annotation = pick.annotation.and_then(|at| set.annotations(pick.image).get(at));
                let Some(object) = annotation else {
                    let (index, len) = (pick.image, set.num_images());
                    return Err(DataError::IndexOutOfRange { index, len });
                };
                let bbox = object.bbox.clip(set.image_size(pick.image));
                let mask = set.mask(pick.image, object);
                let mark = Mark { bbox, mask: mask.as_ref(), color: OBJECT };
                let thumbnail = image.object_thumbnail(bbox, &[mark], side)?;
                let [width, height] = [bbox.width(), bbox.height()].map(|side| side.round());
                let title = format!(
                    "{}, annotation {}, {width} × {height} of {} × {} px",
                    set.item_name(pick.image),
                    object.id,
                    image.width(),
                    image.height(),
                );
                let (jpeg, size) = (thumbnail.jpeg, thumbnail.size);
                Ok(Picture { jpeg, size, caption: vec![format!("{width} × {height} px")], title })
            }
        }
    }
}
