//! Normalisation, recipes, refusals.

use longtail_types::ChannelOrder;

use super::*;
use crate::detection::DetectionPipelineConfig;

#[test]
fn pixels_are_normalised_in_the_order_of_the_weights() {
    let image = RgbImage::new(2, 1, vec![10, 20, 30, 40, 50, 60]).unwrap();
    let preprocess = Preprocess {
        channel_order: ChannelOrder::Bgr,
        mean: [0.1, 0.2, 0.3],
        std: [1.0, 0.5, 0.25],
        ..Default::default()
    };
    let pipeline = DetectionPipeline::new(Vec::new(), preprocess, 0.0).unwrap();
    let mut planes = vec![0.0; 3 * 2 * 4];
    pipeline.normalize(&image, &mut planes, [2, 4]);
    let value = |byte: u8, mean: f32, std: f32| (f32::from(byte) / 255.0 - mean) / std;
    let mut expected = vec![0.0; 24];
    (expected[0], expected[1]) = (value(30, 0.1, 1.0), value(60, 0.1, 1.0));
    (expected[8], expected[9]) = (value(20, 0.2, 0.5), value(50, 0.2, 0.5));
    (expected[16], expected[17]) = (value(10, 0.3, 0.25), value(40, 0.3, 0.25));
    assert_eq!(planes, expected);
}

#[test]
fn recipes_are_read_and_unknown_keys_refused() {
    let json = r#"{ "preprocess": { "channel_order": "bgr" }, "min_side": 2.0, "train": [
        { "op": "resize-shortest-edge", "sizes": [640, 800], "max": 1333 },
        { "op": "large-scale-jitter", "height": 64, "width": 64 },
        { "op": "horizontal-flip" }, { "op": "random-iou-crop" },
        { "op": "color-jitter", "brightness": 0.2 }, { "op": "copy-paste" },
        { "op": "resize", "width": 8, "height": 8 },
        { "op": "pad-to-size", "width": 8, "height": 8, "fill": { "color": [1, 2, 3] } } ] }"#;
    let config: DetectionPipelineConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config.train_pipeline().unwrap().transforms().len(), 8);
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<DetectionPipelineConfig>(&text).unwrap(), config);
    let default = DetectionPipelineConfig::default();
    assert_eq!(default.train_pipeline().unwrap().transforms().len(), 2);

    let error =
        |json| serde_json::from_str::<DetectionPipelineConfig>(json).unwrap_err().to_string();
    assert!(
        error(r#"{ "train": [{ "op": "copy-paste", "p": 1 }] }"#).contains("unknown field `p`")
    );
    assert!(error(r#"{ "test": [] }"#).contains("unknown field `test`"));
    for (json, expected) in [
        (r#"{ "op": "resize-shortest-edge", "sizes": [], "max": 9 }"#, "one or more sizes"),
        (r#"{ "op": "resize-shortest-edge", "sizes": [4], "max": 0 }"#, "at least 1, got 0"),
        (r#"{ "op": "large-scale-jitter", "height": 0, "width": 1 }"#, "at least 1, got 0"),
        (
            r#"{ "op": "large-scale-jitter", "height": 9, "width": 9, "min_scale": 3.0 }"#,
            "got 3 and 2",
        ),
        (r#"{ "op": "random-iou-crop", "overlaps": [1.5] }"#, "got [1.5]"),
        (r#"{ "op": "random-iou-crop", "min_aspect": 1.5 }"#, "got 1.5 and 2"),
        (r#"{ "op": "random-iou-crop", "min_scale": 0.0 }"#, "got 0 and 1"),
        (r#"{ "op": "copy-paste", "probability": 2.0 }"#, "copy-paste.probability must be"),
        (r#"{ "op": "pad-to-size", "height": 1, "width": 0 }"#, "pad-to-size.width must be"),
    ] {
        let transform: DetectionTransform = serde_json::from_str(json).unwrap();
        let error = run(&[transform], &scene(), 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
