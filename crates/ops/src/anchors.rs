//! Anchor boxes over feature maps.

use longtail_types::BBox;

use crate::OpsError;

/// Boxes of fixed sizes and shapes at every location of every level.
///
/// `size` is the square root of the area and `ratio` is height / width; corners of the base anchors
/// are rounded to whole pixels, half to even, as torchvision does.
/// Source: Ren et al., NeurIPS 2015, <https://arxiv.org/abs/1506.01497>.
#[derive(Debug, Clone, PartialEq)]
pub struct AnchorGenerator {
    /// Anchors around the origin, per level.
    base: Vec<Vec<BBox>>,
}

impl AnchorGenerator {
    /// Anchors of every ratio and size; both lists have one list per level, from fine to coarse.
    /// # Errors
    /// If the lists differ in length, a level is empty, or a number is not positive.
    pub fn new(sizes: &[Vec<f32>], ratios: &[Vec<f32>]) -> Result<Self, OpsError> {
        if sizes.len() != ratios.len() {
            return Err(OpsError::AnchorLevels { sizes: sizes.len(), ratios: ratios.len() });
        }
        if sizes.is_empty() {
            return Err(OpsError::NoAnchors { level: 0, what: "sizes" });
        }
        for (what, levels) in [("sizes", sizes), ("ratios", ratios)] {
            for (level, values) in levels.iter().enumerate() {
                if values.is_empty() {
                    return Err(OpsError::NoAnchors { level, what });
                }
                let is_positive = |value: f32| value.is_finite() && value > 0.0;
                if let Some(&value) = values.iter().find(|&&value| !is_positive(value)) {
                    let what = &what[..what.len() - 1];
                    return Err(OpsError::AnchorValue { level, what, value });
                }
            }
        }
        Ok(Self { base: sizes.iter().zip(ratios).map(|(s, r)| base_anchors(s, r)).collect() })
    }

    /// torchvision's default for Faster R-CNN with a feature pyramid: one size per level, 32 to 512
    /// pixels on `p2..p6`, ratios 0.5, 1 and 2.
    pub fn faster_rcnn() -> Self {
        Self::with_sizes([32.0, 64.0, 128.0, 256.0, 512.0].map(|size| vec![size]))
    }

    /// torchvision's default for RetinaNet: three sizes a third of an octave apart per level, from
    /// 32 pixels on `p3` to 812 on `p7`, ratios 0.5, 1 and 2.
    pub fn retinanet() -> Self {
        let octave = |size: f64| {
            let step = |third: f64| (size * (third / 3.0).exp2()).trunc() as f32;
            vec![step(0.0), step(1.0), step(2.0)]
        };
        Self::with_sizes([32.0, 64.0, 128.0, 256.0, 512.0].map(octave))
    }

    fn with_sizes(sizes: [Vec<f32>; 5]) -> Self {
        Self { base: sizes.iter().map(|sizes| base_anchors(sizes, &[0.5, 1.0, 2.0])).collect() }
    }

    /// Number of levels.
    pub fn num_levels(&self) -> usize {
        self.base.len()
    }

    /// Anchors per location of a level.
    /// # Panics
    /// If there is no such level.
    pub fn num_anchors(&self, level: usize) -> usize {
        self.base[level].len()
    }

    /// The anchors of each level: row by row, in a row from left to right, and at each location in
    /// the order of ratios, then sizes.
    ///
    /// `image_size` is the `[height, width]` of the padded image tensor, `feature_sizes` that of
    /// each level's map. The step between locations is their quotient, rounded down.
    /// # Panics
    /// If there are more or fewer maps than levels.
    pub fn anchors(&self, image_size: [usize; 2], feature_sizes: &[[usize; 2]]) -> Vec<Vec<BBox>> {
        assert_eq!(feature_sizes.len(), self.num_levels(), "one feature map per level of anchors");
        let levels = self.base.iter().zip(feature_sizes);
        levels.map(|(base, &size)| grid(base, image_size, size)).collect()
    }
}

fn base_anchors(sizes: &[f32], ratios: &[f32]) -> Vec<BBox> {
    let mut anchors = Vec::with_capacity(sizes.len() * ratios.len());
    for ratio in ratios {
        let by_height = ratio.sqrt();
        let by_width = 1.0 / by_height;
        for size in sizes {
            let round = |side: f32| (side / 2.0).round_ties_even();
            let (x, y) = (by_width * size, by_height * size);
            anchors.push(BBox::new(round(-x), round(-y), round(x), round(y)));
        }
    }
    anchors
}

fn grid(base: &[BBox], image_size: [usize; 2], [height, width]: [usize; 2]) -> Vec<BBox> {
    let stride = |axis: usize, size: usize| image_size[axis].checked_div(size).unwrap_or(0);
    let (stride_y, stride_x) = (stride(0, height), stride(1, width));
    let mut anchors = Vec::with_capacity(height * width * base.len());
    for row in 0..height {
        for column in 0..width {
            let (x, y) = ((column * stride_x) as f32, (row * stride_y) as f32);
            let at = |b: &BBox| BBox::new(x + b.x1, y + b.y1, x + b.x2, y + b.y2);
            anchors.extend(base.iter().map(at));
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cell_anchors` of the detectors of torchvision 0.29.
    #[test]
    fn base_anchors_are_those_of_torchvision() {
        let first: Vec<[f32; 4]> =
            AnchorGenerator::faster_rcnn().base[0].iter().map(|b| b.to_array()).collect();
        let expected =
            [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0], [-11.0, -23.0, 11.0, 23.0]];
        assert_eq!(first, expected);
        let retinanet = AnchorGenerator::retinanet();
        assert_eq!((retinanet.num_levels(), retinanet.num_anchors(4)), (5, 9));
        assert_eq!(retinanet.base[1][5].to_array(), [-50.0, -50.0, 50.0, 50.0]); // 101 / 2 = 50.5
    }

    #[test]
    fn refusals_name_the_place() {
        let text = |sizes: &[Vec<f32>], ratios: &[Vec<f32>]| {
            AnchorGenerator::new(sizes, ratios).unwrap_err().to_string()
        };
        assert_eq!(text(&[vec![32.0]], &[]), "anchor sizes for 1 levels, but anchor ratios for 0");
        assert_eq!(text(&[], &[]), "level 0 has no anchor sizes");
        let (one, two) = (vec![1.0], vec![32.0, 64.0]);
        assert_eq!(
            text(&[two.clone(), two.clone()], &[one.clone(), vec![]]),
            "level 1 has no anchor ratios"
        );
        assert_eq!(
            text(&[two, vec![f32::NAN]], &[one.clone(), one]),
            "anchor size NaN of level 1 is not a positive number"
        );
    }

    #[test]
    fn empty_maps_have_no_anchors() {
        let anchors = AnchorGenerator::new(&[vec![8.0]], &[vec![1.0]]).unwrap();
        assert!(anchors.anchors([0, 0], &[[0, 0]])[0].is_empty());
        assert_eq!(anchors.anchors([3, 3], &[[1, 1]])[0], [BBox::new(-4.0, -4.0, 4.0, 4.0)]);
    }
}
