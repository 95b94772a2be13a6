//! From file contents to RGB pixels.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, ImageReader};
use longtail_types::{MAX_IMAGE_PIXELS, is_image_size};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::{DataError, RgbImage};

/// Decodes a JPEG or PNG file, told apart by content, into RGB.
///
/// Grey becomes three equal channels, 16 bits become 8, an alpha channel is dropped (as PIL's
/// `convert("RGB")` does). Orientation tags are ignored, as in torchvision. `item` names the image
/// in errors.
///
/// # Errors
/// If the bytes are not JPEG or PNG, end too early or are damaged, or claim more than
/// [`MAX_IMAGE_PIXELS`] pixels.
pub fn decode_image(bytes: &[u8], item: &str) -> Result<RgbImage, DataError> {
    decode_into(bytes, item, Vec::new())
}

/// `[height, width]` of a JPEG or PNG file, from its head: nothing is decoded, and no memory taken for
/// pixels. `item` names the image in errors.
///
/// # Errors
/// If the bytes are not JPEG or PNG, or the head is damaged.
pub fn image_size(bytes: &[u8], item: &str) -> Result<[usize; 2], DataError> {
    let reader = ImageReader::with_format(Cursor::new(bytes), known_format(bytes, item)?);
    let (width, height) = reader.into_dimensions().map_err(|error| damaged(item, error))?;
    Ok([height as usize, width as usize])
}

/// `[height, width]` of an image file, from its head.
///
/// # Errors
/// If the file cannot be read, or if it is not JPEG or PNG.
pub(crate) fn image_file_size(path: &Path) -> Result<[usize; 2], DataError> {
    let reader = ImageReader::open(path).map_err(DataError::io(path))?;
    let reader = reader.with_guessed_format().map_err(DataError::io(path))?;
    let item = path.display().to_string();
    let (width, height) = reader
        .into_dimensions()
        .map_err(|error| DataError::Decode { item, message: error.to_string() })?;
    Ok([height as usize, width as usize])
}

/// The same with memory to use for the pixels: fresh memory costs a quarter of the time for photos.
pub(crate) fn decode_into(
    bytes: &[u8],
    item: &str,
    memory: Vec<u8>,
) -> Result<RgbImage, DataError> {
    let image = match known_format(bytes, item)? {
        ImageFormat::Jpeg => decode_jpeg(bytes, item, memory)?,
        _ => decode_png(bytes, item)?,
    };
    image.filter(|i| i.width() > 0 && i.height() > 0).ok_or_else(|| damaged(item, "no pixels"))
}

/// JPEG or PNG, by the first bytes.
fn known_format(bytes: &[u8], item: &str) -> Result<ImageFormat, DataError> {
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => Ok(format),
        _ => {
            let start = &bytes[..bytes.len().min(4)];
            let found = match bytes {
                [] => "the file is empty".to_owned(),
                _ => format!("the file starts with {start:02x?}"),
            };
            Err(DataError::NotAnImage { item: item.to_owned(), found })
        }
    }
}

fn decode_jpeg(
    bytes: &[u8],
    item: &str,
    mut memory: Vec<u8>,
) -> Result<Option<RgbImage>, DataError> {
    if !has_end_marker(bytes) {
        return Err(DataError::TruncatedJpeg { item: item.to_owned(), bytes: bytes.len() });
    }
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| damaged(item, error))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged(item, "no size"))?;
    check_size(width, height, item)?;
    memory.resize(3 * width * height, 0);
    decoder.decode_into(&mut memory).map_err(|error| damaged(item, error))?;
    Ok(RgbImage::new(width, height, memory))
}

fn decode_png(bytes: &[u8], item: &str) -> Result<Option<RgbImage>, DataError> {
    let reader = || ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    let (width, height) = reader().into_dimensions().map_err(|error| damaged(item, error))?;
    check_size(width as usize, height as usize, item)?;
    let image = reader().decode().map_err(|error| damaged(item, error))?.into_rgb8();
    Ok(RgbImage::new(image.width() as usize, image.height() as usize, image.into_raw()))
}

/// Refuses a size before memory is taken for it.
fn check_size(width: usize, height: usize, item: &str) -> Result<(), DataError> {
    if is_image_size([height, width]) {
        return Ok(());
    }
    let allowed = format!("1 to {MAX_IMAGE_PIXELS} pixels are read");
    Err(damaged(item, format!("its size is {width}x{height}; {allowed}")))
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
