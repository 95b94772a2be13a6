//! Weight files of detectors: what fits, what does not, and what is left behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::ModuleSnapshot;
use common::{value, write_safetensors};
use longtail_losses::{
    BinaryCrossEntropyConfig, ClassificationLoss, ClassificationLossConfig, CrossEntropyConfig,
    FocalConfig,
};
use longtail_models::{
    BackboneConfig, BoxHeadConfig, BoxLayersConfig, BoxTargetConfig, CascadeRcnnConfig,
    ClassifierConfig, Coco91, Detector, DetectorBackboneConfig, DetectorConfig, DetectorLoadScope,
    FasterRcnnConfig, FpnConfig, LabelTable, MaskHeadConfig, MaskRcnnConfig, ModelError,
    NormConfig, RetinaNetConfig, inspect,
};
use longtail_types::ClassCounts;

fn backbone() -> DetectorBackboneConfig {
    let config = DetectorBackboneConfig::from_scratch(BackboneConfig::ResNet18);
    DetectorBackboneConfig { base_width: 4, ..config }
}

fn fpn() -> FpnConfig {
    FpnConfig { channels: 4, ..Default::default() }
}

fn box_head() -> BoxHeadConfig {
    let layers = BoxLayersConfig::TwoFc { width: 8 };
    BoxHeadConfig { layers, pooled_size: 3, ..Default::default() }
}

fn faster() -> DetectorConfig {
    let config = FasterRcnnConfig { backbone: backbone(), fpn: fpn(), ..Default::default() };
    DetectorConfig::FasterRcnn(FasterRcnnConfig { box_head: box_head(), ..config })
}

fn mask() -> DetectorConfig {
    let mask_head = MaskHeadConfig { num_convs: 1, channels: 4, ..Default::default() };
    let config =
        MaskRcnnConfig { backbone: backbone(), fpn: fpn(), mask_head, ..Default::default() };
    DetectorConfig::MaskRcnn(MaskRcnnConfig { box_head: box_head(), ..config })
}

fn retinanet() -> DetectorConfig {
    let config = RetinaNetConfig { backbone: backbone(), fpn: fpn(), ..Default::default() };
    DetectorConfig::RetinaNet(config)
}

fn softmax(num_classes: usize) -> ClassificationLoss {
    let counts = ClassCounts::from_labels(0..num_classes, num_classes).unwrap();
    let config = CrossEntropyConfig { background: true };
    let device = longtail_testing::device();
    ClassificationLossConfig::CrossEntropy(config).init(&counts, &device).unwrap()
}

fn focal(num_classes: usize) -> ClassificationLoss {
    let device = longtail_testing::device();
    ClassificationLoss::Focal(FocalConfig::default().init(num_classes, &device).unwrap())
}

fn make(config: &DetectorConfig, loss: ClassificationLoss, seed: u64) -> Detector {
    config.init(loss, seed, &longtail_testing::device()).unwrap()
}

fn tensors(detector: &Detector) -> BTreeMap<String, Vec<f32>> {
    let values = |tensor: burn::store::burn_pack::Tensor| {
        let name = tensor.name.clone();
        let data = burn::store::bridge::into_data(tensor).unwrap();
        (name, data.convert::<f32>().try_to_vec::<f32>().unwrap())
    };
    detector.collect(None, None, true).into_iter().map(values).collect()
}

fn saved(detector: &Detector, folder: &Path) -> PathBuf {
    let path = folder.join("weights.safetensors");
    detector.save_weights(&path).unwrap();
    path
}

fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

#[test]
fn weights_come_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let agnostic = BoxTargetConfig { class_agnostic: true, ..Default::default() };
    let DetectorConfig::FasterRcnn(config) = faster() else { panic!("faster-rcnn") };
    let agnostic =
        DetectorConfig::FasterRcnn(FasterRcnnConfig { box_targets: agnostic, ..config.clone() });
    let cascade = CascadeRcnnConfig { backbone: backbone(), fpn: fpn(), ..Default::default() };
    let layers = BoxLayersConfig::ConvFc { num_convs: 2, channels: 4, width: 8, norm: None };
    let box_head = BoxHeadConfig { layers, ..box_head() };
    let cascade = CascadeRcnnConfig { box_head: box_head.clone(), ..cascade };
    let conv = DetectorConfig::FasterRcnn(FasterRcnnConfig { box_head, ..config });
    let sigmoid = BinaryCrossEntropyConfig::default().init(3).unwrap();
    let sigmoid = ClassificationLoss::BinaryCrossEntropy(sigmoid);
    let cases = [
        (faster(), softmax(3)),
        (faster(), sigmoid),
        (agnostic, softmax(3)),
        (conv, softmax(3)),
        (mask(), softmax(3)),
        (DetectorConfig::CascadeRcnn(cascade), softmax(3)),
        (retinanet(), focal(3)),
        (retinanet(), softmax(3)),
    ];
    for (config, loss) in cases {
        let source = make(&config, loss.clone(), 1);
        let mut target = make(&config, loss, 2);
        let path = saved(&source, folder.path());
        let report = target.load_weights(&path, DetectorLoadScope::All).unwrap();
        assert_eq!(tensors(&target), tensors(&source), "{}", config.name());
        assert!(report.missing.is_empty() && report.unused.iter().all(|name| is_counter(name)));
        assert_eq!(report.labels, LabelTable::Same);
        let before = tensors(&target);
        let twice = target.load_weights(&path, DetectorLoadScope::All).unwrap();
        assert_eq!((twice, tensors(&target)), (report, before));
    }
}

#[test]
fn bytes_load_as_their_file_does() {
    let folder = tempfile::tempdir().unwrap();
    let source = make(&faster(), softmax(3), 1);
    let path = saved(&source, folder.path());
    let bytes = std::fs::read(&path).unwrap();
    let mut target = make(&faster(), softmax(3), 2);
    let before = tensors(&target);
    let cut = bytes[..bytes.len() / 2].to_vec();
    for damaged in [cut, b"no weights".to_vec(), Vec::new()] {
        let error = target.load_weight_bytes("a.safetensors", damaged, DetectorLoadScope::All);
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("can't read weights from a.safetensors: "), "{message}");
        assert_eq!(tensors(&target), before);
    }
    let mut by_file = make(&faster(), softmax(3), 3);
    let expected = by_file.load_weights(&path, DetectorLoadScope::All).unwrap();
    let report = target.load_weight_bytes("a.safetensors", bytes, DetectorLoadScope::All);
    assert_eq!(report.unwrap(), expected);
    assert_eq!(tensors(&target), tensors(&source));
}

/// The file has background first, as torchvision does.
#[test]
fn background_is_first_in_the_file_and_last_in_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let source = make(&mask(), softmax(2), 1);
    let path = saved(&source, folder.path());
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ours = tensors(&source);
    for (ours_name, name, group) in [
        ("roi_heads.stages.0.box_predictor.cls_score.weight", "box_predictor.cls_score.weight", 8),
        ("roi_heads.stages.0.box_predictor.cls_score.bias", "box_predictor.cls_score.bias", 1),
        ("roi_heads.stages.0.box_predictor.bbox_pred.weight", "box_predictor.bbox_pred.weight", 32),
        ("roi_heads.stages.0.box_predictor.bbox_pred.bias", "box_predictor.bbox_pred.bias", 4),
        (
            "roi_heads.masks.mask_predictor.mask_fcn_logits.weight",
            "mask_predictor.mask_fcn_logits.weight",
            4,
        ),
        (
            "roi_heads.masks.mask_predictor.mask_fcn_logits.bias",
            "mask_predictor.mask_fcn_logits.bias",
            1,
        ),
    ] {
        let stored = file.tensor(&format!("roi_heads.{name}")).unwrap();
        let stored = stored.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let mut expected = ours[ours_name].clone();
        assert_eq!(expected.len(), 3 * group, "{name}");
        expected.rotate_right(group);
        assert_eq!(stored.collect::<Vec<_>>(), expected, "{name}");
    }
}

/// A file as torchvision publishes it: 91 slots, the older names.
fn published(detector: &Detector, folder: &Path, older: &[(&str, &str)]) -> PathBuf {
    let entries = inspect(saved(detector, folder)).unwrap().into_iter();
    let entries = entries.filter(|(name, ..)| !is_counter(name));
    let tensors: Vec<_> = entries
        .map(|(name, shape, _)| {
            let values = value(&name, shape.iter().product());
            let name = older.iter().fold(name, |name, (new, old)| name.replace(new, old));
            (name, shape, values)
        })
        .collect();
    let path = folder.join("published.safetensors");
    write_safetensors(&path, &tensors);
    path
}

const OLDER: [(&str, &str); 9] = [
    ("blocks.0.0.", "blocks.0."),
    ("blocks.1.0.", "blocks.1."),
    ("blocks.2.0.", "blocks.2."),
    ("blocks.3.0.", "blocks.3."),
    ("rpn.head.conv.0.0.", "rpn.head.conv."),
    ("mask_head.0.0.", "mask_head.mask_fcn1."),
    ("_head.conv.1.0.", "_head.conv.2."),
    ("_head.conv.2.0.", "_head.conv.4."),
    ("_head.conv.3.0.", "_head.conv.6."),
];

#[test]
fn coco_files_of_91_slots_fit_80_classes() {
    let folder = tempfile::tempdir().unwrap();
    let whole = make(&mask(), softmax(90), 1);
    let path = published(&whole, folder.path(), &OLDER);
    assert!(inspect(&path).unwrap().iter().any(|(name, ..)| name == "rpn.head.conv.weight"));
    let mut whole = whole;
    let report = whole.load_weights(&path, DetectorLoadScope::All).unwrap();
    assert_eq!(report.labels, LabelTable::Same);
    assert!(report.applied.contains(&"roi_heads.mask_head.mask_fcn1.weight".to_owned()));
    let mut dense = make(&mask(), softmax(80), 2);
    let report = dense.load_weights(&path, DetectorLoadScope::All).unwrap();
    assert_eq!(report.labels, LabelTable::Coco91);
    let (whole, dense) = (tensors(&whole), tensors(&dense));
    let mut picked = 0;
    for (name, dense) in &dense {
        let whole = &whole[name];
        if dense.len() == whole.len() {
            assert_eq!(dense, whole, "{name}");
            continue;
        }
        picked += 1;
        let group = whole.len() / 91;
        for (label, slot) in Coco91::slots().enumerate() {
            let [dense, whole] =
                [(dense, label), (whole, slot - 1)].map(|(v, i)| &v[i * group..][..group]);
            assert_eq!(dense, whole, "{name}, {label}");
        }
        assert_eq!(dense[80 * group..], whole[90 * group..], "{name}: background");
    }
    assert_eq!(picked, 6);

    let whole = make(&retinanet(), focal(91), 1);
    let path = published(&whole, folder.path(), &OLDER);
    let mut dense = make(&retinanet(), focal(80), 2);
    let report = dense.load_weights(&path, DetectorLoadScope::All).unwrap();
    assert_eq!(report.labels, LabelTable::Coco91);
    assert!(report.applied.contains(&"head.regression_head.conv.6.bias".to_owned()));
    let found = &tensors(&dense)["head.classification_head.cls_logits.bias"];
    let file = value("head.classification_head.cls_logits.bias", 9 * 91);
    for (label, slot) in Coco91::slots().enumerate() {
        assert_eq!((found[label], found[8 * 80 + label]), (file[slot], file[8 * 91 + slot]));
    }
}

#[test]
fn a_classifier_gives_its_backbone_to_any_detector() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("classifier.safetensors");
    let device = longtail_testing::device();
    let classifier = ClassifierConfig::new(BackboneConfig::ResNet18).init(10, None, 1, &device);
    classifier.unwrap().save_weights(&path).unwrap();
    for norm in [NormConfig::batch(), NormConfig::frozen()] {
        let backbone = DetectorBackboneConfig { norm, base_width: 64, ..backbone() };
        let config = FasterRcnnConfig { backbone, fpn: fpn(), ..Default::default() };
        let config =
            DetectorConfig::FasterRcnn(FasterRcnnConfig { box_head: box_head(), ..config });
        let mut detector = make(&config, softmax(3), 2);
        let before = tensors(&detector);
        let report = detector.load_weights(&path, DetectorLoadScope::Backbone).unwrap();
        assert_eq!(report.applied.len(), 100);
        assert!(report.applied.contains(&"layer4.1.bn2.running_var".to_owned()));
        assert!(report.unused.contains(&"fc.weight".to_owned()));
        assert!(report.missing.contains(&"rpn.head.cls_logits.weight".to_owned()));
        let after = tensors(&detector);
        for (name, values) in &after {
            let may_change = name.starts_with("backbone.body.");
            assert!(may_change || *values == before[name], "{name}");
        }
        assert_ne!(after["backbone.body.conv1.weight"], before["backbone.body.conv1.weight"]);

        // And from detector to detector.
        let path = saved(&detector, folder.path());
        let mut other = make(&config, softmax(7), 3);
        let report = other.load_weights(&path, DetectorLoadScope::Backbone).unwrap();
        assert!(report.applied.contains(&"backbone.body.conv1.weight".to_owned()));
        assert_eq!(
            tensors(&other)["backbone.body.conv1.weight"],
            after["backbone.body.conv1.weight"]
        );
    }
}

#[test]
fn another_data_set_takes_all_but_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let source = make(&mask(), softmax(3), 1);
    let path = saved(&source, folder.path());
    for config in [mask(), faster()] {
        let mut target = make(&config, softmax(7), 2);
        let fresh = tensors(&target);
        let report = target.load_weights(&path, DetectorLoadScope::AllButClasses).unwrap();
        let expected = if target.has_masks() { 6 } else { 4 };
        assert_eq!(report.missing.len(), expected, "{:?}", report.missing);
        let (source, target) = (tensors(&source), tensors(&target));
        for (name, values) in &target {
            let kept = name.contains("box_predictor") || name.contains("mask_fcn_logits");
            assert_eq!(values, if kept { &fresh[name] } else { &source[name] }, "{name}");
        }
    }
}

#[test]
fn another_architecture_is_refused_and_nothing_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(&make(&mask(), softmax(3), 1), folder.path());
    let refused = |config: &DetectorConfig, loss, scope| {
        let mut target = make(config, loss, 2);
        let before = tensors(&target);
        let error = target.load_weights(&path, scope).unwrap_err();
        assert_eq!(tensors(&target), before);
        assert!(matches!(error, ModelError::WrongWeights { .. }));
        error.to_string()
    };
    let all = DetectorLoadScope::All;
    let message = refused(&faster(), softmax(3), all);
    assert!(message.contains("this faster-rcnn of 3 classes on resnet18"), "{message}");
    assert!(message.contains("6 not in the model: roi_heads.mask_head.0.0.bias, "), "{message}");
    let message = refused(&mask(), softmax(4), all);
    let part = "roi_heads.box_predictor.cls_score.weight [4, 8] instead of [5, 8]";
    assert!(message.contains(part), "{message}");
    let sigmoid = ClassificationLoss::Focal(
        FocalConfig::default().init(3, &longtail_testing::device()).unwrap(),
    );
    let message = refused(&mask(), sigmoid, all);
    assert!(message.contains("cls_score.weight [4, 8] instead of [3, 8]"), "{message}");
    let message = refused(&retinanet(), focal(3), all);
    assert!(message.contains("retinanet of 3 classes"), "{message}");
    assert!(message.contains("head.classification_head.conv.0.0.weight"), "{message}");

    let DetectorConfig::FasterRcnn(config) = faster() else { panic!("faster-rcnn") };
    let deeper = DetectorBackboneConfig { architecture: BackboneConfig::ResNet34, ..backbone() };
    let deeper = FasterRcnnConfig { backbone: deeper, ..config.clone() };
    let message =
        refused(&DetectorConfig::FasterRcnn(deeper), softmax(3), DetectorLoadScope::Backbone);
    assert!(
        message.contains("on resnet34") && message.contains("missing from the file"),
        "{message}"
    );
    let wider = DetectorBackboneConfig { base_width: 8, ..backbone() };
    let wider = FasterRcnnConfig { backbone: wider, ..config.clone() };
    let message =
        refused(&DetectorConfig::FasterRcnn(wider), softmax(3), DetectorLoadScope::Backbone);
    assert!(message.contains("conv1.weight [4, 3, 7, 7] instead of [8, 3, 7, 7]"), "{message}");
    let group = DetectorBackboneConfig { norm: NormConfig::group(2), ..backbone() };
    let group = FasterRcnnConfig { backbone: group, ..config };
    let message =
        refused(&DetectorConfig::FasterRcnn(group), softmax(3), DetectorLoadScope::Backbone);
    assert!(message.contains("not in the model: backbone.body.bn1.running_mean"), "{message}");
}

#[test]
fn loading_keeps_gradients_and_freezing() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(&make(&retinanet(), focal(3), 1), folder.path());
    let device = longtail_testing::device().autodiff();
    let detector = retinanet().init(focal(3), 2, &device).unwrap();
    let frozen = |detector: &Detector| {
        let mut found = Vec::new();
        let Detector::RetinaNet(detector) = detector else { panic!("retinanet") };
        let weight = &detector.head.classification_head.cls_logits.weight;
        found.push(weight.is_require_grad());
        found
    };
    let mut free = detector.clone();
    free.load_weights(&path, DetectorLoadScope::All).unwrap();
    assert_eq!(frozen(&free), [true]);
    let mut held = detector.freeze();
    held.load_weights(&path, DetectorLoadScope::All).unwrap();
    assert_eq!(frozen(&held), [false]);
}
