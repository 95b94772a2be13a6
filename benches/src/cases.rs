//! The cases of every suite.

use longtail::losses::ClassificationLossConfig;

use crate::detector::{DetectorCase, WHOLE};
use crate::work::{Case, ConvShape, LossShape, Network, Pass, Suite, Work};

/// COCO, Objects365, LVIS, V3Det.
const CLASSES: [usize; 4] = [80, 365, 1203, 13_204];
const ROWS: [usize; 4] = [512, 2048, 4096, 16_384];

/// The cases of a suite; `is_quick` takes a few small ones.
pub(crate) fn cases(suite: Suite, is_quick: bool) -> Vec<Case> {
    match suite {
        Suite::DenseHead if is_quick => vec![loss(suite, "focal", [1000, 80])],
        Suite::DenseHead => ["eql", "focal"].map(|m| loss(suite, m, [100_000, 1203])).into(),
        Suite::Losses => losses(is_quick),
        Suite::RoiAlign if is_quick => roi_align([1, 16, 4, 64]),
        Suite::RoiAlign => [[1, 512, 256, 800], [2, 512, 256, 320]].map(roi_align).concat(),
        Suite::Nms if is_quick => vec![nms([200, 5])],
        Suite::Nms => {
            let groups = |groups| [1000, 2000, 4000, 8000].map(|boxes| nms([boxes, groups]));
            [5, 80].map(groups).concat()
        }
        Suite::Conv => convolutions(is_quick),
        Suite::Backbone if is_quick => vec![backbone(Network::Resnet50, [1, 64], Pass::Forward)],
        Suite::Backbone => {
            use {Network::*, Pass::*};
            vec![
                backbone(Resnet50, [1, 320], Forward),
                backbone(Resnet50, [2, 320], Forward),
                backbone(Resnet50Fpn, [2, 320], Forward),
                backbone(Resnet50Fpn, [2, 320], ForwardBackward),
            ]
        }
        Suite::Detector if is_quick => vec![detector(DetectorCase::Lvis)],
        Suite::Detector => DetectorCase::ALL.map(detector).into(),
        Suite::Loader if is_quick => vec![loader(8)],
        Suite::Loader => vec![loader(256)],
        Suite::Evaluation if is_quick => vec![evaluation([20, 5])],
        Suite::Evaluation => vec![evaluation([1000, 80]), evaluation([5000, 80])],
    }
}

fn losses(is_quick: bool) -> Vec<Case> {
    let shapes: Vec<[usize; 2]> = if is_quick {
        vec![[64, 80], [512, 80]]
    } else {
        ROWS.iter().flat_map(|&rows| CLASSES.map(|classes| [rows, classes])).collect()
    };
    let methods = ClassificationLossConfig::all();
    let methods = methods.iter().map(ClassificationLossConfig::method);
    let of_method = |m| shapes.iter().map(move |&shape| loss(Suite::Losses, m, shape));
    methods.flat_map(of_method).collect()
}

fn loss(suite: Suite, method: &str, [rows, classes]: [usize; 2]) -> Case {
    let layout = ClassificationLossConfig::named(method).unwrap_or_default().layout(classes);
    let (columns, labels) = (layout.num_logits(), layout.num_labels());
    let work = LossShape { method: method.into(), rows, classes, columns, labels };
    let name = format!("{method} [{rows}, {classes}]");
    case(suite, name, Work::Loss(work), Pass::ForwardBackward)
}

fn case(suite: Suite, name: String, work: Work, pass: Pass) -> Case {
    Case { suite, name, work, pass, count: 1 }
}

fn roi_align([batch, rois, channels, image]: [usize; 4]) -> Vec<Case> {
    let name = format!("{rois} RoIs, {channels} channels, {batch} x {image} px");
    let work = Work::RoiAlign { batch, rois, channels, image };
    let of_pass = |pass| case(Suite::RoiAlign, name.clone(), work.clone(), pass);
    [Pass::Forward, Pass::ForwardBackward].map(of_pass).into()
}

fn nms([boxes, groups]: [usize; 2]) -> Case {
    let name = format!("{boxes} boxes in {groups} groups");
    case(Suite::Nms, name, Work::Nms { boxes, groups }, Pass::Forward)
}

fn backbone(network: Network, [batch, size]: [usize; 2], pass: Pass) -> Case {
    let network_name = match network {
        Network::Resnet50 => "ResNet-50",
        Network::Resnet50Fpn => "ResNet-50-FPN",
    };
    let name = format!("{network_name}, {batch} x {size} px");
    case(Suite::Backbone, name, Work::Backbone { network, batch, size }, pass)
}

/// The whole of a step; the run adds its stages.
fn detector(step: DetectorCase) -> Case {
    let pass = if step.is_training() { Pass::ForwardBackward } else { Pass::Forward };
    let work = Work::Detector { step, stage: WHOLE.into() };
    case(Suite::Detector, step.description().into(), work, pass)
}

fn loader(images: usize) -> Case {
    let name = format!("{images} JPEG files of 500 x 375, crops of 224");
    case(Suite::Loader, name, Work::Loader { images }, Pass::Forward)
}

fn evaluation([images, classes]: [usize; 2]) -> Case {
    let name = format!("boxes, {images} images, {classes} classes");
    case(Suite::Evaluation, name, Work::Evaluation { images, classes }, Pass::Forward)
}

fn convolutions(is_quick: bool) -> Vec<Case> {
    let (batch, image) = if is_quick { (1, 32) } else { (2, 320) };
    let mut cases: Vec<Case> = Vec::new();
    for shape in resnet50_fpn(batch, image) {
        match cases.iter_mut().find(|case| case.work == Work::Conv(shape)) {
            Some(case) => case.count += 1,
            None => cases.push(conv(shape)),
        }
    }
    if is_quick {
        cases.truncate(3);
    }
    let training = cases.clone().into_iter().map(|c| Case { pass: Pass::ForwardBackward, ..c });
    let training: Vec<Case> = training.collect();
    cases.extend(training);
    cases
}

fn conv(shape: ConvShape) -> Case {
    let ConvShape { in_channels, out_channels, size, kernel, stride, bias, .. } = shape;
    let step = if stride == 1 { String::new() } else { format!(" / {stride}") };
    let bias = if bias { " + bias" } else { "" };
    let name = format!("{kernel}x{kernel}{step} {in_channels}→{out_channels} @ {size}{bias}");
    case(Suite::Conv, name, Work::Conv(shape), Pass::Forward)
}

/// Every convolution of torchvision's `resnet_fpn_backbone("resnet50")`, in order: 61.
fn resnet50_fpn(batch: usize, image: usize) -> Vec<ConvShape> {
    let conv = |[in_channels, out_channels]: [usize; 2], size, kernel, stride| ConvShape {
        batch,
        in_channels,
        out_channels,
        size,
        kernel,
        stride,
        bias: false,
    };
    let mut shapes = vec![conv([3, 64], image, 7, 2)];
    let (mut channels, mut size) = (64, image / 4);
    for (stage, depth) in [3, 4, 6, 3].into_iter().enumerate() {
        let planes = 64 << stage;
        for block in 0..depth {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            shapes.push(conv([channels, planes], size, 1, 1));
            shapes.push(conv([planes, planes], size, 3, stride));
            shapes.push(conv([planes, 4 * planes], size / stride, 1, 1));
            if block == 0 {
                shapes.push(conv([channels, 4 * planes], size, 1, stride));
            }
            (channels, size) = (4 * planes, size / stride);
        }
    }
    for stage in 0..4 {
        let size = image / (4 << stage);
        let lateral = conv([256 << stage, 256], size, 1, 1);
        let output = conv([256, 256], size, 3, 1);
        shapes.extend([lateral, output].map(|shape| ConvShape { bias: true, ..shape }));
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resnet50_with_a_pyramid_has_61_convolutions() {
        let shapes = resnet50_fpn(2, 320);
        assert_eq!(shapes.len(), 61);
        let parameters = |s: &ConvShape| s.in_channels * s.out_channels * s.kernel * s.kernel;
        // torchvision: 23,454,912 in the body without its classifier and norms, and the pyramid's
        // 256 * (256 + 512 + 1024 + 2048) + 4 * 9 * 256^2 without biases.
        let total: usize = shapes.iter().map(parameters).sum();
        assert_eq!(total, 23_454_912 + 256 * 3840 + 36 * 65_536);
        let cases = convolutions(false);
        assert_eq!(cases.iter().map(|case| case.count).sum::<usize>(), 2 * 61);
    }

    #[test]
    fn names_are_unique_within_suite_and_pass() {
        for suite in Suite::ALL {
            for is_quick in [false, true] {
                let cases = cases(suite, is_quick);
                let mut names: Vec<String> =
                    cases.iter().map(|c| format!("{} {}", c.name, c.pass)).collect();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), cases.len(), "{suite}");
                assert!(!cases.is_empty(), "{suite}");
            }
        }
        let num_methods = ClassificationLossConfig::all().len();
        assert_eq!(cases(Suite::Losses, false).len(), num_methods * 16);
    }
}
