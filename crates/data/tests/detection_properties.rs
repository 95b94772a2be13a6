//! Properties of the readers of detection sets: what is written comes back, and damage anywhere in a
//! file is an error that names it, or another set whose contents lie in their images; never a panic.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Drawn, drawn};
use longtail_data::{
    Annotation, AnnotationForm, DataError, DetectionDataset, FileCheck, FolderForm, ReadOptions,
};
use longtail_testing::{Outcome, calm, damage_file, damages, holds, names_file};
use proptest::collection::vec;
use proptest::prelude::*;

/// Boxes, labels and masks lie where they must.
fn lies_in_its_images(set: &DetectionDataset) -> Outcome {
    let mut num_targets = 0;
    for index in 0..set.num_images() {
        let [height, width] = set.image_size(index);
        prop_assert!(height > 0 && width > 0);
        for annotation in set.annotations(index) {
            prop_assert!((annotation.label as usize) < set.num_classes());
            prop_assert!(annotation.bbox.to_array().iter().all(|border| border.is_finite()));
        }
        for instance in set.box_instances(index) {
            let [x1, y1, x2, y2] = instance.bbox.to_array();
            prop_assert!(0.0 <= x1 && x1 < x2 && x2 <= width as f32, "{instance:?}");
            prop_assert!(0.0 <= y1 && y1 < y2 && y2 <= height as f32, "{instance:?}");
            num_targets += 1;
        }
        // A damaged size may be large: a mask of it takes long.
        let instances = if height * width <= 1 << 16 { set.instances(index) } else { vec![] };
        for mask in instances.into_iter().filter_map(|instance| instance.mask) {
            prop_assert!(mask.left() + mask.width() <= width);
            prop_assert!(mask.top() + mask.height() <= height);
        }
    }
    if set.num_classes() > 0 {
        let counts = set.class_counts().unwrap();
        prop_assert_eq!(counts.instance_counts().iter().sum::<u64>(), num_targets);
    }
    Ok(())
}

/// Reads a damaged set strictly and leniently.
fn survives(
    path: &Path,
    read: impl Fn(&ReadOptions) -> Result<DetectionDataset, DataError>,
) -> Outcome {
    let options = ReadOptions { files: FileCheck::Size, ..ReadOptions::default() };
    let strict = calm(|| read(&options))?;
    let lenient = calm(|| read(&options.clone().lenient()))?;
    for result in [&strict, &lenient] {
        match result {
            Ok(set) => calm(|| lies_in_its_images(set))??,
            Err(error) => names_file(&error.to_string(), path)?,
        }
    }
    prop_assert!(strict.is_err() || lenient.is_ok(), "strict reads what lenient does not");
    Ok(())
}

/// All that a set says about its classes, images and objects.
fn contents(set: &DetectionDataset) -> impl PartialEq + std::fmt::Debug {
    let annotation = |annotation: &Annotation| {
        let Annotation { id, area, bbox, label, .. } = *annotation;
        let outline = (set.polygons(annotation), set.run_lengths(annotation));
        format!("{id} {area} {bbox:?} {label} {outline:?} {}", annotation.is_target([1000, 1000]))
    };
    let image = |index| {
        let lists = (set.negative_labels(index), set.not_exhaustive_labels(index));
        let annotations: Vec<String> = set.annotations(index).iter().map(annotation).collect();
        (set.image(index).id, set.image_size(index), format!("{lists:?}"), annotations)
    };
    let names: Vec<_> = set.class_map().names().map(str::to_owned).collect();
    ((0..set.num_images()).map(image).collect::<Vec<_>>(), names)
}

#[test]
fn annotations_written_as_json_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.json");
    holds(96, drawn(), |drawn: Drawn| {
        for form in [AnnotationForm::Coco, AnnotationForm::Lvis] {
            let set = drawn.build(form == AnnotationForm::Lvis);
            set.write_coco(&path, form).unwrap();
            let back = DetectionDataset::read_coco(&path, &ReadOptions::default());
            let back = back.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(contents(&back), contents(&set));
            lies_in_its_images(&back)?;
        }
        Ok(())
    });
}

/// Names, borders and whether it is a target, of the objects of each image.
fn boxes(set: &DetectionDataset) -> Vec<Vec<(String, [f32; 4], bool)>> {
    let objects = |index| {
        let size = set.image_size(index);
        let object = |object: &Annotation| {
            let name = set.class_map().name(object.label as usize).unwrap().to_owned();
            (name, object.bbox.to_array(), object.is_target(size))
        };
        set.annotations(index).iter().map(object).collect()
    };
    (0..set.num_images()).map(objects).collect()
}

fn read_folder(
    root: &Path,
    form: FolderForm,
    options: &ReadOptions,
) -> Result<DetectionDataset, DataError> {
    match form {
        FolderForm::Voc => DetectionDataset::read_voc(root, Some("all"), None, options),
        FolderForm::Yolo => DetectionDataset::read_yolo(root, Some("all"), options),
    }
}

#[test]
fn folders_written_as_voc_and_yolo_come_back() {
    holds(24, drawn(), |drawn: Drawn| {
        let set = drawn.build(false);
        for form in [FolderForm::Voc, FolderForm::Yolo] {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("set");
            // A name that the form cannot hold is refused, not changed.
            let Ok(left_out) = set.write_folder(&root, "all", form) else { continue };
            let back = read_folder(&root, form, &ReadOptions::default());
            let (found, mut expected) = match back {
                Ok(back) => (boxes(&back), boxes(&set)),
                // VOC has no place for classes alone.
                Err(_) if form == FolderForm::Voc && set.num_annotations() == 0 => continue,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            if form == FolderForm::Yolo {
                for (objects, index) in expected.iter_mut().zip(0..) {
                    let targets = set.box_instances(index).into_iter();
                    let clipped: Vec<_> = targets.map(|target| target.bbox.to_array()).collect();
                    objects.retain(|(_, _, is_target)| *is_target);
                    objects
                        .iter_mut()
                        .zip(clipped)
                        .for_each(|(object, clipped)| object.1 = clipped);
                }
            }
            let count = |sets: &[Vec<_>]| sets.iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(count(&found) + left_out, set.num_annotations());
            for (found, expected) in found.concat().iter().zip(expected.concat()) {
                prop_assert_eq!((&found.0, found.2), (&expected.0, expected.2));
                let is_near = |(a, b): (&f32, f32)| (a - b).abs() < 1e-4;
                prop_assert!(found.1.iter().zip(expected.1).all(is_near), "{found:?} {expected:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn damaged_json_is_named_or_valid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.json");
    holds(400, (drawn(), any::<bool>(), damages()), |(drawn, is_lvis, damages)| {
        let form = if is_lvis { AnnotationForm::Lvis } else { AnnotationForm::Coco };
        drawn.build(is_lvis).write_coco(&path, form).unwrap();
        damage_file(&path, &damages);
        survives(&path, |options| DetectionDataset::read_coco(&path, options))
    });
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// One file of a folder is damaged: annotations, settings, the list of a split or an image.
#[test]
fn damaged_folders_are_named_or_valid() {
    let form = prop_oneof![Just(FolderForm::Voc), Just(FolderForm::Yolo)];
    holds(
        100,
        (drawn(), form, any::<prop::sample::Index>(), damages()),
        |(drawn, form, file, damages)| {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("set");
            if drawn.build(false).write_folder(&root, "all", form).is_ok() {
                let files = files(&root);
                damage_file(&files[file.index(files.len())], &damages);
            }
            survives(&root, |options| read_folder(&root, form, options))
        },
    );
}

/// Names that are others with a number behind them: what is renamed takes no name that is there.
#[test]
fn names_that_stand_twice_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.json");
    let name = prop_oneof![Just("a"), Just("a (1)"), Just("a (2)"), Just("a (2) (1)")];
    holds(60, vec((0..4_u64, name), 1..6), |categories| {
        let entry = |(id, name): &(u64, &str)| format!("{{\"id\": {id}, \"name\": \"{name}\"}}");
        let entries: Vec<String> = categories.iter().map(entry).collect();
        let empty = "\"images\": [], \"annotations\": []";
        fs::write(&path, format!("{{{empty}, \"categories\": [{}]}}", entries.join(","))).unwrap();
        let options = ReadOptions::default().lenient();
        let set = DetectionDataset::read_coco(&path, &options);
        let set = set.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let ids: std::collections::BTreeSet<u64> = categories.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(set.num_classes(), ids.len());
        survives(&path, |options| DetectionDataset::read_coco(&path, options))
    });
}
