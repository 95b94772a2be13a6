//! Folders of images: VOC, YOLO, list files, CIFAR.

use std::fs;

use longtail::data::{
    CifarKind, DetectionDataset, FileCheck, ImageDataset, ReadMode, ReadOptions, Split,
};
use longtail::types::ClassMap;

use crate::Scratch;
use crate::annotations::visit;

/// An image of 3 x 2 pixels.
pub(crate) const PNG: &[u8] = include_bytes!("pixel.png");

fn both(read: impl Fn(&ReadOptions) -> Option<DetectionDataset>) {
    let options = ReadOptions { files: FileCheck::None, ..ReadOptions::default() };
    let strict = read(&options);
    let lenient = read(&ReadOptions { mode: ReadMode::Lenient, ..options });
    assert!(strict.is_none() || lenient.is_some(), "strict reads what lenient does not");
    lenient.iter().for_each(visit);
}

pub(crate) fn voc(bytes: &[u8], scratch: &Scratch<'_>) {
    scratch.file("voc/Annotations/a.xml", bytes);
    scratch.constant("voc/JPEGImages/a.png", PNG);
    both(|options| DetectionDataset::read_voc(&scratch.path("voc"), None, None, options).ok());
    let classes = ClassMap::from_names(["cat", "dog"]);
    if let Ok(classes) = classes {
        let folder = scratch.path("voc");
        both(|options| DetectionDataset::read_voc(&folder, None, Some(&classes), options).ok());
    }
}

pub(crate) fn yolo_labels(bytes: &[u8], scratch: &Scratch<'_>) {
    scratch.constant("yolo/images/a.png", PNG);
    scratch.constant("yolo/classes.txt", b"cat\ndog\n");
    scratch.file("yolo/labels/a.txt", bytes);
    both(|options| DetectionDataset::read_yolo(&scratch.path("yolo"), None, options).ok());
}

/// Paths in the file may not leave the folder, lest the whole disk is read.
pub(crate) fn yolo_settings(bytes: &[u8], scratch: &Scratch<'_>) {
    let inside = bytes.iter().map(|byte| if *byte == b'/' { b'|' } else { *byte });
    let inside: Vec<u8> = inside.collect();
    if inside.windows(2).any(|pair| pair == b"..") {
        return;
    }
    scratch.constant("settings/images/a.png", PNG);
    scratch.constant("settings/labels/a.txt", b"0 0.5 0.5 0.25 0.25\n1 0.5 0.5 1 1\n");
    scratch.file("settings/data.yaml", &inside);
    let folder = scratch.path("settings");
    both(|options| DetectionDataset::read_yolo(&folder, None, options).ok());
    for split in ["train", "val", "test"] {
        both(|options| DetectionDataset::read_yolo(&folder, Some(split), options).ok());
    }
}

/// A label makes all classes below it, up to a million: such files are slow, and nothing else.
pub(crate) fn image_list(bytes: &[u8], scratch: &Scratch<'_>) {
    let text = String::from_utf8_lossy(bytes);
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    if numbers.any(|number| (10_000..1_000_000).contains(&number)) {
        return;
    }
    scratch.constant("list/cat/1.png", PNG);
    scratch.constant("list/dog/2.png", PNG);
    let list = scratch.file("list/list.txt", bytes);
    let root = scratch.path("list");
    if let Ok(set) = ImageDataset::from_list(&list, &root, None) {
        let _ = set.class_counts();
        assert!(set.labels().iter().all(|&label| label < set.num_classes()));
    }
    if let Ok(classes) = ClassMap::from_names(["cat", "dog", "emu"]) {
        let _ = ImageDataset::from_list(&list, &root, Some(&classes));
    }
}

/// The first byte chooses the kind and the length; records repeat the bytes.
pub(crate) fn cifar(bytes: &[u8], scratch: &Scratch<'_>) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let (kind, folder, file, record) = match first % 2 {
        0 => (CifarKind::Cifar10, "cifar10", "test_batch.bin", 3073),
        _ => (CifarKind::Cifar100, "cifar100", "test.bin", 3074),
    };
    let names = match kind {
        CifarKind::Cifar10 => "batches.meta.txt",
        CifarKind::Cifar100 => "fine_label_names.txt",
    };
    let root = scratch.path(folder);
    if first & 2 == 0 {
        scratch.file(&format!("{folder}/{file}"), rest);
        let _ = fs::remove_file(root.join(names));
    } else if first & 4 == 0 {
        let records = usize::from(first >> 3);
        let whole: Vec<u8> = rest.iter().copied().cycle().take(records * record).collect();
        scratch.file(&format!("{folder}/{file}"), &whole);
        let _ = fs::remove_file(root.join(names));
    } else {
        scratch.file(&format!("{folder}/{names}"), rest);
        scratch.file(&format!("{folder}/{file}"), &vec![1; record]);
    }
    if let Ok(set) = ImageDataset::from_cifar(&root, kind, Split::Test) {
        let _ = set.class_counts();
        assert!((0..set.len()).all(|index| set.load(index).is_ok()));
    }
}
