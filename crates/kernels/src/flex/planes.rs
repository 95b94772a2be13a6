//! Shifted planes: where every kernel element of a convolution finds its pixels.
#![allow(unsafe_code, reason = "one version per instruction set")]

use super::simd::multiversion;
use super::tile::Kernels;

/// One kernel element: output `(y, x)` reads source `(y * step + self.y, x * step + self.x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) y: isize,
    pub(super) x: isize,
    /// Its index among all elements of the kernel.
    pub(super) element: usize,
}

/// A correlation of planes: `output[y][x] = sum_taps source[y * step + tap.y][x * step + tap.x]`
/// with zeros outside of the source.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// Size of a source plane.
    pub(super) source: [usize; 2],
    /// Size of an output plane.
    pub(super) output: [usize; 2],
    pub(super) step: [usize; 2],
    pub(super) taps: Vec<Tap>,
}

/// How the source planes of one channel are stored for a band of output rows.
///
/// With a step above 1 a plane is split into `step * step` phases, so that consecutive outputs read
/// consecutive values. Only phases that a tap reads are kept.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    geometry: Geometry,
    /// `[y, x]` remainders, one pair per stored plane.
    phases: Vec<[usize; 2]>,
    /// Smallest quotient of a tap, per axis.
    low: [isize; 2],
    /// Rows stored beyond the number of output rows.
    extra_rows: usize,
    /// Distance between rows.
    pub(super) pitch: usize,
}

fn split(tap: isize, step: usize) -> (isize, usize) {
    let step = step as isize;
    (tap.div_euclid(step), tap.rem_euclid(step) as usize)
}

impl Planes {
    pub(super) fn new(geometry: Geometry) -> Self {
        let [step_y, step_x] = geometry.step;
        let mut phases = Vec::new();
        let mut low = [isize::MAX; 2];
        let mut high = [isize::MIN; 2];
        for tap in &geometry.taps {
            let (quotient_y, phase_y) = split(tap.y, step_y);
            let (quotient_x, phase_x) = split(tap.x, step_x);
            if !phases.contains(&[phase_y, phase_x]) {
                phases.push([phase_y, phase_x]);
            }
            low = [low[0].min(quotient_y), low[1].min(quotient_x)];
            high = [high[0].max(quotient_y), high[1].max(quotient_x)];
        }
        if phases.is_empty() {
            (low, high) = ([0; 2], [0; 2]);
        }
        let extra_rows = (high[0] - low[0]) as usize;
        let pitch = geometry.output[1] + (high[1] - low[1]) as usize;
        Self { geometry, phases, low, extra_rows, pitch }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Values stored per channel for a band of `rows` output rows.
    pub(super) fn channel_len(&self, rows: usize) -> usize {
        self.phases.len() * (rows + self.extra_rows) * self.pitch
    }

    /// Distance of every tap from the output position, for channel `0`, in the order of the taps.
    pub(super) fn offsets(&self, rows: usize) -> Vec<usize> {
        let plane = (rows + self.extra_rows) * self.pitch;
        let [step_y, step_x] = self.geometry.step;
        let taps = self.geometry.taps.iter();
        taps.map(|tap| {
            let (quotient_y, phase_y) = split(tap.y, step_y);
            let (quotient_x, phase_x) = split(tap.x, step_x);
            let phase = self.phases.iter().position(|&p| p == [phase_y, phase_x]).unwrap_or(0);
            let (row, column) = (quotient_y - self.low[0], quotient_x - self.low[1]);
            phase * plane + row as usize * self.pitch + column as usize
        })
        .collect()
    }

    /// Stores one channel for output rows `first..first + rows`. With `is_padded` the padding is
    /// there already, from another image at the same place.
    pub(super) fn pack(
        &self,
        source: &[f32],
        [first, rows]: [usize; 2],
        is_padded: bool,
        target: &mut [f32],
    ) {
        let [height, width] = self.geometry.source;
        let [step_y, step_x] = self.geometry.step;
        let lines = rows + self.extra_rows;
        let inside_y = self.inside(0, first, lines, height);
        let planes = target.chunks_exact_mut(lines * self.pitch);
        for (&[phase_y, phase_x], plane) in self.phases.iter().zip(planes) {
            if !is_padded {
                plane.fill(0.0);
            }
            let lines = inside_y(phase_y);
            let columns = self.inside(1, 0, self.pitch, width)(phase_x);
            if lines.is_empty() || columns.is_empty() {
                continue;
            }
            let at = |axis: usize, index: usize, phase: usize, step: usize| {
                (index as isize + self.low[axis]) * step as isize + phase as isize
            };
            let y = at(0, first + lines.start, phase_y, step_y) as usize;
            let x = at(1, columns.start, phase_x, step_x) as usize;
            let source = &source[y * width + x..];
            let plane = &mut plane[lines.start * self.pitch + columns.start..];
            let source_pitch = step_y * width;
            if step_x == 1 {
                let size = [lines.len(), columns.len()];
                Kernels::get().copy((source, source_pitch), (plane, self.pitch), size);
            } else {
                for line in 0..lines.len() {
                    let from = &source[line * source_pitch..];
                    let to = &mut plane[line * self.pitch..][..columns.len()];
                    every(from, step_x, to);
                }
            }
        }
    }

    /// For a phase: which of `count` stored lines (or columns) from `first` on hold pixels.
    fn inside(
        &self,
        axis: usize,
        first: usize,
        count: usize,
        size: usize,
    ) -> impl Fn(usize) -> std::ops::Range<usize> {
        let step = self.geometry.step[axis];
        let low = (first as isize + self.low[axis]) * step as isize;
        move |phase| {
            // Indices `i` with `0 <= i * step + start < size`.
            let start = low + phase as isize;
            let below =
                |limit: isize| (limit - start).max(0).unsigned_abs().div_ceil(step).min(count);
            below(0)..below(size as isize).max(below(0))
        }
    }
}

multiversion! {
    /// Copies every `step`-th value.
    fn every(from: &[f32], step: usize, to: &mut [f32]) {
        if step == 2 {
            let (pairs, rest) = from.as_chunks::<2>();
            let len = to.len().min(pairs.len());
            for (to, from) in to.iter_mut().zip(pairs) {
                *to = from[0];
            }
            if let (Some(to), Some(from)) = (to.get_mut(len), rest.first()) {
                *to = *from;
            }
        } else {
            for (to, from) in to.iter_mut().zip(from.iter().step_by(step)) {
                *to = *from;
            }
        }
    }
}
