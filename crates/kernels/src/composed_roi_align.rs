//! RoIAlign of ordinary tensor operations: a gather of pixels times weights.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::roi_align::{RoiAxis, axes};
use crate::{Roi, RoiAlignOptions};

/// Values gathered at a time, to bound the memory of temporaries.
const CHUNK_VALUES: usize = 1 << 25;

/// Composed form of [`roi_align`](crate::roi_align()).
pub fn roi_align(features: &[Tensor<4>], rois: &[Roi], options: &RoiAlignOptions) -> Tensor<4> {
    let device = features[0].device();
    let [_, channels, ..] = features[0].dims();
    let [height, width] = options.output_size;
    let bins = height * width;
    if rois.is_empty() || channels * bins == 0 {
        return Tensor::zeros([rois.len(), channels, height, width], &device);
    }

    // One table of all pixels of all levels, a row of channels each.
    let mut starts = Vec::with_capacity(features.len());
    let mut num_pixels = 0;
    let mut tables = Vec::with_capacity(features.len());
    for map in features {
        let [batch_size, _, height, width] = map.dims();
        starts.push(num_pixels);
        num_pixels += batch_size * height * width;
        let pixels = map.clone().permute([0, 2, 3, 1]);
        tables.push(pixels.reshape([batch_size * height * width, channels]));
    }
    let table = Tensor::cat(tables, 0);

    let reads: Vec<Reads> = rois
        .iter()
        .map(|roi| {
            let [_, _, height, width] = features[roi.level].dims();
            let [y, x] = axes(roi, [height, width], options);
            Reads { start: starts[roi.level] + roi.image * height * width, width, y, x }
        })
        .collect();
    // With a fixed ratio the number of pixels per bin is fixed too, and so are the shapes.
    let fixed = options.sampling_ratio.map_or(1, |ratio| 2 * ratio).max(1);
    let most = |axis: fn(&Reads) -> &RoiAxis, bins: usize| {
        let longest = reads
            .iter()
            .map(|read| (0..bins).map(|bin| axis(read).bin(bin).len()).max().unwrap_or(0));
        longest.max().unwrap_or(0).max(fixed)
    };
    let per_bin = [most(|read| &read.y, height), most(|read| &read.x, width)];
    let taps = per_bin[0] * per_bin[1];
    let chunk = (CHUNK_VALUES / (bins * taps * channels)).max(1);
    let pooled = reads.chunks(chunk).map(|reads| {
        let (indices, weights) = gather_lists(reads, options.output_size, per_bin, &device);
        let rows = reads.len() * bins;
        let values = table.clone().select(0, indices).reshape([rows, taps, channels]);
        let means: Tensor<3> = (values * weights).sum_dim(1); // [rows, 1, channels]
        means.reshape([reads.len(), height, width, channels]).permute([0, 3, 1, 2])
    });
    Tensor::cat(pooled.collect(), 0)
}

/// What one RoI reads.
struct Reads {
    /// First pixel of its map in the table.
    start: usize,
    /// Pixels per row of the map.
    width: usize,
    y: RoiAxis,
    x: RoiAxis,
}

/// Rows of the table `[rois * bins * taps]` and their weights `[rois * bins, taps, 1]`, filled up
/// with weight 0.
fn gather_lists(
    reads: &[Reads],
    [height, width]: [usize; 2],
    [taps_y, taps_x]: [usize; 2],
    device: &Device,
) -> (Tensor<1, Int>, Tensor<3>) {
    let (rows, taps) = (reads.len() * height * width, taps_y * taps_x);
    let mut indices = Vec::with_capacity(rows * taps);
    let mut weights = Vec::with_capacity(rows * taps);
    let mut full = 0;
    for read in reads {
        for bin_y in 0..height {
            for bin_x in 0..width {
                for &(y, weight_y) in read.y.bin(bin_y) {
                    for &(x, weight_x) in read.x.bin(bin_x) {
                        indices.push((read.start + y * read.width + x) as i32);
                        weights.push(weight_y * weight_x);
                    }
                }
                full += taps;
                indices.resize(full, 0);
                weights.resize(full, 0.0);
            }
        }
    }
    let indices = Tensor::from_data(TensorData::new(indices, [rows * taps]), device);
    (indices, Tensor::from_data(TensorData::new(weights, [rows, taps, 1]), device))
}
