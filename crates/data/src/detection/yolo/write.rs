//! One text file an image, and the names of the classes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::settings::parse;
use crate::DataError;
use crate::detection::DetectionDataset;
use crate::detection::made::Made;
use crate::detection::write_folder::stem;

/// Writes `IMAGE.txt` for each image into `folder`; returns how many crowds, ignored objects and
/// boxes without area are left out.
pub(in crate::detection) fn write_labels(
    set: &DetectionDataset,
    folder: &Path,
    files: &[String],
    made: &mut Made,
) -> Result<usize, DataError> {
    let mut left_out = 0;
    for (index, file) in files.iter().enumerate() {
        let size = set.image_size(index);
        let [height, width] = size.map(|side| side as f64);
        let mut text = String::new();
        for target in set.targets(index) {
            let [x1, y1, x2, y2] = target.bbox.clip(size).to_array().map(f64::from);
            let (x, y) = ((x1 + x2) / 2.0 / width, (y1 + y2) / 2.0 / height);
            let (w, h) = ((x2 - x1) / width, (y2 - y1) / height);
            let _ = writeln!(text, "{} {x:.8} {y:.8} {w:.8} {h:.8}", target.label);
        }
        left_out += set.annotations(index).len() - set.targets(index).count();
        made.write(&folder.join(format!("{}.txt", stem(file))), &text)?;
    }
    Ok(left_out)
}

/// The text of a `data.yaml` with this split, and with what the one that is there says.
pub(in crate::detection) fn settings(
    set: &DetectionDataset,
    root: &Path,
    split: &str,
) -> Result<String, DataError> {
    let path = root.join("data.yaml");
    let bad = |message: String| DataError::Folder { path: path.clone(), message };
    let names: Vec<(u64, String)> = (0..).zip(set.class_map().names().map(str::to_owned)).collect();
    if let Some((_, name)) = names.iter().find(|(_, name)| !is_writable(name)) {
        return Err(bad(format!("class {name:?}: no such name can be written in this form")));
    }
    let mut text = match path.exists() {
        true => fs::read_to_string(&path).map_err(DataError::io(&path))?,
        false => {
            let lines = names.iter().map(|(id, name)| format!("  {id}: \"{name}\"\n"));
            format!("path: .\nnames:\n{}", lines.collect::<String>())
        }
    };
    let known = parse(&text).map_err(&bad)?;
    if known.names != names {
        return Err(bad("names other classes than this set".into()));
    }
    if !known.splits.contains_key(split) {
        let _ = writeln!(text, "{split}: images/{split}");
    }
    Ok(text)
}

/// Whether a name comes back from between double quotes.
fn is_writable(name: &str) -> bool {
    let is_cut = name.contains(" #") || name.contains("\t#");
    !name.is_empty() && !name.contains(['"', '\\', '\n', '\r']) && !is_cut
}
