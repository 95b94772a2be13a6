//! What the tests of plots share.

use std::{fs, path::PathBuf};

/// Numbers in `[0, 1)`, the same on every run.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A folder for plots that stays.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plots").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Every element is closed, and every rectangle and text lies on the sheet.
#[track_caller]
pub(crate) fn assert_sound(svg: &str) {
    let open = svg.matches("<svg ").count() + svg.matches("<text ").count();
    assert_eq!(open, svg.matches("</svg>").count() + svg.matches("</text>").count());
    let header = svg.lines().next().unwrap();
    let numbers = |text: &str| -> Vec<f64> {
        text.split(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-'))
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    let view = numbers(header.split("viewBox=\"").nth(1).unwrap());
    for line in svg.lines().filter(|line| line.starts_with("<rect") || line.starts_with("<text")) {
        let value =
            |name: &str| numbers(line.split(&format!(" {name}=\"")).nth(1)?).first().copied();
        let (x, y) = (value("x").unwrap(), value("y").unwrap());
        let (width, height) = (value("width").unwrap_or(0.0), value("height").unwrap_or(0.0));
        let fits =
            x >= 0.0 && y >= 0.0 && x + width <= view[2] + 1.0 && y + height <= view[3] + 1.0;
        assert!(fits && width >= 0.0 && height >= 0.0, "outside {view:?}: {line}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

/// So many plots, all of them sound.
#[track_caller]
pub(crate) fn assert_folder_is_sound(name: &str, expected: usize) {
    let files = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let plots: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "svg")).collect();
    assert_eq!(plots.len(), expected);
    plots.iter().for_each(|path| assert_sound(&fs::read_to_string(path).unwrap()));
}
