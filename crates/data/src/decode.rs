//! From file contents to RGB pixels.

use std::io::Cursor;

use image::{ImageFormat, ImageReader};

use crate::{DataError, RgbImage};

/// Decodes a JPEG or PNG file, told apart by content, into RGB.
///
/// Grey becomes three equal channels, 16 bits become 8, an alpha channel is dropped (as PIL's
/// `convert("RGB")` does). Orientation tags are ignored, as in torchvision. `item` names the image
/// in errors.
///
/// # Errors
/// If the bytes are not JPEG or PNG, end too early or are damaged.
pub fn decode_image(bytes: &[u8], item: &str) -> Result<RgbImage, DataError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|error| damaged(item, error))?;
    match reader.format() {
        Some(ImageFormat::Jpeg) if !has_end_marker(bytes) => {
            return Err(DataError::TruncatedJpeg { item: item.to_owned(), bytes: bytes.len() });
        }
        Some(ImageFormat::Jpeg | ImageFormat::Png) => {}
        _ => {
            let start = &bytes[..bytes.len().min(4)];
            let found = match bytes {
                [] => "the file is empty".to_owned(),
                _ => format!("the file starts with {start:02x?}"),
            };
            return Err(DataError::NotAnImage { item: item.to_owned(), found });
        }
    }
    let image = reader.decode().map_err(|error| damaged(item, error))?.into_rgb8();
    let (width, height) = (image.width() as usize, image.height() as usize);
    let image = RgbImage::new(width, height, image.into_raw());
    image.filter(|i| i.width() > 0 && i.height() > 0).ok_or_else(|| damaged(item, "no pixels"))
}

fn damaged(item: &str, error: impl ToString) -> DataError {
    DataError::Decode { item: item.to_owned(), message: error.to_string() }
}

/// Whether the last marker of a JPEG file is its end (`FFD9`), not the start of a scan (`FFDA`):
/// neither can occur inside scan data. The decoder itself fills missing data with grey.
fn has_end_marker(bytes: &[u8]) -> bool {
    let markers = bytes.windows(2).rev();
    let last = markers.filter(|pair| pair[0] == 0xff).find(|pair| matches!(pair[1], 0xd9 | 0xda));
    last.is_some_and(|pair| pair[1] == 0xd9)
}
