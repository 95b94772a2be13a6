//! Classes of single images.

use std::borrow::Cow;
use std::path::PathBuf;

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
    let mut predictions = Vec::with_capacity(images.len());
    for paths in images.chunks(BATCH_SIZE) {
        let mut batch = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = std::fs::read(path)
                .map_err(|source| TrainingError::Read { path: path.to_path_buf(), source })?;
            batch.push(trained.prepare(&decode_image(&bytes, &path.display().to_string())?)?);
        }
        let batch: Vec<&[f32]> = batch.iter().map(Vec::as_slice).collect();
        let classes = trained.classify(&batch, top)?;
        let paths = paths.iter().cloned().zip(classes);
        predictions.extend(paths.map(|(path, classes)| Prediction { path, classes }));
    }
    Ok(predictions)
}

impl TrainedModel {
    /// An image as the model wants it, `[3, height, width]` of [`image_size`](Self::image_size): after
    /// the test transforms of the recipe, or resized if it then has another size.
    /// # Errors
    /// If the image has no pixel.
    pub fn prepare(&self, image: &RgbImage) -> Result<Vec<f32>, TrainingError> {
        let [height, width] = self.image_size();
        let pipeline = self.recipe().transforms.test_pipeline()?;
        // Test transforms draw no random numbers.
        let mut rng = KeyedRng::new(0, Stream::Augment, 0, 0);
        let mut pixels = Vec::with_capacity(3 * height * width);
        match pipeline.apply(Cow::Borrowed(image), &mut rng, &mut pixels) {
            Ok(size) if size == [height, width] => return Ok(pixels),
            _ => pixels.clear(),
        }
        let resize = Transform::Resize(Resize { height, width });
        let resized = Pipeline::new(vec![resize], pipeline.normalize())?;
        resized.apply(Cow::Borrowed(image), &mut rng, &mut pixels)?;
        Ok(pixels)
    }

    /// The `top` best classes of each image, best first; images come from [`prepare`](Self::prepare).
    /// # Errors
    /// If the device fails.
    /// # Panics
    /// If an image has another length.
    pub fn classify(
        &self,
        images: &[&[f32]],
        top: usize,
    ) -> Result<Vec<Vec<ClassScore>>, TrainingError> {
        let [height, width] = self.image_size();
        let data = TensorData::new(images.concat(), [images.len(), 3, height, width]);
        let logits = self.model().forward(Tensor::from_data(data, &self.device()));
        let scores = read_floats(self.scores(logits)?)?;
        let rows = scores.chunks_exact(self.classes().len().max(1));
        Ok(rows.map(|scores| best(self, scores, top)).collect())
    }
}

fn best(trained: &TrainedModel, scores: &[f32], top: usize) -> Vec<ClassScore> {
    let mut classes: Vec<(&str, f32)> =
        trained.classes().names().zip(scores.iter().copied()).collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    classes.truncate(top);
    classes.into_iter().map(|(name, score)| ClassScore { name: name.into(), score }).collect()
}
