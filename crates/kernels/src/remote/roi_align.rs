//! RoIAlign on its way to the server, and there. The regions travel, the server cuts them into bins.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Remote};
use burn::server::RemoteServer;
use burn_ir::BackendIr;

use super::wire::{Reader, Scalars, call, finish, inputs};
use crate::level_rois::LevelRois;
use crate::roi_backend::RoiBackend;
use crate::{Roi, RoiAlignOptions};

const FIRST: &str = "longtail.roi_align";
const ONTO: &str = "longtail.roi_align_onto";
const BACKWARD: &str = "longtail.roi_align_backward";

impl RoiBackend for Remote {
    fn fused_roi_align(features: FloatTensor<Self>, rois: LevelRois) -> FloatTensor<Self> {
        let [output] = call(FIRST, [features], [rois.output_shape()], write(&rois));
        output
    }

    fn fused_roi_align_onto(
        output: FloatTensor<Self>,
        features: FloatTensor<Self>,
        rois: LevelRois,
    ) -> FloatTensor<Self> {
        let [output] = call(ONTO, [output, features], [rois.output_shape()], write(&rois));
        output
    }

    fn fused_roi_align_backward(gradient: FloatTensor<Self>, rois: LevelRois) -> FloatTensor<Self> {
        let [features] = call(BACKWARD, [gradient], [rois.features_shape()], write(&rois));
        features
    }
}

/// What a server does when such an operation arrives.
pub(super) fn register<B: Backend + BackendIr + RoiBackend>(server: RemoteServer) -> RemoteServer {
    let server = server.with_custom_op::<B, _>(FIRST, |handles, operation, _| {
        let [features] = inputs::<B, 1>(handles, operation);
        let output = B::fused_roi_align(features, read(&mut Reader::new(operation)));
        finish::<B, 1>(handles, operation, [output]);
    });
    let server = server.with_custom_op::<B, _>(ONTO, |handles, operation, _| {
        let [output, features] = inputs::<B, 2>(handles, operation);
        let output = B::fused_roi_align_onto(output, features, read(&mut Reader::new(operation)));
        finish::<B, 1>(handles, operation, [output]);
    });
    server.with_custom_op::<B, _>(BACKWARD, |handles, operation, _| {
        let [gradient] = inputs::<B, 1>(handles, operation);
        let features = B::fused_roi_align_backward(gradient, read(&mut Reader::new(operation)));
        finish::<B, 1>(handles, operation, [features]);
    })
}

fn write(level: &LevelRois) -> Scalars {
    let RoiAlignOptions { output_size: [height, width], scales, sampling_ratio, aligned } =
        &level.options;
    let mut scalars = Scalars::default().int(*height).int(*width).bool(*aligned);
    scalars = scalars.int(sampling_ratio.unwrap_or(0)).int(level.level).int(scales.len());
    scalars = scales.iter().fold(scalars, |scalars, &scale| scalars.float(scale));
    scalars = level.features.iter().fold(scalars, |scalars, &size| scalars.int(size));
    level.rois.iter().fold(scalars.int(level.rois.len()), |scalars, roi| {
        let scalars = scalars.int(roi.image).int(roi.level);
        roi.bbox.iter().fold(scalars, |scalars, &corner| scalars.float(corner))
    })
}

fn read(reader: &mut Reader) -> LevelRois {
    let output_size = [reader.int(), reader.int()];
    let aligned = reader.bool();
    let sampling_ratio = Some(reader.int()).filter(|&ratio| ratio > 0);
    let (level, num_scales) = (reader.int(), reader.int());
    let scales = (0..num_scales).map(|_| reader.float()).collect();
    let features = std::array::from_fn(|_| reader.int());
    let num_rois = reader.int();
    let roi = |_| {
        let (image, level) = (reader.int(), reader.int());
        Roi { image, level, bbox: std::array::from_fn(|_| reader.float()) }
    };
    let rois: Vec<Roi> = (0..num_rois).map(roi).collect();
    let options = RoiAlignOptions { output_size, scales, sampling_ratio, aligned };
    LevelRois::new(&rois, level, features, &options)
}
