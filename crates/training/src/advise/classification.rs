//! Advice for classification.

use longtail_data::ImageDataset;

use super::{Advice, Tail, TailShape, dataset_toml};
use crate::dataset::DatasetConfig;
use crate::error::TrainingError;

/// Images whose size is looked at.
const SAMPLES: usize = 20;

/// Reads the data set and advises method, sampler, network and schedule.
/// # Errors
/// If the data set is refused or an image cannot be read.
pub fn advise_classification(dataset: &DatasetConfig) -> Result<Advice, TrainingError> {
    let data = dataset.load()?;
    let side = median_side(&data.train)?;
    let mut advice = Advice::new(Tail::of_classification(data.train.class_counts()?));
    warn_of_test_set(&mut advice, &data.test)?;

    let images = data.train.len();
    let is_small = side <= 64;
    let (epochs, weight_decay, source) = match (is_small, images) {
        (true, _) => (200, "2e-4", "the schedule of LDAM-DRW for CIFAR-LT"),
        (false, 100_000..) => (90, "5e-4", "the schedule of Balanced Meta-Softmax for ImageNet-LT"),
        (false, _) => (200, "5e-4", "small sets need more passes than ImageNet-LT's 90"),
    };
    let batch = if images < 1280 { 32 } else { 128 };
    advice.part(
        format!("seed = 0\nbatch_size = {batch}\nepochs = {epochs}\n"),
        format!("{epochs} epochs: {source}. For a first look, `--set epochs=15`."),
    );
    advice.part(dataset_toml(dataset), "");
    let backbone = network(&mut advice, side, images);
    method(&mut advice, epochs, backbone);
    let lr = 0.1 * batch as f64 / 128.0;
    advice.part(
        format!(
            "[optimizer]\nkind = \"sgd\"\nlr = {lr}\nmomentum = 0.9\nnesterov = true\nweight_decay = \
             {weight_decay}\n\n[schedule]\nwarmup = {{ iterations = 200 }}\ndecay = \"cosine\"\n"
        ),
        "",
    );
    Ok(advice)
}

/// The middle of the shorter sides of some images.
fn median_side(images: &ImageDataset) -> Result<usize, TrainingError> {
    let step = images.len().div_ceil(SAMPLES).max(1);
    let mut sides = Vec::new();
    for index in (0..images.len()).step_by(step) {
        let image = images.load(index)?;
        sides.push(image.width().min(image.height()));
    }
    sides.sort_unstable();
    Ok(sides.get(sides.len() / 2).copied().unwrap_or(224))
}

/// Advises a backbone, and gives its name.
fn network(advice: &mut Advice, side: usize, images: usize) -> &'static str {
    let backbone = match side {
        0..=64 => "cifar-resnet32",
        _ if images < 50_000 => "resnet18",
        _ => "resnet50",
    };
    match side {
        0..=32 => advice.part(
            format!("[transforms]\npreset = \"cifar\"\n\n[model]\nbackbone = \"{backbone}\"\n"),
            format!("Images of {side} pixels: the field's network for CIFAR-LT."),
        ),
        33..=64 => {
            let crop = format!(
                "{{ op = \"random-crop\", size = {side}, padding = {}, fill = \"mean\" }}",
                side / 8
            );
            advice.part(
                format!(
                    "[transforms]\npreset = \"cifar\"\ntrain = [{crop}, {{ op = \"horizontal-flip\" \
                     }}]\ntest = [{{ op = \"resize-shorter\", size = {side} }}, {{ op = \
                     \"center-crop\", size = {side} }}]\n\n[model]\nbackbone = \"{backbone}\"\n"
                ),
                format!("Images of {side} pixels: the field's network for CIFAR-LT."),
            );
        }
        _ => advice.part(
            format!("[transforms]\npreset = \"imagenet\"\n\n[model]\nbackbone = \"{backbone}\"\n"),
            format!("Images of {side} pixels; {images} of them feed a {backbone}."),
        ),
    }
    backbone
}

fn method(advice: &mut Advice, epochs: u64, backbone: &str) {
    let imbalance = advice.tail.imbalance();
    match advice.tail.shape {
        TailShape::Balanced => advice.part(
            "[loss]\nmethod = \"cross-entropy\"\n",
            format!(
                "Cross-entropy, every image once an epoch: with an imbalance of {imbalance:.1} there is \
                 no tail to lift, and Balanced Softmax and logit adjustment come to the same."
            ),
        ),
        TailShape::Mild => {
            advice.part(
                "[loss]\nmethod = \"logit-adjustment\"\ntau = 1.0\n",
                format!(
                    "Logit adjustment, every image once an epoch: with an imbalance of {imbalance:.1} \
                     the prior is most of what can be corrected. Lower tau if frequent classes lose \
                     more than you like."
                ),
            );
            advice.alternative(
                "Cross-entropy",
                "[loss]\nmethod = \"cross-entropy\"",
                "if images in use are as unequal as these.",
            );
        }
        TailShape::Long => {
            let few = advice.tail.groups[2].1;
            advice.part(
                "[loss]\nmethod = \"balanced-softmax\"\n\n[sampler]\nkind = \"instance-balanced\"\n",
                format!(
                    "Balanced Softmax (Ren et al., 2020): the prior of an imbalance of {imbalance:.0} \
                     moves into the training loss. It has no knob. Sample as the images come: a \
                     balanced sampler would correct twice."
                ),
            );
            advice.alternative(
                "LDAM-DRW",
                format!(
                    "[model]\nbackbone = \"{backbone}\"\nhead = {{ kind = \"cosine\", scale = {{ fixed = \
                     1.0 }}, init = \"unit-uniform\" }}\n[loss]\nmethod = \
                     \"ldam\"\n[reweighting]\nfrom_epoch = {from_epoch} # of {epochs}",
                    from_epoch = epochs * 4 / 5
                ),
                "margins for small classes, re-weighting late; as strong on CIFAR-10-LT.",
            );
            advice.alternative(
                "Classifier re-training",
                "[loss]\nmethod = \"cross-entropy\"\n[stage_two]\nmethod = \"crt\"",
                format!(
                    "two stages (Kang et al., 2020); try it if frequent classes lose more than you like{}.",
                    if few > 0 { format!(", as {few} classes have fewer than 20 images") } else { String::new() }
                ),
            );
        }
    }
}

/// Balanced methods are for a balanced test.
fn warn_of_test_set(advice: &mut Advice, test: &ImageDataset) -> Result<(), TrainingError> {
    let counts = test.class_counts()?;
    let imbalance = counts.imbalance_factor().unwrap_or(1.0);
    if advice.tail.shape != TailShape::Balanced && imbalance >= 3.0 {
        advice.warnings.push(format!(
            "the test set is unequal too (imbalance {imbalance:.1}). The methods below aim at all \
             classes alike: judge them by the mean over classes, not by overall accuracy."
        ));
    }
    let missing = counts.image_counts().iter().filter(|&&count| count == 0).count();
    if missing > 0 {
        advice
            .warnings
            .push(format!("{missing} classes have no test image: nothing is known of them."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longtail_types::ClassCounts;

    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn the_alternative_with_late_weights_fits_network_and_length() {
        for (side, images, epochs, backbone, from_epoch) in [
            (32, 1000, 200, "cifar-resnet32", 160),
            (48, 1000, 200, "cifar-resnet32", 160),
            (224, 1000, 90, "resnet18", 72),
            (224, 100_000, 90, "resnet50", 72),
        ] {
            let counts = ClassCounts::new(vec![500, 5], vec![500, 5], 505).unwrap();
            let mut advice = Advice::new(Tail::of_classification(counts));
            let found = network(&mut advice, side, images);
            method(&mut advice, epochs, found);
            let part = &advice.parts[0].toml;
            assert!(part.contains(&format!("backbone = \"{backbone}\"")), "{part}");
            let alternative =
                advice.alternatives.iter().find(|other| other.name == "LDAM-DRW").unwrap();
            let rest = format!(
                "batch_size = 8\nepochs = {epochs}\noptimizer = {{ kind = \"sgd\", lr = 0.1 }}\n\
                 dataset.source = {{ kind = \"class-folders\", root = \"x\" }}\n"
            );
            let text = format!("{rest}{}", alternative.toml);
            let recipe = Recipe::parse("alternative", &text, &[""; 0]).unwrap();
            assert_eq!(recipe.reweighting.unwrap().from_epoch, from_epoch);
            let named = part.lines().find(|line| line.starts_with("backbone")).unwrap();
            let there = alternative.toml.lines().find(|line| line.starts_with("backbone")).unwrap();
            assert_eq!(named, there);
        }
    }
}
