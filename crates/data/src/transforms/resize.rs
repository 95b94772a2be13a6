//! Resizing with an antialiased bilinear filter, as PIL.

use std::borrow::Cow;
use std::cell::RefCell;

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use longtail_types::{MAX_IMAGE_PIXELS, is_image_size};
use serde::{Deserialize, Serialize};

use crate::error::check_positive;
use crate::{DataError, RgbImage};

/// To an exact size; the aspect ratio may change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// New width.
    pub width: usize,
    /// New height.
    pub height: usize,
}

impl Resize {
    pub(crate) fn validate(&self) -> Result<(), DataError> {
        check_positive("resize.width", self.width)?;
        check_positive("resize.height", self.height)
    }

    pub(super) fn apply<'a>(
        &self,
        image: Cow<'a, RgbImage>,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        let whole = [0, 0, image.width(), image.height()];
        resize_box(image, whole, [self.width, self.height])
    }
}

/// Shorter side to `size`, the longer one in proportion, rounded down as torchvision does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeShorter {
    /// New length of the shorter side.
    pub size: usize,
}

impl ResizeShorter {
    pub(crate) fn validate(&self) -> Result<(), DataError> {
        check_positive("resize-shorter.size", self.size)
    }

    pub(super) fn apply<'a>(
        &self,
        image: Cow<'a, RgbImage>,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        let (width, height) = (image.width(), image.height());
        let long = self.size.saturating_mul(width.max(height)) / width.min(height);
        let size = if width <= height { [self.size, long] } else { [long, self.size] };
        resize_box(image, [0, 0, width, height], size)
    }
}

thread_local! {
    /// Keeps its buffers between images.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// Resizes the rectangle `[left, top, width, height]`; no pixel outside it has an influence.
pub(crate) fn resize_box<'a>(
    image: Cow<'a, RgbImage>,
    [left, top, from_width, from_height]: [usize; 4],
    [width, height]: [usize; 2],
) -> Result<Cow<'a, RgbImage>, DataError> {
    let is_whole = from_width == image.width() && from_height == image.height();
    if is_whole && [width, height] == [from_width, from_height] {
        return Ok(image);
    }
    if !is_image_size([height, width]) {
        let message = format!(
            "resized to {width}x{height}, it would have more than {MAX_IMAGE_PIXELS} pixels"
        );
        return Err(DataError::Decode { item: String::new(), message });
    }
    let dims = [image.width(), image.height(), left, top, from_width, from_height, width, height];
    let pixels = resize_pixels(image.pixels(), dims.map(|n| n as u32))
        .map_err(|message| DataError::Decode { item: String::new(), message })?;
    Ok(Cow::Owned(image.resized([left, top, from_width, from_height], [width, height], pixels)))
}

fn resize_pixels(
    pixels: &[u8],
    [image_width, image_height, left, top, from_width, from_height, width, height]: [u32; 8],
) -> Result<Vec<u8>, String> {
    let source = ImageRef::new(image_width, image_height, pixels, PixelType::U8x3)
        .map_err(|e| e.to_string())?;
    let source = CroppedImage::new(&source, left, top, from_width, from_height)
        .map_err(|e| e.to_string())?;
    let mut target = Image::new(width, height, PixelType::U8x3);
    let filter = ResizeAlg::Convolution(FilterType::Bilinear);
    let options = ResizeOptions::new().resize_alg(filter).use_alpha(false);
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize(&source, &mut target, &options))
        .map_err(|e| e.to_string())?;
    Ok(target.into_vec())
}
