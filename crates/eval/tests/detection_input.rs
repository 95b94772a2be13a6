//! Files and values that cannot be evaluated: what is said about them.

#![allow(clippy::unwrap_used, reason = "tests")]

use longtail_eval::{
    AnnotatedImage, Benchmark, DetectionEvaluator, DetectionSettings, EvalError, GroundTruth,
    ImageDetections, Overlap, StreamingEvaluator, TrainingCounts, detections_json,
    evaluate_detections,
};
use longtail_types::{BBox, ClassCounts, ClassMap, Detection, Instance, Mask};
use serde_json::{Value, json};

fn annotations() -> Value {
    let lists = json!([]);
    json!({
        "images": [
            {"id": 7, "height": 20, "width": 30,
             "neg_category_ids": lists, "not_exhaustive_category_ids": lists},
            {"id": 4, "height": 20, "width": 30,
             "neg_category_ids": [5], "not_exhaustive_category_ids": lists},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [0, 0, 10, 10], "area": 100,
             "segmentation": [[0, 0, 10, 0, 10, 10]]},
            {"id": 2, "image_id": 4, "category_id": 9, "bbox": [0, 0, 10, 10], "area": 100,
             "segmentation": {"size": [20, 30], "counts": [0, 600]}},
        ],
        "categories": [
            {"id": 5, "name": "cat", "frequency": "r"},
            {"id": 9, "name": "dog", "frequency": "f"},
        ],
    })
}

/// What is said about the text of a file, without the folder.
fn about(error: EvalError) -> String {
    let error = error.to_string();
    match error.rsplit_once("/input.json: ") {
        Some((_, message)) => message.to_string(),
        None => error,
    }
}

fn read(text: &str, benchmark: Benchmark) -> Result<GroundTruth, EvalError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input.json");
    std::fs::write(&path, text).unwrap();
    GroundTruth::read(&path, benchmark)
}

fn evaluate(text: &str, overlap: Overlap) -> Result<(), EvalError> {
    let truth = read(&annotations().to_string(), Benchmark::Lvis).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input.json");
    std::fs::write(&path, text).unwrap();
    evaluate_detections(&truth, &path, &DetectionSettings::new("x", overlap)).map(|_| ())
}

#[track_caller]
fn refused_truth(benchmark: Benchmark, change: impl FnOnce(&mut Value), expected: &str) {
    let mut value = annotations();
    change(&mut value);
    assert_eq!(about(read(&value.to_string(), benchmark).unwrap_err()), expected);
}

#[test]
fn annotations_that_are_no_annotations() {
    let text = annotations().to_string();
    let coco = |text: &str| about(read(text, Benchmark::Coco).unwrap_err());
    let cut = coco(&text[..text.find("categories").unwrap() - 30]);
    assert!(cut.starts_with("annotations[") && cut.contains("EOF while parsing"), "{cut}");
    assert_eq!(
        coco("[1, 2]"),
        "annotations are an object with images, annotations and categories, this is a list: [1, 2]"
    );
    assert!(coco("no json").ends_with("this is no JSON: no json"), "{}", coco("no json"));
    assert!(coco("").ends_with("this is no JSON: "), "{}", coco(""));
    assert_eq!(coco("{}"), "the list `categories` is missing or empty");
    let nan = text.replace("[0,0,10,10]", "[0,NaN,10,10]");
    let nan = coco(&nan);
    assert!(nan.starts_with("annotations[0]: `bbox` is NaN, not a finite number: {"), "{nan}");
    let message = about(GroundTruth::read("/none/x.json".as_ref(), Benchmark::Coco).unwrap_err());
    assert!(message.starts_with("/none/x.json: No such file"), "{message}");
}

#[test]
fn wrong_types_name_the_entry() {
    let wrong = |change: fn(&mut Value)| {
        let mut value = annotations();
        change(&mut value);
        about(read(&value.to_string(), Benchmark::Coco).unwrap_err())
    };
    let message = wrong(|value| value["annotations"][1]["bbox"] = json!([1, 2, 3]));
    let expected = "annotations[1]: invalid length 3, expected an array of length 4: {";
    assert!(message.starts_with(expected), "{message}");
    let message = wrong(|value| value["images"][0]["id"] = json!("seven"));
    assert!(message.starts_with("images[0]: invalid type: string \"seven\""), "{message}");
    let message = wrong(|value| value["categories"][1]["id"] = json!(-1));
    assert!(
        message.starts_with("categories[1]: expected a non-negative integer, got -1"),
        "{message}"
    );
}

#[test]
fn annotations_that_contradict_themselves() {
    use Benchmark::{Coco, Lvis};
    refused_truth(
        Coco,
        |value| value["annotations"][1]["image_id"] = json!(99),
        "annotations[1]: id 2: `image_id` 99 is not in `images`",
    );
    refused_truth(
        Coco,
        |value| value["annotations"][0]["category_id"] = json!(6),
        "annotations[0]: id 1: `category_id` 6 is not in `categories`",
    );
    let twice = " (an id that is left out counts as 0)";
    refused_truth(
        Coco,
        |value| value["annotations"][1]["id"] = json!(1),
        &format!("annotations[1]: id 1 is that of annotations[0]{twice}"),
    );
    refused_truth(
        Coco,
        |value| value["images"][1]["id"] = json!(7),
        &format!("images[1]: id 7 is that of images[0]{twice}"),
    );
    refused_truth(
        Coco,
        |value| value["categories"][1]["id"] = json!(5),
        &format!("categories[1]: id 5 is that of categories[0]{twice}"),
    );
    refused_truth(
        Coco,
        |value| value["categories"][1]["name"] = json!("cat"),
        "class name \"cat\" stands twice, at 0 and 1",
    );
    refused_truth(
        Coco,
        |value| value["images"][1]["height"] = json!(0),
        "images[1]: id 4: an image of 30 x 0 pixels cannot be evaluated",
    );
    refused_truth(
        Coco,
        |value| value["images"] = json!([]),
        "the list `images` is missing or empty",
    );
    refused_truth(
        Lvis,
        |value| _ = value["categories"][0].as_object_mut().unwrap().remove("frequency"),
        "categories[0]: `frequency` is missing, which other classes have",
    );
    refused_truth(
        Lvis,
        |value| value["categories"][0]["frequency"] = json!("often"),
        "categories[0]: `frequency` is \"often\", expected \"r\", \"c\" or \"f\"",
    );
    for field in ["neg_category_ids", "not_exhaustive_category_ids"] {
        let remove = |value: &mut Value| {
            value["images"][1].as_object_mut().unwrap().remove(field);
        };
        refused_truth(
            Lvis,
            remove,
            &format!(
                "images[1]: id 4: `{field}` is missing; LVIS needs it, and the COCO benchmark does not"
            ),
        );
        let mut value = annotations();
        remove(&mut value);
        read(&value.to_string(), Coco).unwrap();
    }
}

#[test]
fn objects_without_what_is_compared() {
    let refused = |overlap, change: fn(&mut Value)| {
        let mut value = annotations();
        change(&mut value);
        let truth = read(&value.to_string(), Benchmark::Coco).unwrap();
        let settings = DetectionSettings::new("x", overlap);
        StreamingEvaluator::new(truth, settings).err().unwrap().to_string()
    };
    let expected = "ground truth, image 4: annotation 2: `bbox` is missing";
    let no_box = |value: &mut Value| value["annotations"][1]["bbox"] = Value::Null;
    assert_eq!(refused(Overlap::Boxes, no_box), expected);
    for (mask, expected) in [
        (Value::Null, "`segmentation` is missing, but masks are to be evaluated"),
        (json!([]), "its mask has no polygon"),
        (json!([[1, 2, 3, 4]]), "a polygon of 4 numbers: three points or more are needed"),
        (
            json!({"size": [30, 20], "counts": [600]}),
            "its mask has size [30, 20], its image [20, 30]",
        ),
    ] {
        let mut value = annotations();
        value["annotations"][0]["segmentation"] = mask;
        let truth = read(&value.to_string(), Benchmark::Coco).unwrap();
        let settings = DetectionSettings::new("x", Overlap::Masks);
        let error = StreamingEvaluator::new(truth, settings).err().unwrap().to_string();
        assert_eq!(error, format!("ground truth, image 7: annotation 1: {expected}"));
    }
}

#[test]
fn results_that_are_no_results() {
    let refused = |text: &str| about(evaluate(text, Overlap::Boxes).unwrap_err());
    let good = json!({"image_id": 7, "category_id": 5, "bbox": [0, 0, 5, 5], "score": 0.5});
    let list = |change: fn(&mut Value)| {
        let mut second = good.clone();
        change(&mut second);
        json!([good, second]).to_string()
    };
    evaluate(&list(|_| ()), Overlap::Boxes).unwrap();
    evaluate("[]", Overlap::Masks).unwrap();

    let text = list(|_| ());
    let cut = refused(&text[..text.len() - 9]);
    assert!(cut.starts_with("detections[1]: EOF while parsing"), "{cut}");
    assert_eq!(
        refused("{\"annotations\": []}"),
        "detections are a list of objects, this is an object: {\"annotations\": []}"
    );
    let nan = refused(&text.replacen("0.5}]", "NaN}]", 1));
    assert!(nan.starts_with("detections[1]: `score` is NaN, not a finite number: {"), "{nan}");
    let infinite = refused(&text.replacen("0.5}]", "Infinity}]", 1));
    assert!(infinite.starts_with("detections[1]: `score` is infinite"), "{infinite}");
    let string = refused(&list(|second| second["score"] = json!("high")));
    assert!(string.starts_with("detections[1]: invalid type: string \"high\""), "{string}");

    let place = "detections[1]: image 7, class id 5: ";
    for (change, expected) in [
        (
            (|second| second["bbox"] = Value::Null) as fn(&mut Value),
            format!("{place}`bbox` is missing, which the first detection has"),
        ),
        (
            |second| _ = second.as_object_mut().unwrap().remove("score"),
            format!("{place}`score` is missing"),
        ),
        (
            |second| second["bbox"] = json!([0, 0, -3, 4]),
            format!("{place}`bbox` [0.0, 0.0, -3.0, 4.0] has a negative size"),
        ),
        (
            |second| second["image_id"] = json!(70),
            "detections[1]: image 70, class id 5: `image_id` is not in the annotations".into(),
        ),
        (
            |second| second["category_id"] = json!(6),
            "detections[1]: image 7, class id 6: `category_id` is not in the annotations".into(),
        ),
    ] {
        assert_eq!(refused(&list(change)), expected);
    }
}

#[test]
fn results_without_usable_masks() {
    let line = |mask: Value| {
        json!([{"image_id": 7, "category_id": 5, "bbox": [0, 0, 5, 5], "score": 0.5,
                "segmentation": mask}])
        .to_string()
    };
    let place = "detections[0]: image 7, class id 5: ";
    for (mask, expected) in [
        (Value::Null, "`segmentation` is missing, but masks are to be evaluated"),
        (json!({"size": [2, 2], "counts": [4]}), "its mask has size [2, 2], its image [20, 30]"),
    ] {
        let message = about(evaluate(&line(mask), Overlap::Masks).unwrap_err());
        assert_eq!(message, format!("{place}{expected}"));
    }
    let long = about(
        evaluate(&line(json!({"size": [20, 30], "counts": [1, 700]})), Overlap::Masks).unwrap_err(),
    );
    assert!(long.starts_with(&format!("{place}its mask: ")), "{long}");
    let bad = evaluate(&line(json!({"size": [20, 30]})), Overlap::Masks).unwrap_err();
    assert!(about(bad).starts_with("detections[0]: missing field `counts`"));
}

fn detection(label: usize, score: f32, bbox: [f32; 4]) -> Detection {
    Detection { label, score, bbox: bbox.into(), mask: None }
}

#[test]
fn streamed_detections_are_refused_and_change_nothing() {
    let truth = read(&annotations().to_string(), Benchmark::Lvis).unwrap();
    let settings = DetectionSettings::new("x", Overlap::Boxes);
    let mut evaluator = StreamingEvaluator::new(truth.clone(), settings.clone()).unwrap();
    let good = detection(0, 0.5, [0.0, 0.0, 10.0, 10.0]);
    for (bad, expected) in [
        (detection(2, 0.5, [0.0; 4]), "label 2 is outside 0..2"),
        (detection(0, f32::NAN, [0.0; 4]), "its score NaN is not finite"),
        (
            detection(0, 0.5, [0.0, f32::NAN, 1.0, 1.0]),
            "its box [0.0, NaN, 1.0, 1.0] is not finite",
        ),
        (
            detection(0, 0.5, [5.0, 0.0, 1.0, 1.0]),
            "its box [5.0, 0.0, 1.0, 1.0] is turned inside out",
        ),
    ] {
        let error = evaluator.add_image(7, &[good.clone(), bad.clone()]).unwrap_err().to_string();
        assert_eq!(error, format!("detection 1 of image 7: {expected}"));
        let size = [20, 30];
        let image = ImageDetections { image_id: 7, size, detections: &[good.clone(), bad] };
        let written = detections_json(&[image], truth.classes(), Overlap::Boxes);
        assert_eq!(written.unwrap_err().to_string(), error);
    }
    let error = evaluator.add_image(70, &[]).unwrap_err().to_string();
    assert_eq!(error, "image 70 is not in the ground truth");
    evaluator.add_image(7, std::slice::from_ref(&good)).unwrap();
    let error = evaluator.add_image(7, &[]).unwrap_err().to_string();
    assert_eq!(error, "image 7 was evaluated already");
    let report = evaluator.finish().unwrap();
    assert_eq!((report.num_detections, report.classes[0].num_detections), (1, 1));

    let settings = DetectionSettings::new("x", Overlap::Masks);
    let mut evaluator = StreamingEvaluator::new(truth, settings.clone()).unwrap();
    let error = evaluator.add_image(7, std::slice::from_ref(&good)).unwrap_err().to_string();
    assert_eq!(error, "detection 0 of image 7: it has no mask, but masks are evaluated");
    let mask = Mask::new([25, 0], [1, 6], vec![true; 6]);
    let error = evaluator.add_image(7, &[Detection { mask, ..good }]).unwrap_err().to_string();
    let expected = "its mask reaches from [25, 0] to [31, 1], beyond the image of 30 x 20";
    assert_eq!(error, format!("detection 0 of image 7: {expected}"));
}

#[test]
fn settings_and_ground_truth_from_memory_are_checked() {
    let truth = read(&annotations().to_string(), Benchmark::Coco).unwrap();
    let mut settings = DetectionSettings::new("x", Overlap::Boxes);
    let counts = ClassCounts::from_labels([0, 1, 2], 3).unwrap();
    settings.training = Some(TrainingCounts { counts, source: "three classes".into() });
    let error = StreamingEvaluator::new(truth.clone(), settings).err().unwrap().to_string();
    assert_eq!(error, "the training counts are of 3 classes, the annotations of 2");
    let error = truth.subset(&[7, 8]).unwrap_err().to_string();
    assert_eq!(error, "image 8 is not in the ground truth");

    let classes = ClassMap::from_names(["cat"]).unwrap();
    let mut builder = GroundTruth::builder(classes, Benchmark::Lvis);
    assert!(matches!(builder.clone().build(), Err(EvalError::NoExamples)));
    let no_class = GroundTruth::builder(ClassMap::default(), Benchmark::Lvis);
    assert!(matches!(no_class.build(), Err(EvalError::NoClasses)));
    let bbox = BBox::new(0.0, 0.0, f32::INFINITY, 4.0);
    let image = AnnotatedImage { id: 3, size: [4, 5], ..Default::default() };
    let with =
        |instance: Instance| AnnotatedImage { objects: vec![instance.into()], ..image.clone() };
    let good = Instance { label: 0, bbox: BBox::new(0.0, 0.0, 2.0, 2.0), mask: None };
    for (bad, expected) in [
        (
            AnnotatedImage { size: [0, 5], ..image.clone() },
            "an image of 5 x 0 pixels cannot be evaluated",
        ),
        (AnnotatedImage { negative: vec![1], ..image.clone() }, "label 1 is outside 0..1"),
        (with(Instance { label: 4, ..good.clone() }), "label 4 is outside 0..1"),
        (
            with(Instance { bbox, ..good.clone() }),
            "object 0: its box [0.0, 0.0, inf, 4.0] is not finite",
        ),
    ] {
        let error = builder.add_image(&bad).unwrap_err().to_string();
        assert_eq!(error, format!("ground truth, image 3: {expected}"));
    }
    builder.add_image(&with(good)).unwrap();
    let error = builder.add_image(&image).unwrap_err().to_string();
    assert_eq!(error, "ground truth, image 3: its id came before");
    assert_eq!(builder.build().unwrap().num_objects(), 1);
}
