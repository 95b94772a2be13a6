//! What the classes of the synthetic detection set look like.

pub(super) const NUM_SHAPES: usize = 8;
const NUM_PATTERNS: usize = 6;
const FAMILIES: usize = NUM_SHAPES * NUM_PATTERNS;
const NUM_SHADES: usize = 4;
/// Shapes, patterns, tints and shades give no more.
pub(super) const MAX_CLASSES: usize = FAMILIES * NUM_SHAPES * NUM_SHADES;

const SHAPE_NAMES: [&str; NUM_SHAPES] =
    ["disc", "square", "triangle", "cross", "pill", "bow", "dome", "tee"];
const PATTERN_NAMES: [&str; NUM_PATTERNS] =
    ["plain", "striped", "cored", "halved", "rimmed", "quartered"];

/// Red, green, blue, yellow, magenta, cyan, orange, white.
pub(super) const TINTS: [[f64; 3]; NUM_SHAPES] = [
    [1.0, 0.25, 0.2],
    [0.25, 0.9, 0.3],
    [0.3, 0.4, 1.0],
    [0.95, 0.9, 0.2],
    [0.9, 0.3, 0.95],
    [0.2, 0.9, 0.95],
    [1.0, 0.6, 0.15],
    [0.92, 0.92, 0.92],
];

/// Shape, pattern and colour of a class. Classes of one shape and tint are a family.
///
/// Labels go by frequency. The shapes follow each other in turn, and the pattern moves on by one
/// from shape to shape and from round to round, so that frequent, common and rare classes occur in
/// every family and under every pattern. After 48 classes the tints move on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    shape: usize,
    pattern: usize,
    round: usize,
}

impl Look {
    pub(super) fn of(label: usize) -> Self {
        let (within, round) = (label % FAMILIES, label / FAMILIES);
        let shape = within % NUM_SHAPES;
        Self { shape, pattern: (within / NUM_SHAPES + shape) % NUM_PATTERNS, round }
    }

    pub(super) fn name(self) -> String {
        let name = format!("{} {}", PATTERN_NAMES[self.pattern], SHAPE_NAMES[self.shape]);
        if self.round == 0 { name } else { format!("{name} {}", self.round + 1) }
    }

    /// The colour that its objects tend to.
    pub(super) fn tint(self) -> [f64; 3] {
        let tint = TINTS[(self.shape + 3 * self.round) % NUM_SHAPES];
        let shade = 1.0 - 0.2 * (self.round / NUM_SHAPES) as f64;
        tint.map(|value| value * shade)
    }

    /// Distance to the edge of the shape of about unit radius, negative inside.
    pub(super) fn distance(self, [u, v]: [f64; 2]) -> f64 {
        let radius = (u * u + v * v).sqrt();
        let (a, b) = (u.abs(), v.abs());
        match self.shape {
            0 => radius - 0.9,
            1 => a.max(b) - 0.8,
            2 => (-v).max(0.866 * a + 0.5 * v) - 0.5,
            3 => (a - 0.95).max(b - 0.32).min((a - 0.32).max(b - 0.95)),
            4 => {
                let beyond = (a - 0.5).max(0.0);
                (beyond * beyond + v * v).sqrt() - 0.45
            }
            5 => (a - 0.92).max((b - 0.15 - 0.75 * a) * 0.8),
            6 => {
                let height = v + 0.45;
                ((u * u + height * height).sqrt() - 1.0).max(-height)
            }
            _ => (a - 0.85).max((v + 0.55).abs() - 0.3).min((a - 0.3).max(b - 0.85)),
        }
    }

    /// How much of a pixel at `[u, v]` is marked by the pattern, in `[0, 1]`. `distance` is that
    /// of the pixel; `radius` is in pixels.
    pub(super) fn mark(self, [u, v]: [f64; 2], distance: f64, radius: f64) -> f64 {
        let inside = match self.pattern {
            0 => return 0.0,
            1 => {
                let position = u / STRIPE_PERIOD + 0.25;
                ((position - position.floor() - 0.5).abs() - 0.25) * STRIPE_PERIOD
            }
            2 => 0.4 - (u * u + v * v).sqrt(),
            3 => v,
            4 => distance + 0.2,
            _ => u.abs().min(v.abs()) * if u * v > 0.0 { 1.0 } else { -1.0 },
        };
        (0.5 + inside * radius).clamp(0.0, 1.0)
    }
}

/// One dark and one bright stripe, in radii.
const STRIPE_PERIOD: f64 = 0.64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_class_looks_different_and_has_its_own_name() {
        let names: BTreeSet<_> = (0..MAX_CLASSES).map(|label| Look::of(label).name()).collect();
        assert_eq!(names.len(), MAX_CLASSES);
        let look = |label| {
            let look = Look::of(label);
            (look.shape, look.pattern, look.tint().map(|v| (v * 1e6) as u64))
        };
        assert_eq!((0..MAX_CLASSES).map(look).collect::<BTreeSet<_>>().len(), MAX_CLASSES);
        assert_eq!(Look::of(0).name(), "plain disc");
        assert_eq!(Look::of(51).name(), "halved cross 2");
    }

    #[test]
    fn families_and_patterns_have_frequent_common_and_rare_members() {
        for group in [0..9, 9..36, 36..48] {
            let shapes: BTreeSet<_> = group.clone().map(|label| Look::of(label).shape).collect();
            let patterns: BTreeSet<_> = group.map(|label| Look::of(label).pattern).collect();
            assert_eq!((shapes.len(), patterns.len()), (NUM_SHAPES, NUM_PATTERNS));
        }
    }

    /// Areas by formula, counted on a fine grid.
    #[test]
    fn shapes_have_their_areas() {
        let pi = std::f64::consts::PI;
        let areas = [
            pi * 0.81,
            2.56,
            3.0 * 3.0_f64.sqrt() / 4.0,
            2.0 * 1.9 * 0.64 - 0.64 * 0.64,
            pi * 0.45 * 0.45 + 0.9,
            4.0 * (0.15 * 0.92 + 0.375 * 0.92 * 0.92),
            pi / 2.0,
            1.7 * 0.6 + 0.6 * 1.1,
        ];
        let n = 400;
        for (shape, expected) in areas.into_iter().enumerate() {
            let at = |i: usize| (i as f64 + 0.5) / n as f64 * 3.0 - 1.5;
            let look = Look { shape, pattern: 0, round: 0 };
            let inside = (0..n * n).filter(|i| look.distance([at(i % n), at(i / n)]) < 0.0);
            let area = inside.count() as f64 * 9.0 / (n * n) as f64;
            assert!((area - expected).abs() < 0.02, "{shape}: {area} {expected}");
        }
    }
}
