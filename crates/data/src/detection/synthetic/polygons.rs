//! From masks to polygons along the borders of pixels.

use longtail_types::Mask;

/// Polygons whose union is exactly the mask: `x, y` pairs in image pixels, clockwise.
///
/// Parts that touch at corners alone are polygons of their own. A part with a hole is cut through
/// it, since COCO's polygons have no holes.
pub(super) fn mask_polygons(mask: &Mask) -> Vec<Vec<[usize; 2]>> {
    let grid = Grid::padded(mask);
    let mut parts = grid.parts();
    parts.reverse();
    let mut polygons = Vec::new();
    while let Some(part) = parts.pop() {
        match part.hole() {
            None => polygons.push(part.trace()),
            Some(column) => {
                for half in [part.cut(|x| x >= column), part.cut(|x| x < column)] {
                    parts.extend(half.parts());
                }
            }
        }
    }
    let shift = |[x, y]: [usize; 2]| [x + mask.left() - 1, y + mask.top() - 1];
    polygons.into_iter().map(|polygon| polygon.into_iter().map(shift).collect()).collect()
}

/// Pixels with an empty border of one pixel around them.
struct Grid {
    width: usize,
    pixels: Vec<bool>,
}

impl Grid {
    fn padded(mask: &Mask) -> Self {
        let width = mask.width() + 2;
        let mut pixels = vec![false; width * (mask.height() + 2)];
        for (y, row) in mask.pixels().chunks_exact(mask.width().max(1)).enumerate() {
            let start = (y + 1) * width + 1;
            pixels[start..start + row.len()].copy_from_slice(row);
        }
        Self { width, pixels }
    }

    fn cut(&self, is_kept: impl Fn(usize) -> bool) -> Self {
        let pixels = self.pixels.iter().enumerate();
        let pixels = pixels.map(|(i, &is_set)| is_set && is_kept(i % self.width)).collect();
        Self { width: self.width, pixels }
    }

    /// The parts connected over the sides of pixels.
    fn parts(&self) -> Vec<Self> {
        let mut left = self.pixels.clone();
        let mut parts = Vec::new();
        while let Some(start) = left.iter().position(|&is_set| is_set) {
            let mut part = vec![false; left.len()];
            let mut open = vec![start];
            left[start] = false;
            while let Some(at) = open.pop() {
                part[at] = true;
                for next in [at - 1, at + 1, at - self.width, at + self.width] {
                    if std::mem::take(&mut left[next]) {
                        open.push(next);
                    }
                }
            }
            parts.push(Self { width: self.width, pixels: part });
        }
        parts
    }

    /// A column through a hole: empty pixels that are not connected to the border, not even over
    /// corners.
    fn hole(&self) -> Option<usize> {
        let mut is_left: Vec<bool> = self.pixels.iter().map(|&is_set| !is_set).collect();
        let mut open = vec![0];
        is_left[0] = false;
        let (width, height) = (self.width, self.pixels.len() / self.width);
        while let Some(at) = open.pop() {
            let (x, y) = (at % width, at / width);
            for near_y in y.saturating_sub(1)..(y + 2).min(height) {
                for near_x in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = near_y * width + near_x;
                    if std::mem::take(&mut is_left[next]) {
                        open.push(next);
                    }
                }
            }
        }
        is_left.iter().position(|&is_hole| is_hole).map(|at| at % width)
    }

    /// The outline of a connected part without holes, from its first pixel on, clockwise.
    fn trace(&self) -> Vec<[usize; 2]> {
        let Some(first) = self.pixels.iter().position(|&is_set| is_set) else {
            return Vec::new();
        };
        let start = [first % self.width, first / self.width];
        // Corner `[x, y]` is the upper left one of pixel `[x, y]`.
        let is_set = |x: usize, y: usize| self.pixels[y * self.width + x];
        let (mut corner, mut heading) = (start, Heading::Right);
        let mut outline = Vec::new();
        loop {
            let [x, y] = corner;
            // The pixels ahead of the corner, left and right of the way.
            let (on_left, on_right) = match heading {
                Heading::Right => (is_set(x, y - 1), is_set(x, y)),
                Heading::Down => (is_set(x, y), is_set(x - 1, y)),
                Heading::Left => (is_set(x - 1, y), is_set(x - 1, y - 1)),
                Heading::Up => (is_set(x - 1, y - 1), is_set(x, y - 1)),
            };
            // The inside is on the right; where pixels touch at a corner the way stays with its
            // own.
            let next = match (on_left, on_right) {
                (_, false) => heading.turned_right(),
                (true, true) => heading.turned_left(),
                (false, true) => heading,
            };
            if next != heading || corner == start {
                outline.push(corner);
            }
            heading = next;
            corner = match heading {
                Heading::Right => [x + 1, y],
                Heading::Down => [x, y + 1],
                Heading::Left => [x - 1, y],
                Heading::Up => [x, y - 1],
            };
            if corner == start {
                return outline;
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heading {
    Right,
    Down,
    Left,
    Up,
}

impl Heading {
    fn turned_right(self) -> Self {
        match self {
            Self::Right => Self::Down,
            Self::Down => Self::Left,
            Self::Left => Self::Up,
            Self::Up => Self::Right,
        }
    }

    fn turned_left(self) -> Self {
        self.turned_right().turned_right().turned_right()
    }
}

#[cfg(test)]
mod tests {
    use longtail_types::{KeyedRng, Stream};

    use super::*;

    fn mask(rows: &[&str]) -> Mask {
        let pixels = rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect();
        Mask::new([3, 5], [rows.len(), rows[0].len()], pixels).unwrap()
    }

    /// Whether a pixel's centre is inside: crossings of the ray to its left.
    fn contains(polygon: &[[usize; 2]], x: usize, y: usize) -> bool {
        let edges = polygon.iter().zip(polygon.iter().cycle().skip(1));
        let crossed = edges.filter(|(a, b)| {
            let (low, high) = (a[1].min(b[1]), a[1].max(b[1]));
            a[0] == b[0] && a[0] <= x && (low..high).contains(&y)
        });
        crossed.count() % 2 == 1
    }

    fn check(mask: &Mask) -> usize {
        let polygons = mask_polygons(mask);
        let mut covered = 0;
        for y in 0..mask.top() + mask.height() + 2 {
            for x in 0..mask.left() + mask.width() + 2 {
                let times = polygons.iter().filter(|polygon| contains(polygon, x, y)).count();
                assert_eq!(times, usize::from(mask.get(x, y)), "{x} {y} {polygons:?}");
                covered += times;
            }
        }
        assert_eq!(covered, mask.area());
        for polygon in &polygons {
            // Shoelace formula: every polygon is one loop of positive sense.
            let edges = polygon.iter().zip(polygon.iter().cycle().skip(1));
            let twice: i64 = edges.map(|(a, b)| (a[0] * b[1]) as i64 - (b[0] * a[1]) as i64).sum();
            assert!(twice > 0 && polygon.len() >= 4);
        }
        polygons.len()
    }

    #[test]
    fn outlines_by_hand() {
        let square = mask(&["##", "##"]);
        assert_eq!(mask_polygons(&square), [[[3, 5], [5, 5], [5, 7], [3, 7]]]);
        assert_eq!(check(&mask(&["#"])), 1);
        assert_eq!(check(&mask(&["#.", ".#"])), 2);
        assert_eq!(check(&mask(&["###", "#.#", "###"])), 2, "cut through the hole");
        assert_eq!(check(&mask(&["##.", "#.#", "###"])), 1, "open over a corner: no hole");
        assert_eq!(check(&mask(&["..", ".."])), 0);
        assert_eq!(check(&mask(&["#####", "#.#.#", "#####", "#.#.#", "#####"])), 3);
    }

    #[test]
    fn random_masks_are_covered_exactly_once() {
        let mut rng = KeyedRng::new(0, Stream::Synthetic, 0, 0);
        for round in 0..200 {
            let density = f64::from(round % 10) / 10.0;
            let pixels = (0..9 * 12).map(|_| rng.chance(density)).collect();
            check(&Mask::new([1, 2], [9, 12], pixels).unwrap());
        }
    }
}
