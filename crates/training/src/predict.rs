//! Classes of single images.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use longtail_data::{KeyedRng, Pipeline, Resize, RgbImage, Stream, Transform, decode_image};
use longtail_kernels::read_floats;
use serde::Serialize;

use crate::error::TrainingError;
use crate::trained::TrainedModel;

/// Images per forward pass.
const BATCH_SIZE: usize = 32;

/// What a model sees in an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The image file.
    pub path: PathBuf,
    /// The classes with the highest scores, best first.
    pub classes: Vec<ClassScore>,
}

/// A class and its score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// Name of the class.
    pub name: String,
    /// In `[0, 1]`; softmax losses give scores that add up to 1 over the classes.
    pub score: f32,
}

/// Classifies image files; each gets its `top` best classes.
///
/// Images go through the test transforms of the recipe; one that then has another size than the
/// training images is resized to theirs first.
/// # Errors
/// If a file cannot be read or is no whole JPEG or PNG image.
pub fn predict(
    trained: &TrainedModel,
    images: &[PathBuf],
    top: usize,
) -> Result<Vec<Prediction>, TrainingError> {
    let pipeline = trained.recipe().transforms.test_pipeline()?;
    let mut predictions = Vec::with_capacity(images.len());
    for paths in images.chunks(BATCH_SIZE) {
        let mut pixels = Vec::new();
        for path in paths {
            append(&pipeline, trained.image_size(), path, &mut pixels)?;
        }
        let scores = scores(trained, paths.len(), pixels)?;
        let num_classes = trained.classes().len();
        for (path, scores) in paths.iter().zip(scores.chunks_exact(num_classes)) {
            predictions
                .push(Prediction { path: path.clone(), classes: best(trained, scores, top) });
        }
    }
    Ok(predictions)
}

/// Appends an image as `[3, height, width]` of the model's size.
fn append(
    pipeline: &Pipeline,
    [height, width]: [usize; 2],
    path: &Path,
    pixels: &mut Vec<f32>,
) -> Result<(), TrainingError> {
    let bytes = std::fs::read(path)
        .map_err(|source| TrainingError::Read { path: path.to_path_buf(), source })?;
    let image: RgbImage = decode_image(&bytes, &path.display().to_string())?;
    // Test transforms draw no random numbers.
    let mut rng = KeyedRng::new(0, Stream::Augment, 0, 0);
    let start = pixels.len();
    match pipeline.apply(Cow::Borrowed(&image), &mut rng, pixels) {
        Ok(size) if size == [height, width] => return Ok(()),
        _ => pixels.truncate(start),
    }
    let resize = Transform::Resize(Resize { height, width });
    let resized = Pipeline::new(vec![resize], pipeline.normalize())?;
    resized.apply(Cow::Borrowed(&image), &mut rng, pixels)?;
    Ok(())
}

/// Scores of images of the model's size, `[len, num_classes]`.
fn scores(trained: &TrainedModel, len: usize, pixels: Vec<f32>) -> Result<Vec<f32>, TrainingError> {
    let device = trained.model().devices().into_iter().next().unwrap_or_default();
    let [height, width] = trained.image_size();
    let data = TensorData::new(pixels, [len, 3, height, width]);
    let logits = trained.model().forward(Tensor::from_data(data, &device));
    Ok(read_floats(trained.scores(logits)?)?)
}

fn best(trained: &TrainedModel, scores: &[f32], top: usize) -> Vec<ClassScore> {
    let mut classes: Vec<(&str, f32)> =
        trained.classes().names().zip(scores.iter().copied()).collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    classes.truncate(top);
    classes.into_iter().map(|(name, score)| ClassScore { name: name.into(), score }).collect()
}
