//! The page's detector on this machine against the library's own predictor.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use browser::{Finder, Found, ModelCard};
use longtail::data::{BatchPadding, DetectionPipelineConfig, RgbImage};
use longtail::losses::ClassificationLossConfig;
use longtail::models::{
    BackboneConfig, BoxHeadConfig, BoxLayersConfig, DetectionConfig, Detector,
    DetectorBackboneConfig, DetectorConfig, FasterRcnnConfig, FpnConfig,
};
use longtail::training::DetectionPredictor;
use longtail::types::{ClassCounts, ClassMap, Preprocess, ResizeRule};

fn card() -> ModelCard {
    let backbone = DetectorBackboneConfig::from_scratch(BackboneConfig::ResNet18);
    let layers = BoxLayersConfig::TwoFc { width: 8 };
    let model = DetectorConfig::FasterRcnn(FasterRcnnConfig {
        backbone: DetectorBackboneConfig { base_width: 4, ..backbone },
        fpn: FpnConfig { channels: 8, ..Default::default() },
        box_head: BoxHeadConfig { layers, pooled_size: 3, ..Default::default() },
        detection: DetectionConfig { score_threshold: 0.0, ..Default::default() },
        ..Default::default()
    });
    ModelCard {
        name: "a small one".into(),
        model,
        loss: ClassificationLossConfig::BalancedSigmoid(Default::default()),
        calibration: None,
        counts: ClassCounts::new(vec![9, 4, 1], vec![12, 4, 1], 10).unwrap(),
        classes: ClassMap::from_names(["owl", "wren", "heron"]).unwrap(),
        preprocess: Preprocess { resize: ResizeRule::None, ..Default::default() },
        padding: BatchPadding::default(),
        max_side: 96,
        examples: Vec::new(),
    }
}

fn detector(card: &ModelCard) -> Detector {
    let device = longtail::device("flex").unwrap();
    let loss = card.loss.init(&card.counts, &device).unwrap();
    card.model.init(loss, 7, &device).unwrap()
}

fn weights(detector: &Detector) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    detector.save_weights(&path).unwrap();
    std::fs::read(&path).unwrap()
}

fn image(width: usize, height: usize) -> RgbImage {
    let byte = |i: usize| (i.wrapping_mul(40_503) >> 7) as u8;
    RgbImage::new(width, height, (0..3 * width * height).map(byte).collect()).unwrap()
}

/// On the CPU nothing is ever waited for.
fn find(finder: &Finder, image: RgbImage) -> anyhow::Result<Found> {
    match pin!(finder.find(image)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(found) => found,
        Poll::Pending => panic!("pending on the CPU"),
    }
}

/// The same classes, scores and boxes as by the predictor with this rule of resizing.
fn assert_as_predicted(card: &ModelCard, finder: &Finder, image: &RgbImage, resize: ResizeRule) {
    let preprocess = Preprocess { resize, ..card.preprocess };
    let transforms = DetectionPipelineConfig { preprocess, ..Default::default() };
    let (padding, classes) = (card.padding.clone(), card.classes.clone());
    let predictor = DetectionPredictor::new(detector(card), &transforms, padding, classes).unwrap();
    let expected = predictor.detect_image(image).unwrap();
    let found = find(finder, image.clone()).unwrap();
    assert_eq!(found.seen, resize.size([image.height(), image.width()]));
    assert!(expected.len() > 5, "{}", expected.len());
    assert_eq!(found.objects.len(), expected.len());
    for (object, expected) in found.objects.iter().zip(&expected) {
        assert_eq!(object.label, expected.label);
        assert_eq!(Some(object.class.as_str()), card.classes.name(expected.label));
        assert_eq!((object.score, object.bbox), (expected.score, expected.bbox.to_array()));
    }
}

#[test]
fn it_finds_what_the_predictor_finds() {
    let card: ModelCard = serde_json::from_str(&serde_json::to_string(&card()).unwrap()).unwrap();
    let device = longtail::device("flex").unwrap();
    let finder = Finder::new(card.clone(), weights(&detector(&card)), &device).unwrap();
    assert_as_predicted(&card, &finder, &image(90, 61), ResizeRule::None);
    let limit = ResizeRule::ShortestEdge { min: 96, max: 96 };
    assert_as_predicted(&card, &finder, &image(300, 200), limit);
    assert_as_predicted(&card, &finder, &image(41, 260), limit);
}

#[test]
fn wrong_cards_and_weights_are_refused() {
    let device = longtail::device("flex").unwrap();
    let weights = weights(&detector(&card()));
    let refused = |card: ModelCard, weights: &[u8]| {
        format!("{:#}", Finder::new(card, weights.to_vec(), &device).unwrap_err())
    };
    let short = ModelCard { classes: ClassMap::from_names(["owl"]).unwrap(), ..card() };
    assert_eq!(refused(short, &weights), "3 classes and 1 names");
    assert_eq!(refused(ModelCard { max_side: 0, ..card() }, &weights), "max_side is 0");
    let message = refused(card(), &weights[..weights.len() / 2]);
    assert!(message.starts_with("can't read weights from model.safetensors: "), "{message}");
    let counts = ClassCounts::new(vec![9, 4], vec![12, 4], 10).unwrap();
    let classes = ClassMap::from_names(["owl", "wren"]).unwrap();
    let message = refused(ModelCard { counts, classes, ..card() }, &weights);
    assert!(message.contains("do not fit this faster-rcnn of 2 classes"), "{message}");
    let message = serde_json::from_str::<ModelCard>("{\"name\": \"x\", \"sort\": 1}").unwrap_err();
    assert!(message.to_string().contains("unknown field `sort`"), "{message}");
    let finder = Finder::new(card(), weights, &device).unwrap();
    let empty = RgbImage::new(0, 4, Vec::new()).unwrap();
    assert_eq!(find(&finder, empty).unwrap_err().to_string(), "the image has no pixel");
}
