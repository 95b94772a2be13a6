//! Correlation of many planes with many kernels: the forward pass and the input gradient.
#![allow(unsafe_code, reason = "calls the tile kernels on raw pointers")]

use super::blocks::{Blocking, SLACK, Slots, channel_offsets};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::planes::Planes;
use super::tile::{Kernels, OutputTile, Slot};

/// Above this many weights, a tile row of weights is kept in cache rather than the planes.
const WEIGHT_VALUES: usize = 96 << 10;

/// `target[n][m] = bias[m] + sum_c source[n][c] * weight[m][c]` for every image and group.
pub(super) struct Correlation<'a> {
    pub(super) planes: Planes,
    pub(super) batch_size: usize,
    pub(super) groups: usize,
    /// Per group.
    pub(super) source_channels: usize,
    /// Per group.
    pub(super) target_channels: usize,
    pub(super) source: &'a [f32],
    /// From [`Weights::pack`](super::packed_weights::Weights::pack).
    pub(super) weights: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    /// Values per plane of the target.
    pub(super) target_plane: usize,
    /// Target position of output `(y, x)`: `first + y * step[0] + x * step[1]`.
    pub(super) first: usize,
    pub(super) step: [usize; 2],
}

impl Correlation<'_> {
    /// Writes every value of `target` that belongs to an output position.
    pub(super) fn run(&self, target: &mut [f32]) {
        let [height, width] = self.planes.geometry().output;
        let tasks = self.batch_size * self.groups;
        if tasks == 0 || height == 0 || width == 0 || self.target_channels == 0 {
            return;
        }
        let kernels = Kernels::get();
        let blocking = Blocking::new(&self.planes, self.source_channels);
        let tile_blocks = self.target_channels.div_ceil(kernels.rows);
        let tasks = tasks * blocking.bands;
        let wanted = 2 * rayon::current_num_threads();
        let parts = wanted.div_ceil(tasks).min(tile_blocks);
        let blocks_per_part = tile_blocks.div_ceil(parts);
        let job = Job {
            kernels,
            correlation: self,
            channel_len: self.planes.channel_len(blocking.rows),
            offsets: channel_offsets(&self.planes, &blocking),
            slots: Slots::new(&self.planes, blocking.rows, kernels.lanes),
            start: self.start(kernels.rows),
            id: JobId::unique(),
            target: Target::new(target),
            blocking,
        };
        for_each(tasks * parts, |task| {
            let (task, part) = (task / parts, task % parts);
            let (image, band) = (task / job.blocking.bands, task % job.blocking.bands);
            let blocks = part * blocks_per_part..tile_blocks.min((part + 1) * blocks_per_part);
            job.run(image, band, blocks);
        });
    }

    /// What the sums of every group start from, padded to full tiles.
    fn start(&self, tile_rows: usize) -> Vec<f32> {
        let padded = self.target_channels.next_multiple_of(tile_rows);
        let mut start = vec![0.0; self.groups * padded];
        if let Some(bias) = self.bias {
            let groups = bias.chunks_exact(self.target_channels);
            for (start, bias) in start.chunks_exact_mut(padded).zip(groups) {
                start[..bias.len()].copy_from_slice(bias);
            }
        }
        start
    }
}

/// A correlation with all that its tasks share.
struct Job<'a> {
    kernels: &'static Kernels,
    correlation: &'a Correlation<'a>,
    blocking: Blocking,
    slots: Slots,
    offsets: Vec<usize>,
    channel_len: usize,
    start: Vec<f32>,
    target: Target,
    id: JobId,
}

impl Job<'_> {
    /// One image of one group, one band of rows, some blocks of output channels.
    fn run(&self, image: usize, band: usize, blocks: std::ops::Range<usize>) {
        let Correlation { planes, source_channels, target_channels, .. } = self.correlation;
        let [height, width] = planes.geometry().output;
        let first_row = band * self.blocking.rows;
        let rows = self.blocking.rows.min(height.saturating_sub(first_row));
        if rows == 0 {
            return;
        }
        let last;
        let slots = if rows == self.blocking.rows {
            &self.slots
        } else {
            last = Slots::new(planes, rows, self.kernels.lanes);
            &last
        };
        let [step_y, step_x] = self.correlation.step;
        let is_direct = slots.is_exact && step_y == width && step_x == 1;
        let plane = self.correlation.target_plane;
        let first_position = self.correlation.first + first_row * step_y;
        let image_start = image * target_channels * plane;
        let scratch = [
            self.blocking.channels * self.channel_len + SLACK,
            if is_direct { 0 } else { target_channels * slots.len },
        ];
        with_scratch(self.id, scratch, |packed, sums, is_kept| {
            let is_padded = is_kept && self.blocking.is_whole(*source_channels);
            for first_channel in (0..*source_channels).step_by(self.blocking.channels) {
                let channels = self.blocking.channels.min(source_channels - first_channel);
                let from = [image, first_channel, first_row];
                self.pack(from, channels, is_padded, packed);
                let (output, stride) = if is_direct {
                    // SAFETY: within the target: the position of the first output of the image.
                    (unsafe { self.target.pointer().add(image_start + first_position) }, plane)
                } else {
                    (sums.as_mut_ptr(), slots.len)
                };
                // SAFETY: `packed` covers all taps of all slots with its slack. `output` is the
                // part of the target that belongs to this task, or its own sums.
                unsafe {
                    self.tiles(
                        image,
                        first_channel,
                        channels,
                        &blocks,
                        slots,
                        packed,
                        output,
                        stride,
                    );
                }
            }
            if !is_direct {
                let rows_of = |block: &usize| block * self.kernels.rows;
                let range = rows_of(&blocks.start)..rows_of(&blocks.end).min(*target_channels);
                for channel in range {
                    let start = image_start + channel * plane + first_position;
                    let sums = &sums[channel * slots.len..(channel + 1) * slots.len];
                    for (row, sums) in sums.chunks(slots.pitch).take(rows).enumerate() {
                        let len = (width - 1) * step_x + 1;
                        // SAFETY: positions of this band, channel and phase are its own.
                        unsafe {
                            let to = self.target.pointer().add(start + row * step_y);
                            scatter(&sums[..width], to, step_x, len);
                        }
                    }
                }
            }
        });
    }

    fn pack(
        &self,
        [image, first, first_row]: [usize; 3],
        count: usize,
        is_padded: bool,
        packed: &mut [f32],
    ) {
        let planes = &self.correlation.planes;
        let [height, width] = planes.geometry().source;
        let plane = height * width;
        let start = (image * self.correlation.source_channels + first) * plane;
        let sources = &self.correlation.source[start..start + count * plane];
        if self.channel_len > 0 {
            let targets = packed.chunks_exact_mut(self.channel_len);
            for (source, target) in sources.chunks_exact(plane.max(1)).zip(targets) {
                planes.pack(source, [first_row, self.blocking.rows], is_padded, target);
            }
        }
        let end = count * self.channel_len;
        packed[end..end + SLACK].fill(0.0);
    }

    #[expect(clippy::too_many_arguments, reason = "one inner loop, cut out for reading")]
    unsafe fn tiles(
        &self,
        image: usize,
        first_channel: usize,
        channels: usize,
        blocks: &std::ops::Range<usize>,
        slots: &Slots,
        packed: &[f32],
        output: *mut f32,
        stride: usize,
    ) {
        let Correlation { source_channels, target_channels, groups, weights, .. } =
            self.correlation;
        let tile_rows = self.kernels.rows;
        let taps = self.correlation.planes.geometry().taps.len();
        let tile_blocks = target_channels.div_ceil(tile_rows);
        let group = image % groups;
        let block_len = source_channels * taps * tile_rows;
        let offsets = &self.offsets[..channels * taps];
        let tile = |block: usize, group_slots: &[Slot]| {
            let row = block * tile_rows;
            let weights_start =
                (group * tile_blocks + block) * block_len + first_channel * taps * tile_rows;
            let start = &self.start[group * tile_blocks * tile_rows + row..];
            // SAFETY: by the caller.
            unsafe {
                self.kernels.output(&OutputTile {
                    weights: weights[weights_start..].as_ptr(),
                    offsets,
                    input: packed.as_ptr(),
                    slots: group_slots,
                    output: output.add(row * stride),
                    stride,
                    rows: tile_rows.min(target_channels - row),
                    split: slots.split,
                    start: (first_channel == 0).then_some(start.as_ptr()),
                });
            }
        };
        if blocks.len() * tile_rows * offsets.len() > WEIGHT_VALUES {
            for block in blocks.clone() {
                slots.groups(self.kernels.vectors).for_each(|group_slots| tile(block, group_slots));
            }
        } else {
            for group_slots in slots.groups(self.kernels.vectors) {
                blocks.clone().for_each(|block| tile(block, group_slots));
            }
        }
    }
}

/// Writes `values` to every `step`-th of `len` positions.
///
/// # Safety
/// The positions must be writable and belong to the caller alone.
unsafe fn scatter(values: &[f32], to: *mut f32, step: usize, len: usize) {
    debug_assert_eq!(len, (values.len() - 1) * step + 1);
    // SAFETY: by the caller.
    unsafe {
        if step == 1 {
            std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len());
        } else {
            for (index, &value) in values.iter().enumerate() {
                *to.add(index * step) = value;
            }
        }
    }
}
