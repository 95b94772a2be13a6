//! The memory against a queue on the host.

use std::collections::VecDeque;

use longtail_losses::{EquilibriumConfig, LossMethod, Reduction};
use longtail_testing::{assert_close, values};

use super::*;
use crate::backbone::BackboneConfig;
use crate::rcnn::box_stage::{BoxOutput, BoxStage};
use crate::rcnn::config::{BoxHeadConfig, FasterRcnnConfig};
use crate::rcnn::rois::Regions;
use crate::resnet_fpn::DetectorBackboneConfig;
use crate::weight_init::WeightInit;
use longtail_losses::ClassificationLoss;

const KEY: StepKey = StepKey { seed: 4, step: 7, first_image: 0 };
const QUEUE: usize = 3;
const NUM_CLASSES: usize = 4;

fn memory(classes: usize, regions_per_class: usize) -> FeatureMemory {
    let config = FeatureMemoryConfig { queue: QUEUE, classes, regions_per_class, jitter: 0.1 };
    config.init(NUM_CLASSES).unwrap()
}

/// Regions of one channel and 1 x 2 pixels; the features of row `r` are `first + r` and its half.
fn push(memory: &FeatureMemory, labels: &[usize], first: f32) {
    let device = longtail_testing::device().autodiff();
    let numbers = (0..labels.len()).map(|row| first + row as f32);
    let offsets = numbers.clone().flat_map(|v| [v, -v, 2.0 * v, 0.0]).collect();
    let boxes = ObjectBoxes { boxes: Vec::new(), labels: labels.to_vec(), offsets };
    // A row more than there are boxes.
    let features = numbers.flat_map(|v| [v, v / 2.0]).chain([9.0, 9.0]).collect();
    memory.push(boxes, upload(features, [labels.len() + 1, 1, 1, 2], &device));
}

/// What each class holds, in the order of the slots.
fn contents(memory: &FeatureMemory) -> Vec<Vec<f32>> {
    let MemoryContent { features, offsets, counts } = memory.lock().clone().unwrap();
    let (features, offsets) = (values(features), values(offsets));
    let of_class = |(class, count): (usize, &f32)| {
        let rows = class * QUEUE..class * QUEUE + (*count as usize).min(QUEUE);
        let row = |row: usize| {
            let value = features[2 * row];
            assert_eq!(features[2 * row + 1], value / 2.0);
            assert_eq!(offsets[4 * row..4 * row + 4], [value, -value, 2.0 * value, 0.0]);
            value
        };
        rows.map(row).collect()
    };
    values(counts).iter().enumerate().map(of_class).collect()
}

#[test]
fn the_newest_regions_stay() {
    let memory = memory(2, 2);
    let mut expected: Vec<VecDeque<f32>> = vec![VecDeque::new(); NUM_CLASSES];
    let steps: [&[usize]; 6] =
        [&[0, 1, 0], &[0, 0], &[2, 1], &[1], &[0, 2, 2, 2], &[1, 0, 1, 0, 2]];
    for (step, labels) in steps.into_iter().enumerate() {
        let first = 10.0 * (step as f32 + 1.0);
        push(&memory, labels, first);
        for (row, &label) in labels.iter().enumerate() {
            expected[label].push_back(first + row as f32);
            if expected[label].len() > QUEUE {
                expected[label].pop_front();
            }
        }
        for (class, (found, expected)) in contents(&memory).iter().zip(&expected).enumerate() {
            let mut found = found.clone();
            found.sort_by(f32::total_cmp); // numbers rise with time
            assert_eq!(found, Vec::from(expected.clone()), "step {step}, class {class}");
        }
    }
    push(&memory, &[3; 5], 80.0); // more than the queue holds
    assert_eq!(contents(&memory)[3], [80.0, 81.0, 82.0]);
    push(&memory, &[], 90.0);
    let counts = values(memory.lock().clone().unwrap().counts);
    assert!(counts.iter().all(|&count| count < 2.0 * QUEUE as f32), "{counts:?}");
}

#[test]
fn classes_with_low_scores_are_drawn() {
    let memory = memory(6, 2);
    let device = longtail_testing::device();
    let scores = [0.5_f64, 0.05, 0.02, 0.04];
    let mean_scores = || Tensor::<1>::from_floats(scores.map(|s| s as f32), &device);
    assert!(memory.draw(mean_scores(), [1, 1, 2], KEY).is_none(), "nothing yet");
    push(&memory, &[0, 1, 1, 2, 2, 2, 2], 1.0); // none of class 3
    let contents = contents(&memory);

    let (mut drawn_classes, mut num_absent) = ([0; NUM_CLASSES], 0);
    for step in 0..50 {
        let key = StepKey { step, ..KEY };
        let drawn = memory.draw(mean_scores(), [1, 1, 2], key).unwrap();
        assert_eq!(drawn.features.dims(), [12, 1, 1, 2]);
        let labels: Vec<usize> =
            drawn.labels.into_data().iter::<i64>().map(|label| label as usize).collect();
        let (features, offsets) = (values(drawn.features), values(drawn.offsets));
        let (is_there, shares) = (values(drawn.is_there), values(drawn.shares));

        let mut rng = KeyedRng::new(key.seed, Stream::FeatureMemory, step, 0);
        let units: Vec<f64> = (0..6).map(|_| rng.unit()).collect();
        let sum: f64 = scores.iter().map(|score| 1.0 / (score + 1e-7)).sum();
        for (row, &label) in labels.iter().enumerate() {
            let mut bound = 0.0;
            let mut is_past = |score: &f64| {
                bound += 1.0 / (score + 1e-7) / sum;
                bound <= units[row / 2]
            };
            assert_eq!(label, scores.iter().filter(|&score| is_past(score)).count());
            let unit = rng.unit();
            drawn_classes[label] += 1;
            let of_class = &contents[label];
            assert_eq!(is_there[row] == 1.0, !of_class.is_empty());
            if of_class.is_empty() {
                num_absent += 1;
                continue;
            }
            let expected = of_class[(unit * of_class.len() as f64) as usize];
            assert_eq!(features[2 * row..2 * row + 2], [expected, expected / 2.0]);
            assert_eq!(offsets[4 * row], expected);
            let same = labels.iter().filter(|&&other| other == label).count();
            assert!((shares[row] - 1.0 / same as f32).abs() < 1e-6);
        }
    }
    assert!(num_absent > 50, "{drawn_classes:?}");
    assert!(drawn_classes[2] > 4 * drawn_classes[0], "{drawn_classes:?}");
}

#[test]
fn boxes_lie_around_objects() {
    let memory = FeatureMemoryConfig::default().init(NUM_CLASSES).unwrap();
    let instance = |label, bbox| Instance { label, bbox, mask: None };
    let first = BBox::new(2.0, 4.0, 26.0, 40.0);
    let second = BBox::new(0.0, 0.0, 12.0, 6.0);
    let targets = [vec![instance(3, first), instance(1, second)], vec![]];
    let coder = BoxCoder::default();
    let found = memory.boxes(&targets, &[[48, 32], [10, 10]], &coder, KEY);
    assert_eq!((found.boxes[0].len(), found.boxes[1].len()), (32, 0));
    assert_eq!(found.labels, [[3; 16], [1; 16]].concat());
    for (row, &bbox) in found.boxes[0].iter().enumerate() {
        let object = if row < 16 { first } else { second };
        let moved = bbox.to_array().into_iter().zip(object.to_array());
        for (border, (moved, original)) in moved.enumerate() {
            let length = if border % 2 == 0 { object.width() } else { object.height() };
            assert!((moved - original).abs() <= length / 6.0 + 1e-4);
        }
        assert_eq!(bbox, bbox.clip([48, 32]));
        let offsets = &found.offsets[4 * row..4 * row + 4];
        let back = coder.decode([offsets[0], offsets[1], offsets[2], offsets[3]], bbox);
        let expected = object.to_array().map(f64::from);
        assert_close("object", &back.to_array(), &expected, 1e-5);
    }
    let other = memory.boxes(&targets, &[[48, 32], [10, 10]], &coder, KEY);
    assert_eq!(found.boxes, other.boxes);
    let key = StepKey { step: 8, ..KEY };
    assert_ne!(found.boxes, memory.boxes(&targets, &[[48, 32], [10, 10]], &coder, key).boxes);
}

#[test]
fn a_saved_memory_goes_on() {
    let first = memory(3, 2);
    assert!(first.state().is_empty());
    push(&first, &[0, 1, 1, 2, 3, 3, 3, 3], 1.0);
    let second = memory(3, 2);
    second.load_state(first.state()).unwrap();
    for memory in [&first, &second] {
        push(memory, &[3, 0], 50.0);
    }
    assert_eq!(contents(&first), contents(&second));
    assert_eq!(first.clone().state().len(), 3);
    assert!(first.valid().state().is_empty(), "what is evaluated holds no memory");

    let longer = FeatureMemoryConfig { queue: 5, ..Default::default() }.init(NUM_CLASSES).unwrap();
    let message = longer.load_state(first.state()).unwrap_err();
    assert_eq!(message, "memory.features has 24 values, expected 20 rows");
    let part = first.state()[..1].to_vec();
    assert_eq!(second.load_state(part).unwrap_err(), "memory.offsets is missing");
}

#[test]
fn wrong_settings_are_refused() {
    let refuse = |config: FeatureMemoryConfig| config.init(4).unwrap_err().to_string();
    let config = FeatureMemoryConfig::default();
    let message = refuse(FeatureMemoryConfig { queue: 0, ..config });
    assert_eq!(message, "feature_memory.queue = 0, but it must be at least 1");
    let message = refuse(FeatureMemoryConfig { jitter: 0.5, ..config });
    assert_eq!(message, "feature_memory.jitter = 0.5, but it must be in [0, 0.5)");
}

fn stage() -> BoxStage {
    let device = longtail_testing::device().autodiff();
    let backbone = DetectorBackboneConfig::from_scratch(BackboneConfig::ResNet18);
    let config = FasterRcnnConfig {
        backbone: DetectorBackboneConfig { base_width: 8, ..backbone },
        box_head: BoxHeadConfig { pooled_size: 3, ..Default::default() },
        ..Default::default()
    };
    let loss = EquilibriumConfig::default().init(NUM_CLASSES, &device).unwrap();
    let loss = ClassificationLoss::Equilibrium(loss);
    let detector = config.init(loss, &WeightInit::new(0, &device)).unwrap();
    detector.roi_heads.stages[0].clone()
}

/// Drawn regions count as regions of the batch do, and absent ones not at all.
#[test]
fn drawn_regions_join_the_losses() {
    let stage = stage();
    let device = longtail_testing::device().autodiff();
    let [num_regions, num_drawn, num_groups] = [3, 4, NUM_CLASSES + 1];
    let num_rows = num_regions + num_drawn;
    let numbers = |count: usize, step: f32| -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    };
    let logits = upload(numbers(num_rows * num_groups, 0.7), [num_rows, num_groups], &device);
    let offsets = numbers(num_rows * num_groups * 4, 0.3);
    let objects = BBox::new(2.0, 3.0, 20.0, 30.0);
    let targets = [vec![Instance { label: 2, bbox: objects, mask: None }]];
    let boxes = vec![BBox::new(1.0, 3.0, 19.0, 31.0), objects, BBox::new(30.0, 30.0, 40.0, 40.0)];
    let regions = [Regions { boxes: boxes.clone(), objects: vec![Some(0), Some(0), None] }];
    let drawn_offsets = numbers(num_drawn * 4, 1.1);
    let drawn_labels = [1, 3, 1, 0];
    let plain = longtail_testing::device();
    let drawn = DrawnRegions {
        features: Tensor::zeros([num_drawn, 1, 3, 3], &plain),
        labels: upload_indices(&drawn_labels, &plain),
        offsets: upload(drawn_offsets.clone(), [num_drawn, 4], &plain),
        is_there: upload(vec![1.0, 1.0, 1.0, 0.0], [num_drawn], &plain),
        shares: upload(vec![0.5, 1.0, 0.5, 1.0], [num_drawn], &plain),
    };
    let output = BoxOutput {
        logits: logits.clone(),
        offsets: upload(offsets.clone(), [num_rows, num_groups * 4], &device),
    };
    let found = stage.losses_with(output, &regions, &targets, Some(&drawn)).unwrap();

    // The first six rows are all there is.
    let labels = RowLabels::from_host(&[2, 2, NUM_CLASSES, 1, 3, 1], 5, &device).unwrap();
    let shares = upload(vec![0.5, 0.5, 1.0, 0.5, 1.0, 0.5], [6], &device);
    let ClassificationLoss::Equilibrium(loss) = stage.loss.get() else { panic!("loce") };
    let labels = labels.sharing_objects(shares);
    let expected = loss.forward_with(logits.narrow(0, 0, 6), labels, Reduction::Mean).unwrap();
    let expected_loss = f64::from(values(expected.loss)[0]);
    assert_close("classifier", &values(found.classifier), &[expected_loss], 1e-5);
    let vectors = found.update.vectors().into_iter().zip(expected.update.vectors());
    for (found, expected) in vectors {
        let expected: Vec<f64> = values(expected).into_iter().map(f64::from).collect();
        assert_close("statistics", &values(found), &expected, 1e-5);
    }

    let encode = |region: usize| stage.rule.coder.encode(boxes[region], objects);
    let of_drawn =
        |row: usize| -> [f32; 4] { drawn_offsets[4 * row..4 * row + 4].try_into().unwrap() };
    let rows = [(0, 2, encode(0)), (1, 2, encode(1)), (3, 1, of_drawn(0)), (4, 3, of_drawn(1))];
    let rows = rows.into_iter().chain([(5, 1, of_drawn(2))]);
    let beta = f64::from(stage.rule.smooth_l1_beta);
    let mut sum = 0.0;
    for (row, label, expected) in rows {
        for (place, expected) in expected.into_iter().enumerate() {
            let predicted = offsets[(row * num_groups + label) * 4 + place];
            let distance = (f64::from(predicted) - f64::from(expected)).abs();
            sum += if distance < beta {
                distance * distance / (2.0 * beta)
            } else {
                distance - beta / 2.0
            };
        }
    }
    assert_close("boxes", &values(found.boxes), &[sum / 6.0], 1e-5);
}
