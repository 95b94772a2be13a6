//! Polygons of any numbers and run lengths of any text, laid on images of any size.

use longtail::data::{DetectionDataset, ReadMode, ReadOptions};

use crate::Scratch;
use crate::annotations::visit;

/// The bytes as a size, then as run lengths in text, or in numbers, or as coordinates.
pub(crate) fn masks(bytes: &[u8], scratch: &Scratch<'_>) {
    let Some((&[kind, height, width], rest)) = bytes.split_first_chunk::<3>() else { return };
    let segmentation = match kind % 4 {
        0 => {
            let counts: String = rest.iter().map(|byte| char::from(48 + byte % 64)).collect();
            let counts = counts.replace('\\', "\\\\");
            format!("{{\"size\": [{height}, {width}], \"counts\": \"{counts}\"}}")
        }
        1 => {
            let counts: Vec<u32> =
                rest.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair).into()).collect();
            format!("{{\"size\": [{height}, {width}], \"counts\": {counts:?}}}")
        }
        2 => {
            let numbers = rest.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair));
            let numbers: Vec<f32> = numbers.map(|number| f32::from(number) / 64.0).collect();
            format!("[{numbers:?}]")
        }
        _ => {
            let numbers = rest.as_chunks().0.iter().map(|&bits| f64::from_le_bytes(bits));
            let numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
            format!("[{numbers:?}]")
        }
    };
    let text = format!(
        "{{\"images\": [{{\"id\": 1, \"file_name\": \"a\", \"height\": {height}, \"width\": {width}}}],
        \"categories\": [{{\"id\": 1, \"name\": \"a\"}}],
        \"annotations\": [{{\"id\": 1, \"image_id\": 1, \"category_id\": 1, \"area\": 1,
        \"bbox\": [0, 0, 1, 1], \"segmentation\": {segmentation}}}]}}"
    );
    let path = scratch.file("masks.json", text.as_bytes());
    let options = ReadOptions { mode: ReadMode::Lenient, ..ReadOptions::default() };
    if let Ok(set) = DetectionDataset::read_coco(&path, &options) {
        visit(&set);
    }
}
