//! The weight gradient of a convolution: every pixel of the output gradient times every pixel that
//! the kernel saw there.
#![allow(unsafe_code, reason = "calls the tile kernel on raw pointers")]

use rayon::prelude::*;

use super::blocks::{Blocking, SLACK, Slots, channel_offsets};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::planes::Planes;
use super::pool::Buffer;
use super::tile::{GradientTile, Kernels, Slot};

/// Partial sums, at most. A fixed number, so that the result does not depend on the threads.
const MAX_CHUNKS: usize = 8;
/// Values of all partial sums together, at most.
const MAX_PARTIAL_VALUES: usize = 8 << 20;
/// Values of planes and output gradients worked on together.
const BLOCK_VALUES: usize = 96 << 10;
/// Vectors of pixels worked on together.
const BLOCK_SLOTS: usize = 128;

/// `gradient[m][c][tap] = sum over images and positions of output_gradient[m] * source[c][tap]`.
pub(super) struct WeightGradient<'a> {
    pub(super) planes: Planes,
    pub(super) batch_size: usize,
    pub(super) groups: usize,
    /// Per group.
    pub(super) source_channels: usize,
    /// Per group.
    pub(super) target_channels: usize,
    pub(super) source: &'a [f32],
    pub(super) output_gradient: &'a [f32],
}

/// A weight gradient with all that its tasks share.
struct Job<'a> {
    kernels: &'static Kernels,
    gradient: &'a WeightGradient<'a>,
    blocking: Blocking,
    channel_len: usize,
    offsets: Vec<usize>,
    id: JobId,
    /// Output channels per task, at most.
    rows_per_part: usize,
}

impl WeightGradient<'_> {
    /// `[groups * target_channels, source_channels, taps]`
    pub(super) fn run(&self) -> Buffer {
        let taps = self.planes.geometry().taps.len();
        let group_len = self.target_channels * self.source_channels * taps;
        let len = self.groups * group_len;
        let kernels = Kernels::get();
        let blocking = Blocking::new(&self.planes, self.source_channels);
        let units = self.batch_size * blocking.bands;
        if len == 0 || units == 0 {
            return Buffer::zeros(len);
        }
        let chunks = MAX_CHUNKS.min(units).min((MAX_PARTIAL_VALUES / len).max(1));
        let row_blocks = self.target_channels.div_ceil(kernels.gradient_rows);
        let parts = MAX_CHUNKS.div_ceil(chunks * self.groups).min(row_blocks);
        let rows_per_part = row_blocks.div_ceil(parts) * kernels.gradient_rows;
        let job = Job {
            kernels,
            gradient: self,
            channel_len: self.planes.channel_len(blocking.rows),
            offsets: channel_offsets(&self.planes, &blocking),
            blocking,
            id: JobId::unique(),
            rows_per_part,
        };
        let mut partial = Buffer::zeros(chunks * len);
        let target = Target::new(partial.as_mut_slice());
        for_each(chunks * self.groups * parts, |task| {
            let (chunk, rest) = (task / (self.groups * parts), task % (self.groups * parts));
            let (group, part) = (rest / parts, rest % parts);
            let rows = part * rows_per_part..self.target_channels.min((part + 1) * rows_per_part);
            if rows.is_empty() {
                return;
            }
            // SAFETY: the rows of this part of this group of this chunk are its own.
            let sums = unsafe {
                let row_len = self.source_channels * taps;
                let start = chunk * len + group * group_len + rows.start * row_len;
                target.part(start, rows.len() * row_len)
            };
            job.run(group, units * chunk / chunks..units * (chunk + 1) / chunks, rows, sums);
        });
        sum_chunks(partial, chunks, len)
    }
}

/// Adds the chunks in their order.
fn sum_chunks(partial: Buffer, chunks: usize, len: usize) -> Buffer {
    if chunks == 1 {
        return partial;
    }
    const PIECE: usize = 16 << 10;
    let mut sum = Buffer::new(len);
    sum.as_mut_slice().par_chunks_mut(PIECE).enumerate().for_each(|(index, sum)| {
        let piece = index * PIECE..index * PIECE + sum.len();
        sum.copy_from_slice(&partial.as_slice()[piece.clone()]);
        for chunk in partial.as_slice().chunks_exact(len).skip(1) {
            sum.iter_mut().zip(&chunk[piece.clone()]).for_each(|(sum, value)| *sum += value);
        }
    });
    sum
}

impl Job<'_> {
    /// Sums a range of units (image and band) into `sums`, the gradient of some output channels.
    fn run(
        &self,
        group: usize,
        units: std::ops::Range<usize>,
        rows: std::ops::Range<usize>,
        sums: &mut [f32],
    ) {
        let WeightGradient { planes, source_channels, .. } = self.gradient;
        let [height, _] = planes.geometry().output;
        let Blocking { rows: band_rows, bands, channels } = self.blocking;
        let full = Slots::new(planes, band_rows, self.kernels.lanes);
        let source_len = channels * self.channel_len;
        let gradient_len = self.rows_per_part * (band_rows * planes.pitch + self.kernels.lanes);
        let is_whole = self.blocking.is_whole(*source_channels);
        let images = if is_whole {
            let by_memory = BLOCK_VALUES / (source_len + gradient_len).max(1);
            by_memory.min(BLOCK_SLOTS / full.slots.len().max(1)).max(1)
        } else {
            1
        };
        let slots_of = |slots: &Slots, count: usize, image_len: usize| -> Vec<Slot> {
            let images = 0..count;
            let shifted = images.flat_map(|image| {
                slots.slots.iter().map(move |slot| Slot {
                    input: slot.input + image * source_len,
                    output: slot.output + image * image_len,
                })
            });
            shifted.collect()
        };
        let scratch = [images * source_len + SLACK, images * gradient_len];
        with_scratch(self.id, scratch, |packed, copied, is_kept| {
            if is_whole && !is_kept {
                packed.fill(0.0); // the padding of all images of all blocks of this job
            }
            let mut unit = units.start;
            while unit < units.end {
                let count = images.min(units.end - unit);
                let first_row = unit % bands * band_rows;
                let used_rows = band_rows.min(height.saturating_sub(first_row));
                let partial;
                let slots = if used_rows == band_rows {
                    &full
                } else {
                    partial = Slots::new(planes, used_rows, self.kernels.lanes);
                    &partial
                };
                let (gradient, stride, image_len) =
                    self.output_gradient(group, unit, count, &rows, slots, first_row, copied);
                let image_slots = slots_of(slots, count, image_len);
                for first_channel in (0..*source_channels).step_by(channels) {
                    let channels = channels.min(source_channels - first_channel);
                    for image in 0..count {
                        let packed = &mut packed[image * source_len..];
                        let from = [(unit + image) / bands, first_channel, first_row];
                        self.pack(group, from, channels, is_whole, packed);
                    }
                    let end = (count - 1) * source_len + channels * self.channel_len;
                    packed[end..end + SLACK].fill(0.0);
                    // SAFETY: `packed` covers all taps of all slots with its slack, `gradient` all
                    // slots of all rows.
                    unsafe {
                        self.tiles(
                            first_channel,
                            channels,
                            &rows,
                            &image_slots,
                            slots.split,
                            packed,
                            gradient,
                            stride,
                            sums,
                        );
                    }
                }
                unit += count;
            }
        });
    }

    /// The output gradient of `count` images: where it lies if the slots cover output positions
    /// only, else a copy with zeros wherever a slot covers anything else.
    /// Returns it with the distance between channels and between images.
    #[expect(clippy::too_many_arguments, reason = "one step of the loop, cut out for reading")]
    fn output_gradient(
        &self,
        group: usize,
        unit: usize,
        count: usize,
        rows: &std::ops::Range<usize>,
        slots: &Slots,
        first_row: usize,
        copied: &mut [f32],
    ) -> (*const f32, usize, usize) {
        let WeightGradient { planes, target_channels, groups, output_gradient, .. } = self.gradient;
        let [height, width] = planes.geometry().output;
        let plane = height * width;
        let image_len = groups * target_channels * plane;
        let start = |image: usize| {
            image * image_len + (group * target_channels + rows.start) * plane + first_row * width
        };
        let image = unit / self.blocking.bands;
        if slots.is_exact {
            return (output_gradient[start(image)..].as_ptr(), plane, image_len);
        }
        let copied_image = rows.len() * slots.len;
        let used_rows = self.blocking.rows.min(height - first_row);
        for (index, copied) in copied.chunks_exact_mut(copied_image).take(count).enumerate() {
            let gradient = &output_gradient[start(image + index)..];
            for (channel, copied) in copied.chunks_exact_mut(slots.len).enumerate() {
                copied.fill(0.0);
                let size = [used_rows, width];
                self.kernels.copy(
                    (&gradient[channel * plane..], width),
                    (copied, slots.pitch),
                    size,
                );
            }
        }
        (copied.as_ptr(), slots.len, copied_image)
    }

    fn pack(
        &self,
        group: usize,
        [image, first_channel, first_row]: [usize; 3],
        channels: usize,
        is_padded: bool,
        packed: &mut [f32],
    ) {
        let WeightGradient { planes, source_channels, groups, source, .. } = self.gradient;
        let [height, width] = planes.geometry().source;
        let plane = height * width;
        let start = ((image * groups + group) * source_channels + first_channel) * plane;
        let sources = source[start..start + channels * plane].chunks_exact(plane.max(1));
        for (source, target) in sources.zip(packed.chunks_exact_mut(self.channel_len)) {
            planes.pack(source, [first_row, self.blocking.rows], is_padded, target);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one inner loop, cut out for reading")]
    unsafe fn tiles(
        &self,
        first_channel: usize,
        channels: usize,
        rows: &std::ops::Range<usize>,
        slots: &[Slot],
        split: usize,
        packed: &[f32],
        output_gradient: *const f32,
        stride: usize,
        sums: &mut [f32],
    ) {
        let Kernels { gradient_rows, gradient_taps, .. } = *self.kernels;
        let taps = self.gradient.planes.geometry().taps.len();
        let row_len = self.gradient.source_channels * taps;
        let offsets = &self.offsets[..channels * taps];
        for row in (0..rows.len()).step_by(gradient_rows) {
            for (block, offsets) in offsets.chunks(gradient_taps).enumerate() {
                let first_tap = first_channel * taps + block * gradient_taps;
                // SAFETY: by the caller; the sums hold `rows.len()` rows of `row_len` values.
                unsafe {
                    self.kernels.gradient(&GradientTile {
                        output_gradient: output_gradient.add(row * stride),
                        stride,
                        rows: gradient_rows.min(rows.len() - row),
                        input: packed.as_ptr(),
                        offsets,
                        slots,
                        split,
                        gradient: sums.as_mut_ptr().add(row * row_len + first_tap),
                        gradient_stride: row_len,
                    });
                }
            }
        }
    }
}
