//! What is measured, and the folder that both sides read it from.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use longtail::types::{BBox, Instance, Mask};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectorCase {
    /// A training step of Mask R-CNN R50-FPN, 320 pixels, two images, 91 classes with background.
    Training,
    /// Inference of the same, 100 detections an image.
    Inference,
    /// Inference of Mask R-CNN R18-FPN with LVIS's 1203 classes and 300 detections, one image.
    Lvis,
}

impl DetectorCase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Training, Self::Inference, Self::Lvis];

    /// What it is, for a reader.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Training => "training of Mask R-CNN R50-FPN, 2 x 320 px",
            Self::Inference => "inference of Mask R-CNN R50-FPN, 2 x 320 px",
            Self::Lvis => "inference of Mask R-CNN R18-FPN, 1 x 320 px, 1203 classes",
        }
    }

    pub(crate) fn is_training(self) -> bool {
        self == Self::Training
    }

    /// Classes without background.
    pub(super) fn num_classes(self) -> usize {
        if self == Self::Lvis { 1203 } else { 90 }
    }

    pub(super) fn num_images(self) -> usize {
        if self == Self::Lvis { 1 } else { 2 }
    }

    /// Detections of an image.
    pub(super) fn max_detections(self) -> usize {
        if self == Self::Lvis { 300 } else { 100 }
    }

    pub(super) fn score_threshold(self) -> f32 {
        if self == Self::Lvis { 1e-4 } else { 0.05 }
    }

    /// The ResNet's name in torchvision.
    pub(super) fn body(self) -> &'static str {
        if self == Self::Lvis { "resnet18" } else { "resnet50" }
    }
}

impl fmt::Display for DetectorCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Training => "training",
            Self::Inference => "inference",
            Self::Lvis => "lvis",
        })
    }
}

/// Side of the images.
pub(super) const SIZE: usize = 320;

/// Label and box of the objects of each image.
const OBJECTS: [&[(usize, [u16; 4])]; 2] = [
    &[
        (3, [20, 30, 120, 200]),
        (17, [150, 40, 300, 140]),
        (55, [10, 220, 60, 300]),
        (0, [100, 210, 180, 310]),
        (80, [220, 180, 250, 220]),
        (8, [260, 240, 316, 300]),
    ],
    &[
        (1, [40, 10, 280, 160]),
        (1, [30, 180, 90, 300]),
        (44, [100, 190, 140, 230]),
        (60, [160, 170, 310, 310]),
        (33, [5, 5, 35, 60]),
        (71, [290, 20, 318, 80]),
        (2, [110, 250, 150, 316]),
    ],
];

/// A case in a temporary folder, which goes with it.
#[derive(Debug)]
pub(super) struct CaseFolder {
    pub(super) case: DetectorCase,
    pub(super) path: PathBuf,
    is_own: bool,
}

impl CaseFolder {
    pub(super) fn new(case: DetectorCase, threads: usize, device: &str) -> Result<Self> {
        let name = format!("longtail-detector-{case}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {path:?}"))?;
        let object = |&(label, bbox): &(usize, [u16; 4])| json!({ "label": label, "box": bbox });
        let images = OBJECTS.iter().take(case.num_images());
        let objects: Vec<Vec<_>> =
            images.map(|objects| objects.iter().map(object).collect()).collect();
        let text = json!({
            "size": SIZE,
            "threads": threads,
            "device": device,
            "body": case.body(),
            "classes": case.num_classes(),
            "score_threshold": case.score_threshold(),
            "detections": case.max_detections(),
            "score_gain": 30.0,
            "objects": objects,
        });
        std::fs::write(path.join("case.json"), text.to_string())?;
        Ok(Self { case, path, is_own: true })
    }

    /// The folder that another process has made.
    pub(super) fn of(case: DetectorCase, path: &Path) -> Self {
        Self { case, path: path.to_path_buf(), is_own: false }
    }

    /// The weights, where a peer has written them.
    pub(super) fn weights(&self) -> Option<PathBuf> {
        Some(self.path.join("weights.pth")).filter(|path| path.exists())
    }

    /// Pixels `[num_images, 3, SIZE, SIZE]`: the peer's, or waves.
    pub(super) fn pixels(&self) -> Result<Vec<f32>> {
        let path = self.path.join("images.f32");
        if !path.exists() {
            let count = self.case.num_images() * 3 * SIZE * SIZE;
            return Ok((0..count).map(|i| (i as f32 * 0.013).sin()).collect());
        }
        let bytes = std::fs::read(path)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|&word| f32::from_le_bytes(word)).collect())
    }

    /// Objects of each image.
    pub(super) fn targets(&self) -> Vec<Vec<Instance>> {
        let images = OBJECTS.iter().take(self.case.num_images());
        images.map(|objects| objects.iter().map(|&(l, b)| instance(l, b)).collect()).collect()
    }
}

impl Drop for CaseFolder {
    fn drop(&mut self) {
        if self.is_own {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The mask is the ellipse in the box.
fn instance(label: usize, bbox: [u16; 4]) -> Instance {
    let [left, top, right, bottom] = bbox.map(usize::from);
    let (height, width) = (bottom - top, right - left);
    let at = |pixel: usize, side: usize| (2.0 * pixel as f32 + 1.0) / side as f32 - 1.0;
    let is_inside = |i: usize| at(i % width, width).powi(2) + at(i / width, height).powi(2) <= 1.0;
    let pixels = (0..height * width).map(is_inside).collect();
    let mask = Mask::new([left, top], [height, width], pixels);
    Instance { label, bbox: BBox::from(bbox.map(f32::from)), mask }
}
