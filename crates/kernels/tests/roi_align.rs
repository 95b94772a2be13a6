//! RoIAlign against slow loops: values and gradients, both forms.
#![allow(clippy::unwrap_used, reason = "tests")]

mod reference;

use burn::tensor::{Device, Tensor};
use longtail_kernels::{Roi, RoiAlignOptions, composed, roi_align};
use longtail_testing::{assert_close, device, is_flex, values};
use reference::{numbers, tensor};

type RoiAlign = fn(&[Tensor<4>], &[Roi], &RoiAlignOptions) -> Tensor<4>;

const FORMS: [(&str, RoiAlign); 2] = [("chosen", roi_align), ("composed", composed::roi_align)];
const TOLERANCE: f64 = 2e-6;
const SHAPES: [[usize; 4]; 3] = [[2, 3, 16, 20], [2, 3, 8, 10], [2, 3, 4, 5]];

fn options(sampling_ratio: Option<usize>, aligned: bool) -> RoiAlignOptions {
    RoiAlignOptions {
        output_size: [3, 4],
        scales: vec![0.25, 0.125, 0.0625],
        sampling_ratio,
        aligned,
    }
}

/// All options that change the arithmetic.
fn cases() -> Vec<RoiAlignOptions> {
    let ratios = [None, Some(0), Some(1), Some(2), Some(5)];
    ratios.into_iter().flat_map(|ratio| [options(ratio, false), options(ratio, true)]).collect()
}

/// RoIs in an image of 64 x 80: usual ones, borders, and odd ones.
fn rois() -> Vec<Roi> {
    let at = |image, level, bbox| Roi { image, level, bbox };
    vec![
        at(0, 0, [3.0, 5.0, 40.5, 33.0]),
        at(1, 1, [10.2, 1.0, 70.0, 60.0]),
        at(1, 2, [0.0, 0.0, 80.0, 64.0]),
        at(0, 2, [-30.0, -20.0, 30.0, 25.0]), // partly outside
        at(1, 0, [60.0, 50.0, 120.0, 90.0]),
        at(0, 1, [300.0, 300.0, 400.0, 360.0]), // outside
        at(1, 0, [8.0, 8.0, 9.0, 9.0]),         // one pixel
        at(0, 0, [8.0, 8.0, 8.0, 8.0]),         // a point
        at(0, 1, [50.0, 40.0, 20.0, 10.0]),     // inside out
        at(1, 1, [-1e7, 3.0, 1e7, 9.0]),
        at(0, 0, [4.0, 5.0, 42.5, 30.0]), // on top of the first
    ]
}

fn features() -> Vec<Vec<f32>> {
    let values =
        |(index, shape): (usize, &[usize; 4])| numbers(shape.iter().product(), 7 + index as u64);
    SHAPES.iter().enumerate().map(values).collect()
}

fn tensors(features: &[Vec<f32>], device: &Device) -> Vec<Tensor<4>> {
    let maps = features.iter().zip(SHAPES);
    maps.map(|(values, shape)| tensor(values, shape, device)).collect()
}

/// Calls `visit(level, feature, output, weight)` for every product, sample by sample. Positions are
/// computed in single precision, since the number of samples depends on them.
fn for_each(
    rois: &[Roi],
    options: &RoiAlignOptions,
    mut visit: impl FnMut(usize, usize, usize, f64),
) {
    let [bins_y, bins_x] = options.output_size;
    let offset = if options.aligned { 0.5 } else { 0.0 };
    for (row, roi) in rois.iter().enumerate() {
        let [_, channels, height, width] = SHAPES[roi.level];
        let [x1, y1, x2, y2] = roi.bbox.map(|c| c * options.scales[roi.level] - offset);
        let (mut roi_height, mut roi_width) = (y2 - y1, x2 - x1);
        if !options.aligned {
            (roi_height, roi_width) = (roi_height.max(1.0), roi_width.max(1.0));
        }
        let (bin_height, bin_width) = (roi_height / bins_y as f32, roi_width / bins_x as f32);
        let ratio = options.sampling_ratio.filter(|&ratio| ratio > 0);
        let grid_y = ratio.unwrap_or(bin_height.ceil() as usize);
        let grid_x = ratio.unwrap_or(bin_width.ceil() as usize);
        for bin in 0..bins_y * bins_x {
            for iy in 0..grid_y {
                let y = y1
                    + (bin / bins_x) as f32 * bin_height
                    + (iy as f32 + 0.5) * bin_height / grid_y as f32;
                if y < -1.0 || y > height as f32 {
                    continue;
                }
                for ix in 0..grid_x {
                    let x = x1
                        + (bin % bins_x) as f32 * bin_width
                        + (ix as f32 + 0.5) * bin_width / grid_x as f32;
                    if x < -1.0 || x > width as f32 {
                        continue;
                    }
                    let (y, x) = (f64::from(y.max(0.0)), f64::from(x.max(0.0)));
                    let (y, x) = (y.min((height - 1) as f64), x.min((width - 1) as f64));
                    for (v, wy) in [(y.floor(), 1.0 - y.fract()), (y.floor() + 1.0, y.fract())] {
                        for (u, wx) in [(x.floor(), 1.0 - x.fract()), (x.floor() + 1.0, x.fract())]
                        {
                            if wy * wx == 0.0 {
                                continue;
                            }
                            for c in 0..channels {
                                let plane = (roi.image * channels + c) * height;
                                let feature = (plane + v as usize) * width + u as usize;
                                let output = (row * channels + c) * bins_y * bins_x + bin;
                                let weight = wy * wx / (grid_y * grid_x) as f64;
                                visit(roi.level, feature, output, weight);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn values_and_gradients_match_slow_loops() {
    let (features, mut rois) = (features(), rois());
    // Sample by sample the slow loop would take minutes over this one; the next test has it.
    let wide = rois.iter().position(|roi| roi.bbox[0] == -1e7).unwrap();
    for options in cases() {
        if options.sampling_ratio.unwrap_or(0) == 0 {
            rois[wide].bbox = [-1e4, 3.0, 1e4, 9.0];
        }
        let shape = [rois.len(), 3, 3, 4];
        let upstream = numbers(shape.iter().product(), 3);
        let mut output = vec![0.0; upstream.len()];
        let mut gradients: Vec<Vec<f64>> = features.iter().map(|f| vec![0.0; f.len()]).collect();
        for_each(&rois, &options, |level, feature, bin, weight| {
            output[bin] += weight * f64::from(features[level][feature]);
            gradients[level][feature] += weight * f64::from(upstream[bin]);
        });
        let device = device().autodiff();
        for (form, roi_align) in FORMS {
            let maps: Vec<_> =
                tensors(&features, &device).into_iter().map(Tensor::require_grad).collect();
            let pooled = roi_align(&maps, &rois, &options);
            assert_eq!(pooled.dims(), shape);
            let grads = (pooled.clone() * tensor(&upstream, shape, &device)).sum().backward();
            let name = format!("{form} {options:?}");
            assert_close(&name, &values(pooled), &output, TOLERANCE);
            for (map, expected) in maps.iter().zip(&gradients) {
                assert_close(&name, &values(map.grad(&grads).unwrap()), expected, TOLERANCE);
            }
        }
    }
}

#[test]
fn gradient_matches_central_differences() {
    let (features, rois) = (features(), rois());
    let options = options(Some(2), true);
    let (device, tracked) = (device(), device().autodiff());
    for (form, roi_align) in FORMS {
        let loss = |maps: &[Tensor<4>]| roi_align(maps, &rois, &options).tanh().sum();
        let maps: Vec<_> =
            tensors(&features, &tracked).into_iter().map(Tensor::require_grad).collect();
        let grads = loss(&maps).backward();
        for level in 0..3 {
            let gradient = values(maps[level].grad(&grads).unwrap());
            for index in (0..gradient.len()).step_by(gradient.len() / 9) {
                let at = |step: f32| {
                    let mut moved = features.clone();
                    moved[level][index] += step;
                    values(loss(&tensors(&moved, &device)))[0]
                };
                let slope = (at(1e-1) - at(-1e-1)) / 2e-1;
                let error = (slope - gradient[index]).abs();
                assert!(error < 2e-3, "{form} {level} {index}: {slope} {}", gradient[index]);
            }
        }
    }
}

#[test]
fn broken_boxes_give_zeros_and_no_gradient() {
    let device = device().autodiff();
    let broken = [[f32::NAN, 0.0, 9.0, 9.0], [0.0, 0.0, f32::INFINITY, 9.0], [f32::NAN; 4]];
    let rois = broken.map(|bbox| Roi { image: 0, level: 0, bbox });
    for (form, roi_align) in FORMS {
        for options in cases() {
            let maps: Vec<_> =
                tensors(&features(), &device).into_iter().map(Tensor::require_grad).collect();
            let pooled = roi_align(&maps, &rois, &options);
            let grads = pooled.clone().sum().backward();
            assert!(values(pooled).iter().all(|&value| value == 0.0), "{form} {options:?}");
            let gradient = values(maps[0].grad(&grads).unwrap());
            assert!(gradient.iter().all(|&value| value == 0.0), "{form} {options:?}");
        }
    }
}

#[test]
fn a_box_of_any_size_takes_no_time() {
    let maps = tensors(&features(), &device());
    let widths = [1e9, 1e12, 1e20, 3e37_f32];
    let rois = widths.map(|w| Roi { image: 0, level: 0, bbox: [-w, -w / 3.0, w, w] });
    for options in [options(None, false), options(None, true)] {
        let pooled = values(roi_align(&maps, &rois, &options));
        assert!(pooled.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn no_rois_or_bins() {
    let maps = tensors(&features(), &device().autodiff());
    let empty = RoiAlignOptions { output_size: [0, 4], ..options(None, false) };
    for (_, roi_align) in FORMS {
        assert_eq!(roi_align(&maps, &[], &options(None, false)).dims(), [0, 3, 3, 4]);
        assert_eq!(roi_align(&maps, &rois(), &empty).dims(), [11, 3, 0, 4]);
    }
}

#[test]
fn only_asked_gradients_are_computed() {
    let device = device().autodiff();
    for trained in 0..3 {
        let mut maps = tensors(&features(), &device);
        maps[trained] = maps[trained].clone().require_grad();
        let grads = roi_align(&maps, &rois(), &options(Some(2), false)).sum().backward();
        for (level, map) in maps.iter().enumerate() {
            assert_eq!(map.grad(&grads).is_some(), level == trained);
        }
    }
}

#[test]
fn non_contiguous_inputs() {
    let device = device();
    let view: Tensor<4> = tensor(&numbers(3 * 2 * 20 * 16, 1), [3, 2, 20, 16], &device);
    let view = view.permute([1, 0, 3, 2]);
    let copy = tensor(&values(view.clone()), [2, 3, 16, 20], &device);
    let rois: Vec<Roi> = rois().into_iter().map(|roi| Roi { level: 0, ..roi }).collect();
    let options = RoiAlignOptions { scales: vec![0.25], ..options(Some(2), false) };
    let actual = values(roi_align(&[view], &rois, &options));
    assert_eq!(actual, values(roi_align(&[copy], &rois, &options)));
}

#[test]
fn same_bits_with_any_number_of_threads() {
    let run = || {
        let device = device().autodiff();
        let maps: Vec<_> =
            tensors(&features(), &device).into_iter().map(Tensor::require_grad).collect();
        let pooled = roi_align(&maps, &rois(), &options(None, false));
        let grads = pooled.clone().powi_scalar(2).sum().backward();
        let mut all = vec![values(pooled)];
        all.extend(maps.iter().map(|map| values(map.grad(&grads).unwrap())));
        all
    };
    let first = run();
    for threads in [1, 2, 3, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(run), first, "{threads} threads");
    }
}

/// Runs tests above once more in processes of their own, limited to other instruction sets.
#[test]
fn other_instruction_sets() {
    if !is_flex() {
        return;
    }
    for limit in ["avx2", "portable"] {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["values_and_gradients", "same_bits"])
            .env("LONGTAIL_SIMD", limit)
            .output()
            .unwrap();
        assert!(status.status.success(), "{limit}: {}", String::from_utf8_lossy(&status.stdout));
    }
}

#[test]
#[should_panic(expected = "RoI 1 is in image 2 of 2, level 0 of 3")]
fn refuses_an_image_that_does_not_exist() {
    let rois = [0, 2].map(|image| Roi { image, level: 0, bbox: [0.0, 0.0, 9.0, 9.0] });
    roi_align(&tensors(&features(), &device()), &rois, &options(None, false));
}

#[test]
#[should_panic(expected = "3 feature maps, but 2 scales")]
fn refuses_scales_that_do_not_fit() {
    let options = RoiAlignOptions { scales: vec![0.5, 0.25], ..options(None, false) };
    roi_align(&tensors(&features(), &device()), &[], &options);
}
