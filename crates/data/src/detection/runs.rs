//! Between run lengths, which go down the columns of an image, and windows of pixels.

use hotcoco::Rle;
use longtail_types::Mask;

/// The union of masks of one image, cropped to what is set; `None` if it does not fit into memory.
pub(super) fn window_of(masks: &[Rle]) -> Option<Mask> {
    let mut corners: Option<[usize; 4]> = None; // left, top, right, bottom
    for mask in masks {
        let [x, y, width, height] = hotcoco::mask::to_bbox(mask).map(|value| value as usize);
        if width == 0 || height == 0 {
            continue;
        }
        let [left, top, right, bottom] = corners.unwrap_or([x, y, x, y]);
        corners = Some([left.min(x), top.min(y), right.max(x + width), bottom.max(y + height)]);
    }
    let [left, top, right, bottom] = corners.unwrap_or_default();
    let (width, height) = (right - left, bottom - top);
    let mut pixels = vec![false; width.checked_mul(height)?];
    for mask in masks {
        for_each_column(mask, |x, rows| {
            for y in rows {
                pixels[(y - top) * width + (x - left)] = true;
            }
        });
    }
    Mask::new([left, top], [height, width], pixels)
}

/// Calls `visit` with every vertical stretch of pixels set.
fn for_each_column(mask: &Rle, mut visit: impl FnMut(usize, std::ops::Range<usize>)) {
    let height = mask.h as usize;
    let mut at = 0;
    for (run, &count) in mask.counts.iter().enumerate() {
        let end = at + count as usize;
        if run % 2 == 0 {
            at = end;
        }
        while at < end {
            let (x, y) = (at / height, at % height);
            let rows = (height - y).min(end - at);
            visit(x, y..y + rows);
            at += rows;
        }
    }
}

/// Run lengths of a mask in an image of `[height, width]`; `None` if the window reaches outside.
pub(super) fn runs_of(mask: &Mask, [height, width]: [u32; 2]) -> Option<Rle> {
    let (h, w) = (height as usize, width as usize);
    if mask.left() + mask.width() > w || mask.top() + mask.height() > h {
        return None;
    }
    let (mut counts, mut last_end) = (Vec::<u32>::new(), 0);
    let mut push = |start: usize, end: usize| {
        match counts.last_mut() {
            Some(last) if start == last_end => *last += (end - start) as u32,
            _ => counts.extend([(start - last_end) as u32, (end - start) as u32]),
        }
        last_end = end;
    };
    for x in 0..mask.width() {
        let base = (mask.left() + x) * h + mask.top();
        for y in 0..mask.height() {
            if mask.pixels()[y * mask.width() + x] {
                push(base + y, base + y + 1);
            }
        }
    }
    if last_end < h * w || counts.is_empty() {
        counts.push((h * w - last_end) as u32);
    }
    Some(Rle { h: height, w: width, counts })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window of pseudo-random pixels, written and read; hotcoco's own encoder as the oracle.
    #[test]
    fn windows_and_runs_turn_into_each_other() {
        let windows = [([2, 1], [5, 4]), ([0, 0], [9, 7]), ([6, 8], [1, 1]), ([3, 0], [9, 1])];
        for ([left, top], [height, width]) in windows {
            let is_set = |i: usize| (i * i * 7 + i) % 5 < 3;
            let pixels: Vec<bool> = (0..height * width).map(is_set).collect();
            let mask = Mask::new([left, top], [height, width], pixels).unwrap();
            let runs = runs_of(&mask, [9, 7]).unwrap();
            let full = (0..7).flat_map(|x| (0..9).map(move |y| (x, y)));
            let columns: Vec<u8> = full.map(|(x, y)| u8::from(mask.get(x, y))).collect();
            assert_eq!(runs, hotcoco::mask::encode(&columns, 9, 7).unwrap());

            let back = window_of(&[runs]).unwrap();
            for (x, y) in (0..7).flat_map(|x| (0..9).map(move |y| (x, y))) {
                assert_eq!(back.get(x, y), mask.get(x, y), "{x} {y}");
            }
            let bbox = back.bounding_box().unwrap().to_array();
            let window = [back.left(), back.top(), back.left() + back.width()];
            assert_eq!(bbox[..3], window.map(|value| value as f32), "no border is empty");
        }
    }

    #[test]
    fn nothing_set_and_windows_outside() {
        let empty = Mask::new([1, 1], [2, 2], vec![false; 4]).unwrap();
        let runs = runs_of(&empty, [4, 4]).unwrap();
        assert_eq!(runs.counts, [16]);
        assert_eq!(window_of(&[runs]), Some(Mask::default()));
        assert_eq!(window_of(&[]), Some(Mask::default()));
        assert_eq!(runs_of(&empty, [2, 4]), None);
    }
}
