//! From bytes to what the model wants, and from its result to an answer: work for other threads than
//! those of the network.

use axum::http::StatusCode;
use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat};
use longtail::data::{DataError, RgbImage, decode_image, image_size};
use longtail::training::ClassScore;
use serde::Serialize;

use crate::config::ServeConfig;
use crate::model::{Found, Prepared, ServedModel};
use crate::problem::Problem;
use crate::query::{Format, Wish};

/// Sides that differ more make some resizing transforms ask for absurd sizes.
const MAX_ASPECT: usize = 100;
/// Of drawn images.
const JPEG_QUALITY: u8 = 90;
/// Names the image in messages.
const ITEM: &str = "the image";

/// The answer of a classifier.
#[derive(Serialize)]
struct ClassesRecord {
    width: usize,
    height: usize,
    classes: Vec<ClassScore>,
}

/// Bytes of an answer and their type.
pub(crate) type Content = (&'static str, Vec<u8>);

/// Decodes an image and applies the test transforms. Sizes are checked by the head of the file,
/// before any pixel has memory.
pub(crate) fn prepare(
    model: &ServedModel,
    bytes: &[u8],
    config: &ServeConfig,
) -> Result<Prepared, Problem> {
    if bytes.is_empty() {
        return Err(Problem::bad("no_image", "the body is empty; send a JPEG or PNG image"));
    }
    let [height, width] = image_size(bytes, ITEM).map_err(refused)?;
    let is_over = height.checked_mul(width).is_none_or(|pixels| pixels > config.max_pixels);
    if is_over {
        let limit = config.max_pixels;
        return Err(too_large(format!("{width} x {height} pixels; at most {limit} are taken")));
    }
    if height.max(width) > MAX_ASPECT * height.min(width) {
        let message =
            format!("{width} x {height} pixels; no side may be {MAX_ASPECT} times the other");
        return Err(too_large(message));
    }
    let image = decode_image(bytes, ITEM).map_err(refused)?;
    let prepared =
        model.prepare(image).map_err(|error| Problem::bad("bad_image", error.to_string()))?;
    if prepared.num_pixels() > config.max_network_pixels {
        let (found, limit) = (prepared.num_pixels(), config.max_network_pixels);
        let message = format!("{found} pixels for the network; at most {limit} are taken");
        return Err(too_large(message));
    }
    Ok(prepared)
}

fn too_large(message: String) -> Problem {
    let message = format!("the image is too large: {message}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "image_too_large", message)
}

fn refused(error: DataError) -> Problem {
    match error {
        DataError::NotAnImage { .. } => {
            let message = format!("{error}; send a JPEG or PNG image");
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_an_image", message)
        }
        other => Problem::bad("bad_image", other.to_string()),
    }
}

/// The answer of a request; `bytes` are those of its image.
pub(crate) fn answer(
    model: &ServedModel,
    found: Found,
    wish: Wish,
    bytes: &Bytes,
) -> Result<Content, Problem> {
    let failed =
        |message: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_answer", message);
    let json = |text: String| ("application/json", (text + "\n").into_bytes());
    match (found, wish) {
        (Found::Classes(mut classes, [height, width]), Wish::Classes { top }) => {
            classes.truncate(top);
            let record = ClassesRecord { width, height, classes };
            serde_json::to_string(&record).map(json).map_err(|error| failed(error.to_string()))
        }
        (Found::Objects(found), Wish::Objects { format, min_score, max }) => {
            let found = found.best(min_score, max);
            if format == Format::Json {
                let value =
                    found.json(model.classes()).map_err(|error| failed(error.to_string()))?;
                return Ok(json(value.to_string()));
            }
            // Decoded anew: images that wait for the model hold no more than it needs.
            let image = decode_image(bytes, ITEM).map_err(refused)?;
            let drawn = found.drawn(&image, model.classes());
            encoded(&drawn, image::guess_format(bytes).ok())
                .map_err(|error| failed(error.to_string()))
        }
        _ => Err(failed("the wish is for another model".into())),
    }
}

fn encoded(image: &RgbImage, format: Option<ImageFormat>) -> image::ImageResult<Content> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    let mut bytes = Vec::new();
    let kind = if format == Some(ImageFormat::Jpeg) {
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        encoder.write_image(image.pixels(), width, height, ExtendedColorType::Rgb8)?;
        "image/jpeg"
    } else {
        let encoder = PngEncoder::new(&mut bytes);
        encoder.write_image(image.pixels(), width, height, ExtendedColorType::Rgb8)?;
        "image/png"
    };
    Ok((kind, bytes))
}
