//! The weight gradient of a convolution with many channels: for every kernel element a product of
//! output gradients with transposed pixels.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]

use std::ops::Range;

use super::matrix::{Block, Products, Start, parts};
use super::parallel::{Target, for_each};
use super::pixels::Grid;
use super::pointwise_gradient::{Transposed, transpose_lanes};
use super::pool::Buffer;
use super::winograd_pass::row_len;

/// `gradient[m][c][element] = sum over images and positions of output_gradient[m] * source[c]`
pub(super) struct ChannelGradient<'a> {
    pub(super) batch_size: usize,
    pub(super) source_channels: usize,
    pub(super) target_channels: usize,
    pub(super) source_size: [usize; 2],
    pub(super) target_size: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) source: &'a [f32],
    pub(super) output_gradient: &'a [f32],
}

impl ChannelGradient<'_> {
    /// Size of the part of a padded source plane that the kernel sees.
    fn seen(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let steps = (self.target_size[axis] - 1) * self.stride[axis];
            steps + (self.kernel[axis] - 1) * self.dilation[axis] + 1
        })
    }

    /// `[target_channels, source_channels, kernel_height, kernel_width]`
    pub(super) fn run(&self) -> Buffer {
        let elements = self.kernel[0] * self.kernel[1];
        let [height, width] = self.target_size;
        let len = self.target_channels * self.source_channels * elements;
        if len == 0 || self.batch_size * height * width == 0 {
            return Buffer::zeros(len);
        }
        let products = Products::get();
        let lanes = products.lanes;
        let vectors = self.source_channels.div_ceil(lanes);
        let panels: Vec<Range<usize>> = parts(vectors, products.vectors).collect();
        let row = vectors * lanes;
        let [_, columns] = self.seen();
        let pixel_len = row_len(self.source_channels, lanes);
        let mut sums = Buffer::new(elements * self.target_channels * row);
        let shared = Target::new(sums.as_mut_slice());
        let mut pixels = Buffer::new(self.seen().iter().product::<usize>() * pixel_len);
        for image in 0..self.batch_size {
            self.transpose(image, pixel_len, pixels.as_mut_slice());
            let pixels = pixels.as_slice();
            let plane = height * width;
            let gradient = &self.output_gradient[image * self.target_channels * plane..];
            for_each(elements * panels.len(), |task| {
                let (element, panel) = (task / panels.len(), &panels[task % panels.len()]);
                let y = element / self.kernel[1] * self.dilation[0];
                let x = element % self.kernel[1] * self.dilation[1];
                let first = panel.start * lanes;
                let block = Block {
                    a: gradient.as_ptr(),
                    a_steps: [plane, 1],
                    b: pixels[(y * columns + x) * pixel_len + first..].as_ptr(),
                    b_step: self.stride[1] * pixel_len,
                    // SAFETY: within the sums of this element.
                    c: unsafe {
                        shared.pointer().add(element * self.target_channels * row + first)
                    },
                    c_step: row,
                    depth: width,
                    runs: height,
                    run_steps: [width, self.stride[0] * columns * pixel_len],
                    rows: 0,
                    vectors: panel.len(),
                    start: if image == 0 { Start::Zero } else { Start::Output },
                    residual: None,
                    is_relu: false,
                };
                // SAFETY: every element sees transposed pixels only, and the sums of this panel
                // of this element belong to this task alone.
                unsafe { products.rows(&block, self.target_channels) };
            });
        }
        self.reorder(&sums, row, elements)
    }

    /// One image as `[y][x][channel]` with its padding.
    fn transpose(&self, image: usize, pixel_len: usize, to: &mut [f32]) {
        let lanes = Products::get().lanes;
        let [rows, columns] = self.seen();
        let [height, width] = self.source_size;
        let grid = Grid::dense([height, width]);
        let target = Target::new(to);
        for_each(rows, |row| {
            // SAFETY: every row has its own part.
            let line = unsafe { target.part(row * columns * pixel_len, columns * pixel_len) };
            let left = self.padding[1].min(columns);
            let inside = width.min(columns - left);
            let Some(y) = row.checked_sub(self.padding[0]).filter(|&y| y < height) else {
                return line.fill(0.0);
            };
            line[..left * pixel_len].fill(0.0);
            line[(left + inside) * pixel_len..].fill(0.0);
            if inside == 0 {
                return;
            }
            for first in (0..self.source_channels).step_by(lanes) {
                let start = (image * self.source_channels + first) * grid.plane;
                // SAFETY: this row of these channels lies in the source, and in the line.
                unsafe {
                    transpose_lanes(&Transposed {
                        from: self.source[start..].as_ptr(),
                        grid: &grid,
                        channels: lanes.min(self.source_channels - first),
                        pixels: &(y * width..y * width + inside),
                        to: line.as_mut_ptr().add(left * pixel_len + first),
                        step: pixel_len,
                    });
                }
            }
        });
    }

    /// From `[element][target][row of sources]` to `[target][source][element]`.
    fn reorder(&self, sums: &Buffer, row: usize, elements: usize) -> Buffer {
        let (sums, sources) = (sums.as_slice(), self.source_channels);
        let mut result = Buffer::new(self.target_channels * sources * elements);
        let shared = Target::new(result.as_mut_slice());
        for_each(self.target_channels, |target| {
            // SAFETY: every target channel has its own part.
            let to = unsafe { shared.part(target * sources * elements, sources * elements) };
            for element in 0..elements {
                let from = &sums[(element * self.target_channels + target) * row..][..sources];
                for (to, value) in to[element..].iter_mut().step_by(elements).zip(from) {
                    *to = *value;
                }
            }
        });
        result
    }
}
