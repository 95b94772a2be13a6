//! Pooling of regions from two levels, with the odd ones among them.

use burn::tensor::Device;
use longtail_kernels::{Roi, RoiAlignOptions, roi_align};

use crate::case::{Case, Quantity, Record};
use crate::error::ConformanceError;
use crate::input::tensor;
use crate::tolerance::Arithmetic::Sums;

pub(crate) fn cases() -> Vec<Case> {
    let compute = |sampling_ratio: Option<usize>, aligned: bool| {
        move |device: &Device, record: &mut Record| pool(device, record, sampling_ratio, aligned)
    };
    vec![
        Case::new("RoIAlign, two samples a bin", Sums, compute(Some(2), false)),
        Case::new("RoIAlign, adaptive and aligned", Sums, compute(None, true)),
    ]
}

fn pool(
    device: &Device,
    record: &mut Record,
    sampling_ratio: Option<usize>,
    aligned: bool,
) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let fine = tensor("fine", [2, 5, 12, 16], device).require_grad();
    let coarse = tensor("coarse", [2, 5, 6, 8], device).require_grad();
    let options =
        RoiAlignOptions { output_size: [3, 4], scales: vec![0.25, 0.125], sampling_ratio, aligned };
    let roi = |image: usize, level: usize, bbox: [f32; 4]| Roi { image, level, bbox };
    let rois = [
        roi(0, 0, [3.0, 5.0, 40.5, 30.25]),
        roi(1, 0, [10.0, 2.0, 22.0, 47.0]),
        roi(1, 1, [0.0, 0.0, 64.0, 48.0]),
        roi(0, 1, [-20.0, -9.0, 30.0, 70.0]), // beyond the borders
        roi(0, 1, [33.0, 21.0, 33.0, 21.0]),  // a point
        roi(1, 0, [90.0, 90.0, 99.0, 99.0]),  // outside
        roi(0, 0, [4.0, 5.0, 5.0, 6.0]),      // smaller than a pixel of the map
    ];
    let features = [fine.clone(), coarse.clone()];
    let pooled = roi_align(&features, &rois, &options);
    record.tensor(Quantity::Forward, pooled.clone())?;
    let weights = tensor("gradient", pooled.dims(), device);
    let gradients = (pooled * weights).sum().backward();
    record.gradient("fine map", &fine, &gradients)?;
    record.gradient("coarse map", &coarse, &gradients)
}
