//! Choice of the anchors or regions that the losses see.

use longtail_types::KeyedRng;

use crate::Match;

/// Draws a fixed number of boxes with at most a given share of positives.
///
/// Counts as torchvision: `min(num positives, floor(num * positive_fraction))` positives, the rest
/// negatives as far as there are any. Source: Ren et al., NeurIPS 2015,
/// <https://arxiv.org/abs/1506.01497>, section 3.1.3.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BalancedSampler {
    /// Boxes drawn per image.
    pub num: usize,
    /// Share of positives among them, at most.
    pub positive_fraction: f64,
}

/// Indices drawn by a [`BalancedSampler`], ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sampled {
    /// Boxes matched to an object.
    pub positives: Vec<usize>,
    /// Boxes matched to background.
    pub negatives: Vec<usize>,
}

impl BalancedSampler {
    /// Draws from the boxes that are not ignored; all of a kind if there are no more than asked.
    pub fn sample(&self, matches: &[Match], rng: &mut KeyedRng) -> Sampled {
        let indices = |is_kind: fn(&Match) -> bool| -> Vec<usize> {
            let all = matches.iter().enumerate();
            all.filter(|(_, m)| is_kind(m)).map(|(index, _)| index).collect()
        };
        let most = ((self.num as f64 * self.positive_fraction) as usize).min(self.num);
        let positives = draw(indices(|m| matches!(m, Match::Positive(_))), most, rng);
        let most = self.num - positives.len();
        Sampled { negatives: draw(indices(|m| *m == Match::Negative), most, rng), positives }
    }
}

/// `count` of the ascending `indices`, ascending.
fn draw(mut indices: Vec<usize>, count: usize, rng: &mut KeyedRng) -> Vec<usize> {
    if indices.len() > count {
        for first in 0..count {
            let other = first + rng.below(indices.len() - first);
            indices.swap(first, other);
        }
        indices.truncate(count);
        indices.sort_unstable();
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::Stream;

    fn matches(positives: usize, negatives: usize, ignored: usize) -> Vec<Match> {
        let mut all = vec![Match::Positive(3); positives];
        all.extend(vec![Match::Negative; negatives]);
        all.extend(vec![Match::Ignored; ignored]);
        KeyedRng::new(5, Stream::Synthetic, 0, 0).shuffle(&mut all);
        all
    }

    #[test]
    fn counts_are_those_of_torchvision() {
        let sampler = BalancedSampler { num: 10, positive_fraction: 0.25 };
        for (available, drawn) in [
            ((0, 0), (0, 0)),
            ((0, 3), (0, 3)),
            ((0, 50), (0, 10)),
            ((1, 50), (1, 9)),
            ((2, 50), (2, 8)),
            ((40, 50), (2, 8)),
            ((40, 5), (2, 5)),
            ((40, 0), (2, 0)),
        ] {
            let matches = matches(available.0, available.1, 7);
            let mut rng = KeyedRng::new(1, Stream::Anchors, 2, 3);
            let sampled = sampler.sample(&matches, &mut rng);
            assert_eq!((sampled.positives.len(), sampled.negatives.len()), drawn, "{available:?}");
            assert!(sampled.positives.iter().all(|&i| matches[i] == Match::Positive(3)));
            assert!(sampled.negatives.iter().all(|&i| matches[i] == Match::Negative));
            for list in [&sampled.positives, &sampled.negatives] {
                assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
    }

    #[test]
    fn every_box_has_the_same_chance() {
        let matches = matches(0, 20, 4);
        let sampler = BalancedSampler { num: 5, positive_fraction: 0.5 };
        let mut drawn = vec![0_u32; matches.len()];
        for index in 0..20_000 {
            let mut rng = KeyedRng::new(9, Stream::Anchors, 0, index);
            sampler.sample(&matches, &mut rng).negatives.iter().for_each(|&i| drawn[i] += 1);
        }
        for (count, kind) in drawn.iter().zip(&matches) {
            let expected = if *kind == Match::Negative { 5_000_u32 } else { 0 };
            assert!(count.abs_diff(expected) <= 5 * 61, "{drawn:?}"); // five standard deviations
        }
    }

    #[test]
    fn odd_fractions() {
        let matches = matches(4, 4, 0);
        for (fraction, positives) in [(2.0, 4), (-1.0, 0), (f64::NAN, 0)] {
            let sampler = BalancedSampler { num: 6, positive_fraction: fraction };
            let mut rng = KeyedRng::new(1, Stream::Rois, 0, 0);
            assert_eq!(sampler.sample(&matches, &mut rng).positives.len(), positives);
        }
    }
}
