//! The pixels of a synthetic image.

use longtail_types::KeyedRng;

use super::SyntheticDetectionConfig;
use super::look::TINTS;
use super::scene::Object;
use crate::RgbImage;

type Color = [f64; 3];

/// Draws background, clutter, objects from back to front, and noise.
pub(super) fn paint(
    config: &SyntheticDetectionConfig,
    objects: &[Object],
    rng: &mut KeyedRng,
) -> RgbImage {
    let (width, height) = (config.width, config.height);
    let side = width.min(height) as f64;
    let grey = rng.uniform(0.2, 0.55);
    let mut canvas = Canvas { width, height, pixels: vec![[grey; 3]; width * height] };

    for _ in 0..3 {
        let near = |grey: f64, rng: &mut KeyedRng| grey + rng.uniform(-0.15, 0.15);
        let color = std::array::from_fn(|_| near(grey, rng));
        let (long, wide) = (rng.uniform(0.1, 0.5) * side, rng.uniform(0.1, 0.3) * side);
        canvas.stroke(Stroke::draw([width, height], long, wide, color, rng));
    }
    for _ in 0..rng.below(config.distractors + 1) {
        let tint = TINTS[rng.below(TINTS.len())];
        let color = std::array::from_fn(|c| 0.6 * tint[c] + 0.4 * rng.unit());
        let is_speck = rng.chance(0.5);
        let long = if is_speck { 0.0 } else { rng.uniform(0.05, 0.3) * side };
        let wide = rng.uniform(0.006, if is_speck { 0.03 } else { 0.015 }) * side;
        canvas.stroke(Stroke::draw([width, height], long, wide, color, rng));
    }
    for object in objects.iter().rev() {
        canvas.object(object, grey, rng);
    }
    canvas.finish(config.noise, rng)
}

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Color>,
}

/// A straight stroke with round ends.
struct Stroke {
    center: [f64; 2],
    axis: [f64; 2],
    half_length: f64,
    half_width: f64,
    color: Color,
}

impl Stroke {
    fn draw(
        [width, height]: [usize; 2],
        half_length: f64,
        half_width: f64,
        color: Color,
        rng: &mut KeyedRng,
    ) -> Self {
        let center = [rng.uniform(0.0, width as f64), rng.uniform(0.0, height as f64)];
        Self { center, axis: unit_vector(rng), half_length, half_width, color }
    }
}

impl Canvas {
    fn blend(&mut self, x: usize, y: usize, color: Color, cover: f64) {
        let pixel = &mut self.pixels[y * self.width + x];
        for (value, color) in pixel.iter_mut().zip(color) {
            *value += cover * (color - *value);
        }
    }

    fn stroke(&mut self, stroke: Stroke) {
        let [c, s] = stroke.axis;
        let width = self.width;
        for (y, x) in (0..self.height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let dx = x as f64 + 0.5 - stroke.center[0];
            let dy = y as f64 + 0.5 - stroke.center[1];
            let beyond = ((dx * c + dy * s).abs() - stroke.half_length).max(0.0);
            let aside = dy * c - dx * s;
            let distance = (beyond * beyond + aside * aside).sqrt() - stroke.half_width;
            let cover = (0.5 - distance).clamp(0.0, 1.0);
            if cover > 0.0 {
                self.blend(x, y, stroke.color, cover);
            }
        }
    }

    fn object(&mut self, object: &Object, grey: f64, rng: &mut KeyedRng) {
        let figure = &object.figure;
        let (strength, stray) = (rng.uniform(0.7, 1.0), rng.uniform(0.0, 0.3));
        let tint = figure.look.tint();
        let color: Color = std::array::from_fn(|c| {
            let tint = tint[c] * (1.0 - stray) + rng.unit() * stray;
            grey + strength * (tint - grey)
        });
        let shade = rng.uniform(-0.1, 0.1);
        let [columns, rows] = figure.window([self.height, self.width]);
        for (y, x) in rows.flat_map(|y| columns.clone().map(move |x| (y, x))) {
            let local = figure.local(x, y);
            let distance = figure.look.distance(local);
            let cover = (0.5 - distance * figure.radius).clamp(0.0, 1.0);
            if cover > 0.0 {
                let mark = figure.look.mark(local, distance, figure.radius);
                let light = (1.0 + shade * local[0]) * (1.0 - 0.75 * mark);
                self.blend(x, y, color.map(|value| value * light), cover);
            }
        }
    }

    fn finish(self, noise: f64, rng: &mut KeyedRng) -> RgbImage {
        let mut bytes = Vec::with_capacity(3 * self.pixels.len());
        for pixel in self.pixels {
            // 48 random bits: twelve numbers of 4 bits, four per channel.
            let bits = (rng.unit() * (1_u64 << 53) as f64) as u64;
            for (channel, value) in pixel.into_iter().enumerate() {
                let part = |i: usize| (bits >> (4 * (4 * channel + i))) & 15;
                let sum = part(0) + part(1) + part(2) + part(3);
                // Mean 30, variance 4 (16^2 - 1) / 12 = 85: nearly normal.
                let value = value + noise * (sum as f64 - 30.0) / 85.0_f64.sqrt();
                bytes.push((255.0 * value.clamp(0.0, 1.0) + 0.5) as u8);
            }
        }
        RgbImage::new(self.width, self.height, bytes)
            .unwrap_or_else(|| RgbImage::filled(self.width, self.height, [0; 3]))
    }
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
