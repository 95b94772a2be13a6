//! How large an image may be.

/// The most pixels of an image that is read, resized or annotated: a few bytes of a file can claim
/// any size. As in Pillow, which refuses more as a decompression bomb; in RGB, 512 MiB.
pub const MAX_IMAGE_PIXELS: usize = 178_956_970;

/// Whether an image can have so many rows and columns: at least one pixel, and no more than
/// [`MAX_IMAGE_PIXELS`].
pub fn is_image_size([height, width]: [usize; 2]) -> bool {
    height.checked_mul(width).is_some_and(|pixels| (1..=MAX_IMAGE_PIXELS).contains(&pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_from_one_pixel_to_the_limit() {
        assert!(is_image_size([1, 1]) && is_image_size([1, MAX_IMAGE_PIXELS]));
        assert!(!is_image_size([0, 7]) && !is_image_size([MAX_IMAGE_PIXELS, 2]));
        assert!(!is_image_size([usize::MAX, usize::MAX]));
    }
}
