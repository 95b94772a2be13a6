//! Several replicas on one device against one replica with the whole batch.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use longtail_losses::RowLabels;
use longtail_models::Classifier;
use longtail_testing::{device, values};

use super::*;
use crate::checkpoint::RunState;
use crate::classification::ClassificationTask;
use crate::detection::{DetectionRecipe, DetectionTask, Setting};
use crate::gradients::clip_global_norm;
use crate::recipe::Recipe;
use crate::replica_group::ReplicaDevices;
use crate::run::Run;
use crate::task::Task;
use crate::tensors::collect;

const STEPS: u64 = 3;

/// Batch norms by their running statistics, the weights trainable.
struct FixedStatistics;

impl ModuleMapper for FixedStatistics {
    fn map_flag(&mut self, _flag: Param<Flag>) -> Param<Flag> {
        Param::from_bool(false)
    }
}

fn recipe(overrides: &[&str]) -> Recipe {
    let text = r#"
        batch_size = 7
        epochs = 1
        dataset.source = { kind = "synthetic", image_size = 8, head_count = 20, imbalance = 10.0, test_count = 1 }
        model.backbone = "cifar-resnet20"
        optimizer = { kind = "sgd", lr = 0.05, nesterov = true, weight_decay = 1e-4 }
        run = { workers = 1 }
        [transforms]
        preset = "cifar"
        train = []
    "#;
    Recipe::parse("tiny", text, overrides).unwrap()
}

fn classification(replicas: usize, overrides: &[&str]) -> Run<ClassificationTask> {
    let recipe = recipe(overrides);
    let data = recipe.dataset.load().unwrap();
    let devices = ReplicaDevices::mock(&device(), replicas);
    ClassificationTask::new(&recipe, &devices, data).unwrap()
}

fn detection(replicas: usize, overrides: &[&str]) -> Run<DetectionTask> {
    let text = include_str!("../../tests/tiny_detector.toml");
    let norm = "model.backbone.norm={ kind = \"group\", groups = 4 }";
    let overrides: Vec<&str> = [norm].into_iter().chain(overrides.to_vec()).collect();
    let recipe = DetectionRecipe::parse("tiny", text, &overrides).unwrap();
    let data = recipe.dataset.load().unwrap();
    let counts = data.train.class_counts().unwrap();
    let devices = ReplicaDevices::mock(&device(), replicas);
    let device = device().autodiff();
    Setting { data, counts, device, devices }.first_run(&recipe).unwrap()
}

/// Trains three steps on the first batches, and gives everything that a checkpoint would hold.
fn train<T: Task>(run: &mut Run<T>, accumulate: usize) -> NamedTensors {
    train_steps(run, accumulate, STEPS)
}

fn train_steps<T: Task>(run: &mut Run<T>, accumulate: usize, num_steps: u64) -> NamedTensors {
    let (mut key, mut step) = (0, 0);
    run.task.begin_epoch(0).unwrap();
    for batch in run.task.batches(0, 0) {
        run.task.accumulate(batch.unwrap(), key).unwrap();
        key += 1;
        if key.is_multiple_of(accumulate as u64) {
            run.task.step(0.05).unwrap();
            step += 1;
            run.task.check_replicas(step).unwrap();
        }
        if step == num_steps {
            break;
        }
    }
    assert_eq!(step, num_steps, "too few batches");
    run.task.collect(&mut run.state).unwrap()
}

/// The tensor that is furthest from what is expected, in parts of the largest value of its kind.
fn deviation(several: &NamedTensors, one: &NamedTensors) -> (f64, String) {
    assert_eq!(several.keys().collect::<Vec<_>>(), one.keys().collect::<Vec<_>>());
    let deviations = one.iter().map(|(name, expected)| {
        let expected: Vec<f64> = expected.iter::<f32>().map(f64::from).collect();
        let actual: Vec<f64> = several[name].iter::<f32>().map(f64::from).collect();
        assert_eq!(actual.len(), expected.len(), "{name}");
        let largest = |size: f64, value: f64| if value <= size { size } else { value };
        let size = expected.iter().map(|value| value.abs()).fold(1e-2, largest);
        let errors =
            actual.iter().zip(&expected).map(|(actual, expected)| (actual - expected).abs());
        (errors.fold(0.0, largest) / size, name.clone())
    });
    deviations.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

fn assert_same(several: &NamedTensors, one: &NamedTensors, tolerance: f64) {
    let (deviation, name) = deviation(several, one);
    assert!(deviation <= tolerance, "{name}: {deviation}");
}

fn assert_bits(several: &NamedTensors, one: &NamedTensors) {
    for (name, expected) in one {
        assert!(several[name] == *expected, "{name} differs");
    }
}

fn with_fixed_statistics(run: &mut Run<ClassificationTask>) {
    for replica in run.task.replicas.all_mut() {
        let model: &mut Classifier = &mut replica.learner_mut().model;
        *model = model.clone().map(&mut FixedStatistics);
    }
}

/// Of three seeds at least two: about one run in thirty is off by up to a hundredth, as where a unit
/// is so near the corner of its ReLU that rounding decides its gradient; the others agree to 1e-4.
fn assert_classification_is_one_batch(overrides: &[&str], accumulate: usize) {
    // Batches of 7 images: shards of 4 and 3, and of 3, 2 and 2.
    for replicas in [2, 3] {
        let mut deviations = ["seed=0", "seed=1", "seed=2"].map(|seed| {
            let overrides = [overrides, &[seed]].concat();
            let mut runs = [1, replicas].map(|replicas| classification(replicas, &overrides));
            runs.iter_mut().for_each(with_fixed_statistics);
            let [one, several] = runs.map(|mut run| train(&mut run, accumulate));
            assert!(one.keys().any(|name| name.starts_with("optimizer.")), "nothing was trained");
            deviation(&several, &one)
        });
        deviations.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(deviations[1].0 <= 1e-4, "{replicas} replicas: {deviations:?}");
    }
}

#[test]
fn replicas_of_a_classifier_step_as_one_batch() {
    assert_classification_is_one_batch(&["ema.decay=0.9"], 1);
}

#[test]
fn statistics_clipping_and_accumulation_are_those_of_one_batch() {
    let gradient = "gradient={ accumulate = 2, clip_norm = 0.05 }";
    assert_classification_is_one_batch(&["loss={ method = \"eql-v2\" }", gradient], 2);
    assert_classification_is_one_batch(&["loss={ method = \"equalized-softmax\" }"], 1);
}

#[test]
fn class_weights_are_shared_too() {
    let reweighting = "reweighting={ from_epoch = 0, beta = 0.9 }";
    assert_classification_is_one_batch(&["loss={ method = \"cross-entropy\" }", reweighting], 1);
}

/// More replicas than images: the last ones wait, and stay equal.
#[test]
fn replicas_without_an_image_stay_in_step() {
    let small = "batch_size=2";
    let [mut one, mut three] = [1, 3].map(|replicas| classification(replicas, &[small]));
    [&mut one, &mut three].into_iter().for_each(with_fixed_statistics);
    assert_same(&train(&mut three, 2), &train(&mut one, 2), 1e-3);
}

#[test]
fn batch_norms_are_averaged_and_replicas_stay_equal() {
    let mut two = classification(2, &[]);
    let before = two.task.collect(&mut two.state).unwrap();
    let after = train(&mut two, 1); // compares the replicas
    let name = after.keys().find(|name| name.contains("running_mean")).unwrap();
    assert!(before[name] != after[name], "{name} did not move");
}

/// The losses of one batch, seen twice within a step.
fn seen_twice<T: Task>(run: &mut Run<T>) -> [f32; 2] {
    [0, 1].map(|_| {
        let batch = run.task.batches(0, 0).next().unwrap().unwrap();
        run.task.accumulate(batch, 0).unwrap();
        run.task.read_losses().unwrap().loss
    })
}

#[test]
fn every_batch_of_a_step_draws_anew() {
    const SEQL: &str =
        "loss={ method = \"seql\", tail = { image-count-at-most = 9 }, gamma = 0.5 }";
    let [first, second] = seen_twice(&mut classification(1, &["gradient.accumulate=2"]));
    assert_eq!(first, second); // without draws
    let [first, second] = seen_twice(&mut classification(1, &[SEQL, "gradient.accumulate=2"]));
    assert_ne!(first, second);
    let acsl = "loss={ method = \"acsl\", common_share = 0.5, rare_share = 0.5 }";
    let overrides = ["batch_size=2", "gradient.accumulate=2", acsl];
    let mut run = detection(2, &overrides);
    let [first, second] = seen_twice(&mut run);
    assert_ne!(first, second);
    run.task.step(0.05).unwrap();
    let tensors = run.task.collect(&mut run.state).unwrap();
    assert_eq!(tensors["loss.draws"].iter::<f32>().collect::<Vec<_>>(), [0.0, 0.0, 0.0, 2.0]);
}

/// One of the three has no image.
#[test]
fn all_replicas_draw_as_often() {
    let bags = "loss={ method = \"bags\", bounds = [5], background = false }";
    let mut run = classification(3, &["batch_size=2", "gradient.accumulate=2", bags]);
    train(&mut run, 2);
    for replica in run.task.replicas.all() {
        let [(_, draws)] = replica.loss.state().try_into().unwrap();
        assert_eq!(values(draws), [0.0, 0.0, 0.0, 2.0 * STEPS as f32]);
    }
}

/// Of one step: after that rounding may change which regions are chosen.
#[test]
fn a_two_stage_detector_steps_as_one_batch() {
    let overrides = ["batch_size=3", "loss={ method = \"eql-v2\" }"];
    let [mut one, mut two] = [1, 2].map(|replicas| detection(replicas, &overrides));
    let (one, two) = (train_steps(&mut one, 1, 1), train_steps(&mut two, 1, 1));
    assert!(one.keys().any(|name| name.starts_with("loss.")), "no statistics");
    assert_same(&two, &one, 1e-3);
}

/// Seesaw counts a batch before its loss, each device its own part; afterwards all have the sum.
#[test]
fn seesaw_counts_the_labels_of_all() {
    let only_loss = |tensors: NamedTensors| -> NamedTensors {
        tensors.into_iter().filter(|(name, _)| name.starts_with("loss.")).collect()
    };
    let overrides = ["batch_size=3", "loss={ method = \"seesaw\" }"];
    let [one, three] =
        [1, 3].map(|replicas| only_loss(train(&mut classification(replicas, &overrides), 1)));
    assert_bits(&three, &one);
    let [one, two] =
        [1, 2].map(|replicas| only_loss(train_steps(&mut detection(replicas, &overrides), 1, 1)));
    assert!(!one.is_empty(), "no counts");
    assert_bits(&two, &one);
}

/// One device does what a loop without replicas does, bit for bit.
#[test]
fn one_device_is_the_plain_loop() {
    let overrides = ["loss={ method = \"eql-v2\" }", "gradient={ clip_norm = 0.05 }"];
    let mut run = classification(1, &overrides);
    let replica = run.task.replicas.main.learner();
    let (mut model, device) = (replica.model.clone(), replica.device().clone());
    let recipe = recipe(&overrides);
    let mut optimizer = recipe.optimizer.init();
    let mut loss = recipe.loss.init(&run.state.counts, &device).unwrap();
    for batch in run.task.batches(0, 0).take(STEPS as usize) {
        let batch = batch.unwrap();
        let labels = RowLabels::from_host(&batch.labels, loss.num_labels(), &device).unwrap();
        let logits = model.forward(batch.to_device(&device).images);
        let output = loss.forward(logits, labels).unwrap();
        let gradients = GradientsParams::from_grads(output.loss.backward(), &model);
        let gradients = clip_global_norm(&model, gradients, 0.05);
        optimizer.update(0.05, &mut model, gradients);
        loss.apply(output.update).unwrap();
    }
    let mut expected = NamedTensors::new();
    collect("model", &model, &mut expected).unwrap();
    let mut trained = train(&mut run, 1);
    trained.retain(|name, _| name.starts_with("model."));
    assert_eq!(trained.len(), expected.len());
    assert_bits(&trained, &expected);
}

#[test]
fn a_checkpoint_restores_all_replicas() {
    let overrides = ["loss={ method = \"eql-v2\" }"];
    let mut whole = classification(2, &overrides);
    let first = train(&mut whole, 1);
    let state = whole.state.clone();
    let mut resumed = classification(2, &overrides);
    resumed.task = resumed.task.restore(first, &RunState { step: STEPS, ..state }).unwrap();
    let (mut resumed, mut whole) = (train(&mut resumed, 1), train(&mut whole, 1));
    // Sums of losses over the replicas, which a checkpoint adds up in another order.
    let window = |tensors: &mut NamedTensors| {
        let window = tensors.remove("window").into_iter();
        NamedTensors::from_iter(window.map(|sums| ("window".to_string(), sums)))
    };
    assert_same(&window(&mut resumed), &window(&mut whole), 1e-6);
    assert_bits(&resumed, &whole);
}

#[test]
fn replicas_that_differ_stop_the_run() {
    let mut two = classification(2, &[]);
    train(&mut two, 1);
    let other = two.task.replicas.all_mut().nth(1).unwrap();
    let head = &mut other.learner_mut().model;
    *head = head.clone().map(&mut Perturb(0));
    let error = two.task.check_replicas(9).unwrap_err().to_string();
    assert!(error.starts_with("the replicas differ at step 9: `"), "{error}");
    assert!(error.contains("of device 1"), "{error}");
}

/// Moves one tensor by a thousandth.
struct Perturb(usize);

impl ModuleMapper for Perturb {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        if self.0 == 5 { param.map(|value| value.mul_scalar(1.001)) } else { param }
    }
}

#[test]
#[should_panic(expected = "on purpose")]
fn the_panic_of_a_replica_is_passed_on() {
    let mut two = classification(2, &[]);
    two.task.replicas.each(vec![false, true], |_, is_wrong| assert!(!is_wrong, "on purpose"));
}

#[test]
fn shares_of_counts() {
    assert_eq!(shares(&[3.0, 1.0]), [0.75, 0.25]);
    assert_eq!([shares(&[5.0]), shares(&[0.0])], [[1.0], [1.0]]);
    assert_eq!(shares(&[0.0, 0.0]), [0.0, 0.0]);
    let loss = Tensor::<1>::from_floats([2.0], &device());
    assert_eq!(values(weighted(loss, 0.25)), [0.5]);
}
