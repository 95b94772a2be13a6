//! Shifted planes: where every kernel element of a convolution finds its pixels.

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

    /// Stores one channel for output rows `first..first + rows`.
    pub(super) fn pack(&self, source: &[f32], first: usize, rows: usize, target: &mut [f32]) {
        let [height, width] = self.geometry.source;
        let [step_y, step_x] = self.geometry.step;
        let mut lines = target.chunks_exact_mut(self.pitch);
        for &[phase_y, phase_x] in &self.phases {
            // Columns `q` with `0 <= step_x * (q + low) + phase_x < width`.
            let start = self.low[1] * step_x as isize + phase_x as isize;
            let first_column = (-start).max(0).unsigned_abs().div_ceil(step_x);
            let end_column = (width as isize - start).max(0).unsigned_abs().div_ceil(step_x);
            let (first_column, end_column) =
                (first_column.min(self.pitch), end_column.min(self.pitch));
            let end_column = end_column.max(first_column);
            for (row, line) in (0..rows + self.extra_rows).zip(&mut lines) {
                let y = ((first + row) as isize + self.low[0]) * step_y as isize + phase_y as isize;
                if y < 0 || y >= height as isize || first_column == end_column {
                    line.fill(0.0);
                    continue;
                }
                let x = (start + (first_column * step_x) as isize) as usize;
                let source = &source[y as usize * width + x..(y as usize + 1) * width];
                line[..first_column].fill(0.0);
                line[end_column..].fill(0.0);
                let line = &mut line[first_column..end_column];
                if step_x == 1 {
                    line.copy_from_slice(&source[..line.len()]);
                } else {
                    let values = source.iter().step_by(step_x);
                    line.iter_mut().zip(values).for_each(|(to, &from)| *to = from);
                }
            }
        }
    }
}
