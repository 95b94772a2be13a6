//! `longtail serve`: the answers, under load, with bad requests, and at its end.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use longtail_bench::serve_load::{
    Answer, Connection, Load, LoadResult, Outcome, ServerProcess, TINY_RECIPE, answers_alone,
    bad_requests, post, run_clients, sample_images,
};
use serde_json::Value;
use tempfile::TempDir;

const TARGET: &str = "/predict?min_score=0";
const PATIENCE: Duration = Duration::from_secs(60);

const CLASSIFIER: &str = r#"
batch_size = 4
iterations = 3
dataset.source = { kind = "synthetic", image_size = 32, head_count = 12, imbalance = 4.0, test_count = 2 }
model.backbone = "cifar-resnet20"
loss.method = "balanced-softmax"
optimizer = { kind = "sgd", lr = 0.05 }
evaluation.every_epochs = 0
"#;

fn longtail(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program());
    let output = command.args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_longtail"))
}

/// The run folder of a tiny detector, trained once.
fn detector() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| trained(TINY_RECIPE));
    folder.path().join("run")
}

fn trained(recipe: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("tiny.toml"), recipe).unwrap();
    longtail(folder.path(), &["train", "tiny.toml", "--quiet", "--out", "run"]);
    folder
}

fn ask(server: &ServerProcess, request: &[u8]) -> Answer {
    match Connection::open(server.address(), PATIENCE).unwrap().ask(request) {
        Outcome::Answered(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn get(server: &ServerProcess, path: &str) -> (u16, String) {
    let answer = ask(server, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// The number of a line of `/metrics`.
fn metric(server: &ServerProcess, name: &str) -> f64 {
    let page = get(server, "/metrics").1;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

#[test]
fn answers_are_those_of_predict() {
    let server = ServerProcess::start(program(), &detector(), &[]).unwrap();
    let images = sample_images(4).unwrap();
    let folder = TempDir::new().unwrap();
    for (index, image) in images.iter().enumerate() {
        fs::write(folder.path().join(format!("{index}")), image).unwrap();
    }
    let run = detector();
    let predict = ["predict", "--run", run.to_str().unwrap(), "--min-score", "0", "--json"];
    let all = longtail(folder.path(), &[&predict[..], &["0", "1", "2", "3"]].concat());
    let all: Value = serde_json::from_str(&all).unwrap();
    let mut num_detections = 0;
    for (index, image) in images.iter().enumerate() {
        let mut expected = all[index].clone();
        expected.as_object_mut().unwrap().remove("image");
        assert_eq!(json(&ask(&server, &post(TARGET, image))), expected);
        num_detections += expected["detections"].as_array().unwrap().len();
    }
    assert!(num_detections > 8, "{num_detections}");

    // A form, limits on detections, drawn images.
    let form =
        [b"--b\r\nContent-Disposition: form-data\r\n\r\n", &images[0][..], b"\r\n--b--"].concat();
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n\
         Content-Length: {}\r\n\r\n",
        form.len()
    );
    let whole = ask(&server, &post(TARGET, &images[0]));
    assert_eq!(ask(&server, &[head.as_bytes(), &form].concat()).body, whole.body);
    let two = json(&ask(&server, &post(&format!("{TARGET}&max_detections=2"), &images[0])));
    assert_eq!(
        two["detections"].as_array().unwrap()[..],
        json(&whole)["detections"].as_array().unwrap()[..2]
    );
    for (image, kind, start) in [
        (&images[0], "image/png", b"\x89PNG".as_slice()),
        (&images[1], "image/jpeg", b"\xff\xd8\xff"),
    ] {
        let drawn = ask(&server, &post(&format!("{TARGET}&format=image"), image));
        assert!(drawn.head.contains(&format!("content-type: {kind}")), "{}", drawn.head);
        assert!(drawn.body.starts_with(start) && drawn.body != *image);
    }

    // The other paths.
    assert_eq!(get(&server, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(&server, "/readyz"), (200, "ready\n".into()));
    assert!(get(&server, "/").1.contains("/predict?min_score=0.5"));
    let model: Value = serde_json::from_str(&get(&server, "/model").1).unwrap();
    assert_eq!((&model["task"], &model["has_masks"]), (&"detection".into(), &true.into()));
    assert_eq!(model["classes"].as_array().unwrap().len(), 5);
    let wrong = ask(&server, &post("/predict?min_score=high", &images[0]));
    let message = json(&wrong)["error"]["message"].as_str().unwrap().to_owned();
    assert!(wrong.status == 400 && message.contains("min_score"), "{message}");
    let wrong = ask(&server, &post("/predict", b"GIF89a and so on"));
    assert_eq!((wrong.status, &json(&wrong)["error"]["code"]), (415, &"not_an_image".into()));
    assert_eq!(metric(&server, "longtail_rejected_total{reason=\"bad_query\"}"), 1.0);
}

#[test]
fn a_classifier_gives_classes() {
    let folder = trained(CLASSIFIER);
    let server = ServerProcess::start(program(), &folder.path().join("run"), &["--log"]).unwrap();
    let image = &sample_images(1).unwrap()[0];
    fs::write(folder.path().join("a.png"), image).unwrap();
    let predict = ["predict", "--run", "run", "a.png", "--top", "2", "--json"];
    let expected: Value = serde_json::from_str(&longtail(folder.path(), &predict)).unwrap();
    let answer = json(&ask(&server, &post("/predict?top=2", image)));
    assert_eq!(answer["classes"], expected[0]["classes"]);
    assert_eq!(answer["classes"].as_array().unwrap().len(), 2);
    let refused = ask(&server, &post("/predict?format=image", image));
    assert_eq!(refused.status, 400);
    let model: Value = serde_json::from_str(&get(&server, "/model").1).unwrap();
    assert_eq!(model["input"], serde_json::json!({ "height": 32, "width": 32 }));
}

#[test]
fn load_bad_requests_and_a_stop() {
    let limits = ["--max-body", "262144", "--read-timeout-s", "1", "--max-wait-ms", "10"];
    let server = ServerProcess::start(program(), &detector(), &limits).unwrap();
    let images = sample_images(10).unwrap();
    let expected = answers_alone(server.address(), TARGET, &images).unwrap();
    let load = Load {
        address: server.address(),
        target: TARGET,
        images: &images,
        expected: &expected,
        clients: 8,
        patience: PATIENCE,
    };
    // Bad requests beside good ones disturb nobody.
    let bad = |count| bad_requests(server.address(), &images[0], count, 48, 262_144, PATIENCE);
    let mut results = Vec::new();
    let result = while_loaded(&load, || results = bad(612));
    check(&result);
    assert!(result.right > 50, "{result:?}");
    for kind in results {
        assert_eq!((kind.sent, kind.num_wrong), (36, 0), "{kind:?}");
    }
    // Some passes had several images, and none of the answers knew.
    assert!(metric(&server, "longtail_batch_images_bucket{le=\"+Inf\"}") > 0.0);
    let single = metric(&server, "longtail_batch_images_bucket{le=\"1\"}");
    assert!(single < metric(&server, "longtail_batch_images_count"), "no batch");
    assert_eq!(metric(&server, "longtail_model_panics_total"), 0.0);

    let before = server.resident_bytes();
    bad(612);
    if let (Some(before), Some(after)) = (before, server.resident_bytes()) {
        let growth = after.saturating_sub(before) >> 20;
        assert!(growth < 64, "memory grew by {growth} MiB");
    }

    let address = server.address();
    let result = while_loaded(&load, || {
        thread::sleep(Duration::from_millis(1000));
        server.terminate().unwrap();
        thread::sleep(Duration::from_millis(1500));
    });
    check(&result);
    assert!(result.right > 10 && result.closed > 0, "{result:?}");
    let (is_success, said) = server.wait(PATIENCE).unwrap();
    assert!(is_success && said.starts_with("stopped: "), "{said}");
    assert!(Connection::open(address, PATIENCE).is_err());
}

/// Load while something else happens.
fn while_loaded(load: &Load<'_>, work: impl FnOnce()) -> LoadResult {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = scope.spawn(|| run_clients(load, &stop));
        work();
        stop.store(true, Ordering::Relaxed);
        clients.join().unwrap()
    })
}

fn check(result: &LoadResult) {
    assert_eq!((result.wrong, result.lost), (0, 0), "{:?}", result.example);
}

#[test]
fn a_full_queue_and_a_slow_answer_are_said() {
    // One place, and a batch that waits for a second image that never comes.
    let limits = ["--queue", "1", "--max-wait-ms", "60000", "--timeout-s", "1"];
    let server = ServerProcess::start(program(), &detector(), &limits).unwrap();
    let image = sample_images(1).unwrap().remove(0);
    let first = thread::scope(|scope| {
        let first = scope.spawn(|| ask(&server, &post("/predict", &image)));
        thread::sleep(Duration::from_millis(500));
        let second = ask(&server, &post("/predict", &image));
        assert_eq!((second.status, &json(&second)["error"]["code"]), (503, &"queue_full".into()));
        assert!(second.head.contains("retry-after: 1"), "{}", second.head);
        first.join().unwrap()
    });
    assert_eq!((first.status, &json(&first)["error"]["code"]), (504, &"timeout".into()));
}

#[test]
fn a_wrong_start_is_explained() {
    let fails = |arguments: &[&str]| {
        let output = Command::new(program()).arg("serve").args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let listen = ["--listen", "127.0.0.1:0"];
    let none = fails(&[&["no/such/run"], &listen[..]].concat());
    assert!(none.contains("no/such/run"), "{none}");
    let zero = fails(&[&["run", "--max-batch", "0"], &listen[..]].concat());
    assert!(zero.contains("max_batch must be from 1"), "{zero}");
    let negative = fails(&[&["run", "--timeout-s=-1"], &listen[..]].concat());
    assert!(negative.contains("--timeout-s"), "{negative}");
}
