//! Masks in the run-length code of COCO.

use hotcoco::{Rle, Segmentation, mask};
use longtail_types::Mask;

/// The mask on an image of `[height, width]` as compressed run lengths, as results files have it.
/// `Err` says what is wrong.
pub(crate) fn encode_mask(
    object: &Mask,
    [height, width]: [u32; 2],
) -> Result<Segmentation, String> {
    let (left, top) = (object.left(), object.top());
    let (right, bottom) = (left + object.width(), top + object.height());
    if right > width as usize || bottom > height as usize {
        return Err(format!(
            "its mask reaches from [{left}, {top}] to [{right}, {bottom}], beyond the image of \
             {width} x {height}"
        ));
    }
    // Runs of clear and set pixels in turn, column by column, beginning with clear ones.
    let mut counts = Vec::new();
    let mut run = 0_u32;
    let mut is_set = false;
    let mut push = |length: u32, set: bool| {
        if length > 0 && set != is_set {
            counts.push(run);
            (run, is_set) = (0, set);
        }
        run += length;
    };
    push(left as u32 * height, false);
    for x in 0..object.width() {
        push(top as u32, false);
        for y in 0..object.height() {
            push(1, object.pixels()[y * object.width() + x]);
        }
        push(height - bottom as u32, false);
    }
    push((width - right as u32) * height, false);
    counts.push(run);
    let code = Rle::new(height, width, counts).map_err(|error| error.to_string())?;
    Ok(Segmentation::CompressedRle { size: [height, width], counts: mask::rle_to_string(&code) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of the whole image, pixel by pixel.
    fn whole(object: &Mask, [height, width]: [u32; 2]) -> String {
        let columns = (0..width as usize)
            .flat_map(|x| (0..height as usize).map(move |y| u8::from(object.get(x, y))));
        let pixels: Vec<u8> = columns.collect();
        mask::rle_to_string(&mask::encode(&pixels, height, width).unwrap())
    }

    #[test]
    fn windows_anywhere() {
        let bits = |code: u32| (0..6).map(|bit| code >> bit & 1 == 1).collect::<Vec<_>>();
        for code in 0..64 {
            for (left, top) in [(0, 0), (1, 2), (3, 0), (2, 3)] {
                let object = Mask::new([left, top], [2, 3], bits(code)).unwrap();
                let Segmentation::CompressedRle { size, counts } =
                    encode_mask(&object, [5, 6]).unwrap()
                else {
                    panic!("not compressed");
                };
                assert_eq!(size, [5, 6]);
                assert_eq!(counts, whole(&object, [5, 6]), "{code} at {left}, {top}");
            }
        }
    }

    #[test]
    fn empty_masks_and_masks_outside() {
        assert!(encode_mask(&Mask::default(), [4, 4]).is_ok());
        let object = Mask::new([3, 0], [1, 2], vec![true; 2]).unwrap();
        let error = encode_mask(&object, [4, 4]).unwrap_err();
        assert_eq!(error, "its mask reaches from [3, 0] to [5, 1], beyond the image of 4 x 4");
    }
}
