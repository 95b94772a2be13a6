//! Drawing one image of the synthetic set.

use longtail_types::KeyedRng;

/// The classes, most frequent first: smooth shapes, then the same shapes striped.
pub(super) const CLASS_NAMES: [&str; 10] = [
    "circle",
    "square",
    "triangle",
    "cross",
    "ring",
    "striped circle",
    "striped square",
    "striped triangle",
    "striped cross",
    "striped ring",
];

const NUM_SHAPES: usize = 5;

/// The colour that images of a shape tend to.
const TINTS: [[f64; 3]; NUM_SHAPES] =
    [[1.0, 0.25, 0.2], [0.25, 0.9, 0.3], [0.3, 0.4, 1.0], [0.95, 0.9, 0.2], [0.9, 0.3, 0.95]];

/// Draws an image: `3 * size * size` bytes, `[size, size, 3]`. Coordinates run over `[-1, 1]`.
pub(super) fn draw(class: usize, size: usize, noise: f64, rng: &mut KeyedRng) -> Vec<u8> {
    let is_striped = class >= NUM_SHAPES;
    let center = [rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)];
    let radius = rng.uniform(0.5, 0.75);
    let axis = unit_vector(rng);

    let grey = rng.uniform(0.25, 0.6);
    let back: [f64; 3] = std::array::from_fn(|_| grey + rng.uniform(-0.12, 0.12));
    let strength = rng.uniform(0.3, 0.7);
    let stray = rng.uniform(0.0, 0.4);
    let front: [f64; 3] = std::array::from_fn(|c| {
        let tint = TINTS[class % NUM_SHAPES][c] * (1.0 - stray) + rng.unit() * stray;
        back[c] + strength * (tint - back[c])
    });

    let (slope, tilt) = (unit_vector(rng), rng.uniform(0.0, 0.2));
    let (texture_axis, texture) = (unit_vector(rng), rng.uniform(0.3, 0.6));
    let (period, phase) = (rng.uniform(0.3, 0.5), rng.unit());

    let mut pixels = Vec::with_capacity(3 * size * size);
    for (row, column) in (0..size).flat_map(|row| (0..size).map(move |column| (row, column))) {
        let [x, y] = [column, row].map(|i| (2 * i + 1) as f64 / size as f64 - 1.0);
        let local = [(x - center[0]) / radius, (y - center[1]) / radius];
        let local = [dot(local, axis), dot(local, [-axis[1], axis[0]])];
        let distance = distance(class % NUM_SHAPES, local) * radius * size as f64 / 2.0;
        let cover = (0.5 - distance).clamp(0.0, 1.0);
        let along = dot([x - center[0], y - center[1]], texture_axis);
        let wave = if is_striped {
            let position = along / period + phase;
            4.0 * (position - position.floor() - 0.5).abs() - 1.0
        } else {
            (along / radius).clamp(-1.0, 1.0)
        };
        let shade = tilt * dot([x, y], slope);
        for c in 0..3 {
            let front = front[c] + texture / 2.0 * wave;
            let value = back[c] + shade + cover * (front - back[c] - shade) + noise * rough(rng);
            pixels.push((255.0 * value.clamp(0.0, 1.0) + 0.5) as u8);
        }
    }
    pixels
}

/// Distance to the edge of a shape of about unit radius, negative inside.
fn distance(shape: usize, [u, v]: [f64; 2]) -> f64 {
    let radius = (u * u + v * v).sqrt();
    let (a, b) = (u.abs(), v.abs());
    match shape {
        0 => radius - 0.9,
        1 => a.max(b) - 0.8,
        2 => (-v).max(0.866 * a + 0.5 * v) - 0.5,
        3 => (a - 0.95).max(b - 0.32).min((a - 0.32).max(b - 0.95)),
        _ => (radius - 0.7).abs() - 0.22,
    }
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

/// A uniformly drawn direction, without trigonometry.
fn unit_vector(rng: &mut KeyedRng) -> [f64; 2] {
    loop {
        let [x, y] = [rng.uniform(-1.0, 1.0), rng.uniform(-1.0, 1.0)];
        let length = (x * x + y * y).sqrt();
        if (0.1..=1.0).contains(&length) {
            return [x / length, y / length];
        }
    }
}

/// About normal, mean 0, standard deviation 1: the sum of four uniform numbers.
fn rough(rng: &mut KeyedRng) -> f64 {
    let sum = (0..4).map(|_| rng.unit()).sum::<f64>();
    (sum - 2.0) * 3.0_f64.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each shape covers what its formula says, counted on a fine grid.
    #[test]
    fn shapes_have_their_areas() {
        let n = 400;
        let areas = [
            std::f64::consts::PI * 0.81,
            2.56,
            3.0 * 3.0_f64.sqrt() / 4.0,
            2.0 * 1.9 * 0.64 - 0.64 * 0.64,
            std::f64::consts::PI * (0.92 * 0.92 - 0.48 * 0.48),
        ];
        for (shape, expected) in areas.into_iter().enumerate() {
            let at = |i: usize| (i as f64 + 0.5) / n as f64 * 3.0 - 1.5;
            let inside = (0..n * n).filter(|i| distance(shape, [at(i % n), at(i / n)]) < 0.0);
            let area = inside.count() as f64 * 9.0 / (n * n) as f64;
            assert!((area - expected).abs() < 0.02, "{shape}: {area} {expected}");
        }
    }
}
