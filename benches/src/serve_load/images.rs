//! Images to send.

use std::io::Cursor;

use image::{ImageFormat, ImageResult, Rgb, RgbImage};

/// `count` different images with shapes of many colours and sizes, PNG and JPEG in turn.
/// # Errors
/// If the encoder fails, which it does not.
pub fn sample_images(count: usize) -> ImageResult<Vec<Vec<u8>>> {
    (0..count as u32).map(sample).collect()
}

fn sample(index: u32) -> ImageResult<Vec<u8>> {
    let size = |step: u32| 64 + index * step % 5 * 16;
    let (width, height) = (size(1), size(3));
    let mut image = RgbImage::from_pixel(width, height, Rgb([200, 210, 190]));
    for shape in 0..3 + index % 4 {
        let key = index * 31 + shape * 17;
        let (left, top) = (key * 7 % (width - 24), key * 13 % (height - 24));
        let (side, color) = (12 + key % 12, [key * 40 % 256, key * 90 % 256, key * 150 % 256]);
        for (x, y) in (0..side * side).map(|pixel| (pixel % side, pixel / side)) {
            let is_round = shape % 2 == 0;
            let (dx, dy) = (2 * x as i32 - side as i32, 2 * y as i32 - side as i32);
            if !is_round || dx * dx + dy * dy <= (side * side) as i32 {
                image.put_pixel(left + x, top + y, Rgb(color.map(|value| value as u8)));
            }
        }
    }
    let format = if index.is_multiple_of(2) { ImageFormat::Png } else { ImageFormat::Jpeg };
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_differ_and_open() {
        let images = sample_images(8).unwrap();
        for (index, bytes) in images.iter().enumerate() {
            assert!(longtail_data::decode_image(bytes, "sample").is_ok());
            assert!(images[..index].iter().all(|other| other != bytes));
        }
    }
}
