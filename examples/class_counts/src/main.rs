//! The shape of a tail: counts of a folder of class folders, and which classes each rule calls tail.
//!
//! ```text
//! cargo run --release -p class_counts                    # the embedded synthetic set
//! cargo run --release -p class_counts -- DIR             # DIR/CLASS/*.jpg
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use longtail::data::{ImageDataset, Split, SyntheticConfig};
use longtail::types::TailRule;

fn main() -> anyhow::Result<()> {
    let dataset = match std::env::args().nth(1) {
        Some(folder) => ImageDataset::from_folders(&folder)?,
        None => SyntheticConfig::default().generate(Split::Train)?,
    };
    let counts = dataset.class_counts()?;
    println!("{counts}\n");
    for rule in [
        TailRule::ImageCountAtMost(100),
        TailRule::ImageFrequencyBelow(1.77e-3),
        TailRule::RarestFraction(0.3),
    ] {
        match rule.tail_classes(&counts) {
            Ok(is_tail) => {
                let share = 100.0 * counts.tail_ratio(&is_tail);
                let tail = is_tail.iter().filter(|tail| **tail).count();
                println!("{rule}: {tail} tail classes with {share:.1} % of the images");
            }
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}
