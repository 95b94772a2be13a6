//! What a detector does not take, and what it says then.

use burn::tensor::Tensor;
use longtail_losses::ClassificationLossConfig as Loss;
use longtail_models::{DetectorConfig, FasterRcnnConfig};
use longtail_ops::ImageBatch;
use longtail_types::{BBox, Instance};

use crate::tiny::{KEY, batch, detector, faster_rcnn, make, mask_rcnn, object, objects, softmax};

fn refused(targets: &[Vec<Instance>], change: fn(&mut ImageBatch)) -> String {
    let detector = detector(&DetectorConfig::MaskRcnn(mask_rcnn()), &softmax(), 3);
    let mut batch = batch(&longtail_testing::device().autodiff());
    change(&mut batch);
    detector.losses(&batch, targets, KEY).unwrap_err().to_string()
}

#[test]
fn bad_batches_are_refused() {
    let good = || vec![objects(3), objects(3)];
    let with = |instance: Instance| vec![Vec::new(), vec![instance]];
    assert_eq!(
        refused(&with(object(3, [0.0, 0.0, 9.0, 9.0])), |_| ()),
        "object 0 of image 1 of the batch: label 3 is outside 0..3"
    );
    let message = refused(&with(object(0, [5.0, 5.0, 5.0, 9.0])), |_| ());
    assert_eq!(message, "object 0 of image 1 of the batch: box [5, 5, 5, 9] has no area");
    let nan = Instance { bbox: BBox::new(0.0, f32::NAN, 5.0, 9.0), ..object(0, [0.0; 4]) };
    assert!(refused(&with(nan), |_| ()).contains("box [0, NaN, 5, 9] has no area"));
    let maskless = Instance { mask: None, ..object(0, [0.0, 0.0, 9.0, 9.0]) };
    assert!(refused(&with(maskless), |_| ()).contains("it has no mask"));
    assert_eq!(
        refused(&good()[..1], |_| ()),
        "a batch of 2 images has 1 lists of objects: it must be one for each"
    );
    let message = refused(&good(), |batch| batch.sizes.truncate(1));
    assert_eq!(message, "a batch of 2 images has 1 sizes: it must be one for each");
    let message = refused(&good(), |batch| batch.sizes[1] = [65, 70]);
    assert_eq!(message, "image 1 of the batch: its size 65x70 does not lie in 1x1 to 64x96");
    let message = refused(&[], |batch| {
        batch.images = Tensor::zeros([0, 3, 64, 96], &batch.images.device());
        batch.sizes.clear();
    });
    assert_eq!(message, "images in the batch = 0, but it must be at least 1");
}

#[test]
fn impossible_detectors_are_refused() {
    let device = longtail_testing::device();
    let refused = |loss: Loss, change: fn(&mut FasterRcnnConfig)| -> String {
        let mut config = faster_rcnn();
        change(&mut config);
        let made = DetectorConfig::FasterRcnn(config).init(make(&loss, 3, &device), 0, &device);
        made.unwrap_err().to_string()
    };
    let message = refused(Loss::CrossEntropy(Default::default()), |_| ());
    assert!(message.starts_with("cross-entropy has no background"), "{message}");
    assert!(message.ends_with("set background = true"), "{message}");
    let message = refused(softmax(), |c| c.rpn.anchor_sizes.truncate(4));
    assert!(message.starts_with("rpn.anchor_sizes = ") && message.contains("for 5 levels"));
    let message = refused(softmax(), |c| c.rpn.anchor_sizes[2].push(20.0));
    assert!(message.contains("all of one length"), "{message}");
    assert!(refused(softmax(), |c| c.rpn.aspect_ratios.clear()).contains("no anchor ratios"));
    let message = refused(softmax(), |c| c.rpn.negative_iou = 0.8);
    assert!(message.contains("0.8 below a positive IoU of 0.7"), "{message}");
    let message = refused(softmax(), |c| c.detection.score_threshold = 1.5);
    assert_eq!(message, "detection.score_threshold = 1.5, but it must be between 0 and 1");
    let message = refused(softmax(), |c| c.rois.per_image = 0);
    assert_eq!(message, "rois.per_image = 0, but it must be at least 1");
    let message = refused(softmax(), |c| c.box_targets.weights[3] = 0.0);
    assert!(message.starts_with("box_targets.weights = [10.0, 10.0, 5.0, 0.0]"), "{message}");
}
