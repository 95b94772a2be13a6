//! The surest mistakes of a classifier, class by class.

use longtail::data::ImageDataset;
use longtail::eval::{ClassificationReport, Gallery, Picture, RunExtras};

use super::{Room, add};
use crate::page::in_parallel;

/// An image that was taken for another class.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mistake {
    index: usize,
    predicted: usize,
    /// Of the class it was taken for.
    score: f32,
    /// Of its own class.
    own_score: f32,
}

/// The mistakes with the highest scores of each class.
pub(super) struct Mistakes {
    per_class: usize,
    classes: Vec<Vec<Mistake>>,
}

impl Mistakes {
    pub(super) fn new(num_classes: usize, per_class: usize) -> Self {
        Self { per_class, classes: vec![Vec::new(); num_classes] }
    }

    /// Takes one image; of equal scores the first class counts, as in the report.
    pub(super) fn add(&mut self, index: usize, label: usize, scores: &[f32]) {
        let start = (0, f32::NEG_INFINITY);
        let (predicted, score) = scores
            .iter()
            .copied()
            .enumerate()
            .fold(start, |best, next| if next.1 > best.1 { next } else { best });
        let Some(kept) = self.classes.get_mut(label).filter(|_| predicted != label) else { return };
        let own_score = scores.get(label).copied().unwrap_or_default();
        kept.push(Mistake { index, predicted, score, own_score });
        kept.sort_by(|a, b| b.score.total_cmp(&a.score));
        kept.truncate(self.per_class);
    }

    /// A gallery for each class with a mistake, in the order of `labels`, as far as there is room.
    pub(super) fn galleries(
        &self,
        test: &ImageDataset,
        report: &ClassificationReport,
        labels: impl Iterator<Item = usize>,
        mut room: Room,
        extras: &mut RunExtras,
    ) {
        let name = |label: usize| report.classes[label].name.as_str();
        let mut num_left = 0;
        for label in labels.filter(|&label| !self.classes[label].is_empty()) {
            if room.budget.is_spent() {
                num_left += 1;
                continue;
            }
            let class = &report.classes[label];
            let made = in_parallel(&self.classes[label], |mistake| {
                let thumbnail = test.load(mistake.index)?.thumbnail(room.side)?;
                let (jpeg, size) = (thumbnail.jpeg, thumbnail.size);
                let caption = vec![
                    format!("{} {:.2}", name(mistake.predicted), mistake.score),
                    format!("own class {:.2}", mistake.own_score),
                ];
                Ok(Picture { jpeg, size, caption, title: test.item_name(mistake.index) })
            });
            let mut gallery = Gallery { title: name(label).to_string(), ..Gallery::default() };
            gallery.text = format!(
                "{} of {} right; {} training images ({}); taken for",
                (class.accuracy.unwrap_or_default() * class.num_examples as f64).round(),
                class.num_examples,
                class.train_images,
                class.group,
            );
            for picture in made {
                match picture {
                    Ok(picture) if room.budget.take(picture.num_bytes()) => {
                        gallery.pictures.push(picture);
                    }
                    Ok(_) => {}
                    Err(error) => failed(extras, error),
                }
            }
            add(extras, gallery);
        }
        if num_left > 0 {
            extras.notes.push(format!(
                "The mistakes of {num_left} classes with many images are left out: --max-mb gives \
                 the pictures more room."
            ));
        }
    }
}

/// A picture that could not be made, once.
pub(super) fn failed(extras: &mut RunExtras, error: longtail::data::DataError) {
    const START: &str = "Some pictures could not be made; the first: ";
    if !extras.notes.iter().any(|note| note.starts_with(START)) {
        extras.notes.push(format!("{START}{error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_mistakes_of_a_class_are_kept() {
        let mut mistakes = Mistakes::new(2, 2);
        mistakes.add(0, 0, &[0.9, 0.1]); // right
        mistakes.add(1, 0, &[0.4, 0.6]);
        mistakes.add(2, 0, &[0.1, 0.9]);
        mistakes.add(3, 0, &[0.3, 0.7]);
        mistakes.add(4, 1, &[0.5, 0.5]); // the first of equal scores
        let kept = |label: usize| {
            mistakes.classes[label].iter().map(|m| (m.index, m.predicted)).collect::<Vec<_>>()
        };
        assert_eq!((kept(0), kept(1)), (vec![(2, 1), (3, 1)], vec![(4, 0)]));
        assert_eq!(mistakes.classes[0][0].own_score, 0.1);
    }
}
