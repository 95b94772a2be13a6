//! Properties of the readers of classification sets and of images: what is written comes back, and
//! damage anywhere in a file is an error that names it, or another set; never a panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder};
use longtail_data::{CifarKind, ImageDataset, Split, decode_image, image_size};
use longtail_testing::{calm, damage_file, damaged, damages, holds, names_file};
use longtail_types::ClassMap;
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn cifar_records_come_back_and_damage_is_named() {
    let record = (0..10_u8, vec(any::<u8>(), 64));
    let names = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";
    let strategy = (vec(record, 1..4), damages(), any::<bool>());
    holds(100, strategy, |(records, damages, is_names)| {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let (file, names_path) = (root.join("test_batch.bin"), root.join("batches.meta.txt"));
        // Colour `i % 64` of the drawn bytes at place `i` of the three planes.
        let bytes = |(label, colors): &(u8, Vec<u8>)| {
            std::iter::once(*label).chain(colors.iter().copied().cycle().take(3072)).collect()
        };
        let bytes: Vec<Vec<u8>> = records.iter().map(bytes).collect();
        fs::write(&file, bytes.concat()).unwrap();
        fs::write(&names_path, names).unwrap();
        let read = || ImageDataset::from_cifar(root, CifarKind::Cifar10, Split::Test);
        let set = read().unwrap();
        for (index, (label, colors)) in records.iter().enumerate() {
            prop_assert_eq!(set.labels()[index], usize::from(*label));
            let image = set.load(index).unwrap();
            for (x, y) in [(0, 0), (31, 0), (5, 17), (31, 31)] {
                let color = |plane: usize| colors[(plane * 1024 + y * 32 + x) % 64];
                prop_assert_eq!(image.get(x, y), [color(0), color(1), color(2)]);
            }
        }
        let file = if is_names { names_path } else { file };
        damage_file(&file, &damages);
        match calm(read)? {
            Ok(set) => prop_assert!(set.labels().iter().all(|&label| label < 10)),
            Err(error) => names_file(&error.to_string(), &file)?,
        }
        Ok(())
    });
}

#[test]
fn lists_of_files_come_back_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (root, list) = (folder.path(), folder.path().join("list.txt"));
    let images = ["cat/1.png", "cat/2 b.png", "dog/1.png", "é.png"];
    fs::create_dir_all(root.join("cat")).unwrap();
    fs::create_dir_all(root.join("dog")).unwrap();
    images.iter().for_each(|image| fs::write(root.join(image), b"").unwrap());
    let classes = ClassMap::from_names(["a", "b", "c"]).unwrap();
    let line = (0..images.len(), 0..3_usize, prop_oneof![Just(" "), Just("\t"), Just("  ")]);
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")];
    holds(200, (vec((line, end), 1..6), damages()), |(lines, damages)| {
        let line = |((image, label, blank), end): &((usize, usize, &str), &str)| {
            format!("{}{blank}{label}{end}", images[*image])
        };
        fs::write(&list, lines.iter().map(line).collect::<String>()).unwrap();
        let set = ImageDataset::from_list(&list, root, Some(&classes)).unwrap();
        prop_assert_eq!(set.len(), lines.len());
        for (index, ((image, label, _), _)) in lines.iter().enumerate() {
            prop_assert_eq!(set.labels()[index], *label);
            prop_assert_eq!(set.path(index).unwrap(), root.join(images[*image]));
        }
        damage_file(&list, &damages);
        for classes in [None, Some(&classes)] {
            match calm(|| ImageDataset::from_list(&list, root, classes))? {
                Ok(set) => {
                    prop_assert!(set.labels().iter().all(|&label| label < set.num_classes()))
                }
                Err(error) => names_file(&error.to_string(), &list)?,
            }
        }
        Ok(())
    });
}

#[test]
fn images_come_back_and_damage_is_named() {
    let strategy = (1..9_u32, 1..9_u32, vec(any::<u8>(), 192), 0..4_usize, damages());
    holds(400, strategy, |(width, height, pixels, kind, damages)| {
        let count = (width * height) as usize;
        let mut file = Vec::new();
        // The same colours with every number of channels that PNG has, and as JPEG.
        let rgb = &pixels[..3 * count];
        let expected: Vec<u8> = match kind {
            0 | 3 => rgb.to_vec(),
            1 => pixels[..count].iter().flat_map(|&grey| [grey; 3]).collect(),
            _ => rgb.to_vec(),
        };
        match kind {
            0 => {
                PngEncoder::new(&mut file).write_image(rgb, width, height, ExtendedColorType::Rgb8)
            }
            1 => {
                let grey = &pixels[..count];
                PngEncoder::new(&mut file).write_image(grey, width, height, ExtendedColorType::L8)
            }
            2 => {
                let with_alpha: Vec<u8> =
                    rgb.chunks(3).flat_map(|c| [c[0], c[1], c[2], 7]).collect();
                let form = ExtendedColorType::Rgba8;
                PngEncoder::new(&mut file).write_image(&with_alpha, width, height, form)
            }
            _ => {
                JpegEncoder::new(&mut file).write_image(rgb, width, height, ExtendedColorType::Rgb8)
            }
        }
        .unwrap();
        let image = decode_image(&file, "a.png").unwrap();
        prop_assert_eq!([image.height(), image.width()], [height as usize, width as usize]);
        prop_assert_eq!(image_size(&file, "a.png").unwrap(), [image.height(), image.width()]);
        prop_assert!(kind == 3 || image.pixels() == expected);

        let file = damaged(&file, &damages);
        let head = calm(|| image_size(&file, "a.png"))?;
        match calm(|| decode_image(&file, "a.png"))? {
            Ok(image) => {
                prop_assert_eq!(image.pixels().len(), 3 * image.width() * image.height());
                prop_assert_eq!(head.ok(), Some([image.height(), image.width()]));
            }
            Err(error) => names_file(&error.to_string(), Path::new("a.png"))?,
        }
        Ok(())
    });
}
