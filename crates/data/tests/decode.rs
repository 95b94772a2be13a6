//! Decoding against PIL (`xtask/reference/data.py`), and refusals.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use longtail_data::decode_image;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    file: String,
    width: usize,
    height: usize,
    pixels: String,
}

fn read(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(folder.join(file)).unwrap()
}

#[test]
fn every_kind_of_file_agrees_with_pil() {
    let cases: Vec<Case> = serde_json::from_slice(&read("decode.json")).unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let image = decode_image(&read(&case.file), &case.file).unwrap();
        assert_eq!((image.width(), image.height()), (case.width, case.height));
        let byte = |i| u8::from_str_radix(&case.pixels[i..i + 2], 16).unwrap();
        let expected = (0..case.pixels.len()).step_by(2).map(byte);
        let pairs = image.pixels().iter().zip(expected);
        let (mut worst, mut sum) = (0, 0);
        for (&actual, expected) in pairs {
            worst = worst.max(actual.abs_diff(expected));
            sum += u32::from(actual.abs_diff(expected));
        }
        let mean = f64::from(sum) / image.pixels().len() as f64;
        // JPEG decoders may differ in the inverse transform and in how they upsample colour.
        let limits = match case.file.as_str() {
            "grey16.png" => (1, 0.02), // 16 bits are rounded here, cut off there
            png if png.ends_with(".png") => (0, 0.0),
            _ => (6, 1.0),
        };
        assert!(worst <= limits.0 && mean <= limits.1, "{}: {worst}, mean {mean}", case.file);
    }
}

fn message(bytes: &[u8]) -> String {
    decode_image(bytes, "x.jpg").unwrap_err().to_string()
}

#[test]
fn a_truncated_jpeg_is_refused_wherever_it_ends() {
    for file in ["rgb444.jpg", "rgb420.jpg", "progressive.jpg", "grey.jpg"] {
        let bytes = read(file);
        for end in [bytes.len() - 2, bytes.len() - 3, bytes.len() / 2, 3 * bytes.len() / 4, 300] {
            let expected = format!(
                "x.jpg: truncated JPEG: the data ends after {end} bytes without an end marker"
            );
            assert_eq!(message(&bytes[..end]), expected);
        }
    }
}

#[test]
fn a_truncated_png_is_refused() {
    let bytes = read("rgb.png");
    for end in [20, 100, bytes.len() / 2] {
        let message = message(&bytes[..end]);
        assert!(message.starts_with("x.jpg: cannot decode: "), "{message}");
    }
}

#[test]
fn other_files_are_refused() {
    assert_eq!(message(b""), "x.jpg: not an image: expected JPEG or PNG, the file is empty");
    let expected =
        "x.jpg: not an image: expected JPEG or PNG, the file starts with [47, 49, 46, 38]";
    assert_eq!(message(b"GIF89a etc"), expected);
}

#[test]
fn damage_inside_a_jpeg_is_refused_or_decoded_but_never_a_panic() {
    let bytes = read("rgb420.jpg");
    for i in (2..bytes.len() - 2).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[i] ^= 0x55;
        if let Err(error) = decode_image(&damaged, "x.jpg") {
            assert!(error.to_string().starts_with("x.jpg: "), "{error}");
        }
    }
}
