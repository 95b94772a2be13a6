//! The images of a parsed set that can be used.

use std::collections::{HashMap, HashSet};

use super::assemble::KindAndMessage;
use super::files::check_files;
use super::raw::RawSet;
use super::store::Images;
use super::{ProblemKind, Problems, ReadOptions};

/// The images that can be used, and how to find them.
pub(super) struct Accepted {
    pub(super) images: Images,
    /// Place of each image in the parsed list.
    pub(super) places: Vec<usize>,
    /// Image at each place of the parsed list.
    pub(super) by_place: Vec<Option<u32>>,
    pub(super) by_id: HashMap<u64, u32>,
    /// Ids of images that cannot be used.
    left_out: HashSet<u64>,
}

impl Accepted {
    pub(super) fn new(raw: &RawSet, options: &ReadOptions, problems: &mut Problems) -> Self {
        let root = options.images.as_deref();
        let mut files = root.map(|root| check_files(root, &raw.images, options.files).into_iter());
        let mut accepted = Self {
            images: Images::in_folder(options.images.clone()),
            places: Vec::with_capacity(raw.images.len()),
            by_place: Vec::with_capacity(raw.images.len()),
            by_id: HashMap::with_capacity(raw.images.len()),
            left_out: HashSet::new(),
        };
        for (place, image) in raw.images.iter().enumerate() {
            let file = files.as_mut().and_then(Iterator::next);
            let name = match (accepted.by_id.get(&image.id), file) {
                (Some(&first), _) => {
                    let first = raw.images[accepted.places[first as usize]].place;
                    let message = format!("its id {} is that of images[{first}]", image.id);
                    Err((ProblemKind::DuplicateImage, message))
                }
                (None, file) => file.unwrap_or_else(|| Ok(image.name.clone())),
            };
            let index = match name {
                Ok(name) => {
                    let index = accepted.images.len() as u32;
                    accepted.images.push_file(image.id, image.size, &name);
                    accepted.places.push(place);
                    accepted.by_id.insert(image.id, index);
                    Some(index)
                }
                Err((kind, message)) => {
                    problems.push(kind, raw.form.image_place(image), message);
                    accepted.left_out.insert(image.id);
                    None
                }
            };
            accepted.by_place.push(index);
        }
        accepted
    }

    /// The image of an id.
    pub(super) fn image(&self, id: u64) -> Result<u32, KindAndMessage> {
        self.by_id.get(&id).copied().ok_or_else(|| {
            if self.left_out.contains(&id) {
                (ProblemKind::LeftOutImage, format!("image_id {id}: the image was left out"))
            } else {
                (ProblemKind::UnknownImage, format!("image_id {id} is not one of the images"))
            }
        })
    }
}
