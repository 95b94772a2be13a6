//! A part of a training set that is held out, to choose settings by.

use longtail_types::{KeyedRng, Stream};

use crate::{DataError, ImageDataset};

impl ImageDataset {
    /// What stays for training, and the part that is held out: of every class `share` of its images,
    /// rounded, at least one, chosen at random by `seed`.
    ///
    /// Training keeps an image of every class that has one: a class with a single image has none
    /// held out. Images stay in the order of this set.
    ///
    /// # Errors
    /// If `share` is not between 0 and 1, or nothing could be held out.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Self, Self), DataError> {
        if !(share > 0.0 && share < 1.0) {
            return Err(DataError::setting("validation.share", "between 0 and 1", share));
        }
        let (mut kept, mut held_out) = (Vec::new(), Vec::new());
        for (class, mut indices) in self.indices_by_class().into_iter().enumerate() {
            KeyedRng::new(seed, Stream::Validation, 0, class as u64).shuffle(&mut indices);
            let wanted = ((share * indices.len() as f64).round() as usize).max(1);
            let (first, rest) = indices.split_at(wanted.min(indices.len().saturating_sub(1)));
            held_out.extend_from_slice(first);
            kept.extend_from_slice(rest);
        }
        if held_out.is_empty() {
            let expected = "of a set in which a class has two images";
            return Err(DataError::setting("validation.share", expected, share));
        }
        kept.sort_unstable();
        held_out.sort_unstable();
        Ok((self.subset(&kept)?, self.subset(&held_out)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::ClassMap;

    fn set(counts: [usize; 4]) -> ImageDataset {
        let labels =
            counts.iter().enumerate().flat_map(|(label, &n)| std::iter::repeat_n(label, n));
        let files = labels.enumerate().map(|(i, label)| (format!("{i}.png").into(), label));
        let classes = ClassMap::from_names(["a", "b", "c", "d"]).unwrap();
        ImageDataset::from_files(files, classes).unwrap()
    }

    #[test]
    fn every_class_gives_its_share_and_keeps_an_image() {
        let all = set([40, 3, 1, 0]);
        let (kept, held_out) = all.hold_out(0.1, 7).unwrap();
        assert_eq!(kept.class_counts().unwrap().image_counts(), [36, 2, 1, 0]);
        assert_eq!(held_out.class_counts().unwrap().image_counts(), [4, 1, 0, 0]);
        let mut names: Vec<_> =
            [&kept, &held_out].iter().flat_map(|s| (0..s.len()).map(|i| s.item_name(i))).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 44, "no image twice");
        let name = |set: &ImageDataset| (0..4).map(|i| set.item_name(i)).collect::<Vec<_>>();
        assert_eq!(name(&held_out), name(&all.hold_out(0.1, 7).unwrap().1));
        assert_ne!(name(&held_out), name(&all.hold_out(0.1, 8).unwrap().1));
    }

    #[test]
    fn what_leaves_nothing_is_refused() {
        let message = |set: ImageDataset, share| set.hold_out(share, 0).unwrap_err().to_string();
        assert!(message(set([5, 5, 5, 5]), 1.0).contains("validation.share"));
        assert!(message(set([1, 1, 1, 0]), 0.5).contains("two images"));
    }
}
