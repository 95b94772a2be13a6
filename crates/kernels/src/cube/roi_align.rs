//! RoIAlign: a unit per bin forward, a unit per pixel backward.
//!
//! Backward gathers: the unit of a pixel visits the RoIs that read in its tile, in order, and adds
//! up what flows back from the bins that read the pixel. It does the same multiplications as a form
//! that scatters with atomics, writes every pixel once, and needs neither zeros to begin with nor
//! atomics on floats, which WebGPU lacks. Hence there is no second, atomic form.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::roi_lists::{POOL_HEAD, PoolLists, SpreadLists, TILE};
use super::tensor::{elementwise, empty, upload_f32, upload_u32};
use crate::level_rois::LevelRois;
use crate::roi_backend::RoiBackend;

impl RoiBackend for CubeBackend {
    fn fused_roi_align(features: CubeTensor, rois: LevelRois) -> CubeTensor {
        let output = empty(&features, rois.output_shape());
        pool(output, features, &rois)
    }

    fn fused_roi_align_onto(
        output: CubeTensor,
        features: CubeTensor,
        rois: LevelRois,
    ) -> CubeTensor {
        let output = into_contiguous(output);
        let output = if output.can_mut() { output } else { output.copy() };
        pool(output, features, &rois)
    }

    fn fused_roi_align_backward(gradient: CubeTensor, rois: LevelRois) -> CubeTensor {
        let [_, channels, height, width] = rois.features;
        let num_units = rois.features.iter().product();
        if num_units == 0 || rois.images.iter().all(Vec::is_empty) {
            let (shape, device) = (rois.features_shape(), &gradient.device);
            return Self::float_zeros(shape, device, DType::F32.into());
        }
        let gradient = into_contiguous(gradient);
        let features = empty(&gradient, rois.features_shape());
        let lists = SpreadLists::new(&rois);
        let (cube_count, cube_dim) = elementwise(&gradient, num_units);
        spread_kernel::launch(
            &gradient.client.clone(),
            cube_count,
            cube_dim,
            upload_u32(lists.numbers, &gradient.device).into_buffer_arg(),
            upload_f32(lists.weights, &gradient.device).into_buffer_arg(),
            gradient.into_buffer_arg(),
            features.clone().into_buffer_arg(),
            lists.first_bin,
            height,
            width,
            num_units,
            channels,
            rois.output[2] * rois.output[3],
        );
        features
    }
}

/// Fills the rows of these RoIs.
fn pool(output: CubeTensor, features: CubeTensor, rois: &LevelRois) -> CubeTensor {
    let [_, channels, height, width] = rois.features;
    let [_, _, out_height, out_width] = rois.output;
    let lists = PoolLists::new(rois);
    let num_units = lists.num_rois * channels * out_height * out_width;
    if num_units == 0 {
        return output;
    }
    let features = into_contiguous(features);
    let device = &output.device;
    let (cube_count, cube_dim) = elementwise(&output, num_units);
    pool_kernel::launch(
        &output.client,
        cube_count,
        cube_dim,
        features.into_buffer_arg(),
        upload_u32(lists.numbers, device).into_buffer_arg(),
        upload_f32(lists.weights, device).into_buffer_arg(),
        output.clone().into_buffer_arg(),
        lists.first_offset,
        height * width,
        num_units,
        channels,
        out_height,
        out_width,
    );
    output
}

/// Unit `(roi, channel, bin)`: the weighted sum of what the bin reads.
#[cube(launch)]
fn pool_kernel(
    features: &[f32],
    numbers: &[u32],
    weights: &[f32],
    output: &mut [f32],
    first_offset: usize,
    plane: usize,
    num_units: usize,
    #[comptime] channels: usize,
    #[comptime] height: usize,
    #[comptime] width: usize,
) {
    if ABSOLUTE_POS >= num_units {
        terminate!();
    }
    let bins = comptime!(height * width);
    let bin = ABSOLUTE_POS % bins;
    let channel = ABSOLUTE_POS / bins % channels;
    let roi = ABSOLUTE_POS / bins / channels * comptime!(POOL_HEAD + height + 1 + width + 1);
    let row = numbers[roi] as usize;
    let image = numbers[roi + 1] as usize;
    let start = (image * channels + channel) * plane;
    let y = roi + POOL_HEAD + bin / width;
    let x = roi + comptime!(POOL_HEAD + height + 1) + bin % width;
    let first = numbers[x] as usize;
    let end = numbers[x + 1] as usize;
    let mut sum = 0.0f32;
    for vertical in numbers[y] as usize..numbers[y + 1] as usize {
        let line = start + numbers[first_offset + vertical] as usize;
        let mut of_line = 0.0f32;
        for horizontal in first..end {
            let pixel = line + numbers[first_offset + horizontal] as usize;
            of_line += weights[horizontal] * features[pixel];
        }
        sum += weights[vertical] * of_line;
    }
    output[(row * channels + channel) * bins + bin] = sum;
}

/// Unit `(image, channel, y, x)`: the weighted sum of the gradients of the bins that read the pixel.
#[cube(launch)]
fn spread_kernel(
    numbers: &[u32],
    weights: &[f32],
    gradient: &[f32],
    features: &mut [f32],
    first_bin: usize,
    height: usize,
    width: usize,
    num_units: usize,
    #[comptime] channels: usize,
    #[comptime] num_bins: usize,
) {
    if ABSOLUTE_POS >= num_units {
        terminate!();
    }
    let x = ABSOLUTE_POS % width;
    let y = ABSOLUTE_POS / width % height;
    let channel = ABSOLUTE_POS / width / height % channels;
    let image = ABSOLUTE_POS / width / height / channels;
    let tile_rows = (height + TILE - 1) / TILE;
    let tile_columns = (width + TILE - 1) / TILE;
    let tile = (image * tile_rows + y / TILE) * tile_columns + x / TILE;
    let mut sum = 0.0f32;
    for entry in numbers[tile] as usize..numbers[tile + 1] as usize {
        let roi = numbers[entry] as usize;
        let top = numbers[roi + 1] as usize;
        let left = numbers[roi + 3] as usize;
        let bottom = numbers[roi + 2] as usize;
        let right = numbers[roi + 4] as usize;
        if y >= top && y < bottom && x >= left && x < right {
            let start = (numbers[roi] as usize * channels + channel) * num_bins;
            let of_row = numbers[roi + 5] as usize + y - top;
            let of_column = numbers[roi + 6] as usize + x - left;
            let first = numbers[of_column] as usize;
            let end = numbers[of_column + 1] as usize;
            for vertical in numbers[of_row] as usize..numbers[of_row + 1] as usize {
                let line = start + numbers[first_bin + vertical] as usize;
                let mut of_line = 0.0f32;
                for horizontal in first..end {
                    let bin = line + numbers[first_bin + horizontal] as usize;
                    of_line += weights[horizontal] * gradient[bin];
                }
                sum += weights[vertical] * of_line;
            }
        }
    }
    features[ABSOLUTE_POS] = sum;
}
