//! Every shipped recipe can be read, and its loss and model fit each other.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use longtail_testing::device;
use longtail_training::{AnyRecipe, DetectionRecipe, Recipe};
use longtail_types::ClassCounts;

/// Ten classes in so many annotated images.
fn counts(num_images: u64) -> ClassCounts {
    let counts = vec![5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50];
    ClassCounts::new(counts.clone(), counts, num_images).unwrap()
}

fn check_classification(recipe: &Recipe) {
    recipe.transforms.train_pipeline().unwrap();
    for (loss, model) in
        [(recipe.loss.clone(), recipe.model.clone()), (recipe.final_loss(), recipe.final_model())]
    {
        let loss = loss.init(&counts(12_406), &device()).unwrap();
        let (num_logits, bias) = (loss.num_logits(), loss.prior_bias());
        let model = model.init(num_logits, bias, recipe.seed, &device()).unwrap();
        assert_eq!(model.num_logits(), num_logits);
    }
}

fn check_detection(recipe: &DetectionRecipe) {
    recipe.transforms.train_pipeline().unwrap();
    recipe.transforms.test_pipeline().unwrap();
    recipe.loss.init(&counts(57_000), &device()).unwrap();
    let loss = recipe.final_loss().init(&counts(57_000), &device()).unwrap();
    let model = recipe.model.init(loss, recipe.seed, &device()).unwrap();
    assert_eq!(model.num_classes(), 10);
    assert_eq!(model.has_masks(), recipe.model.has_masks());
    assert_eq!(recipe.base_lr(), recipe.optimizer.lr());
}

#[test]
fn shipped_recipes_are_whole() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes"));
    let files = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = files(folder).chain(files(&folder.join("published")));
    let mut num_recipes = [0, 0];
    for path in paths.filter(|path| path.extension().is_some_and(|e| e == "toml")) {
        let text = fs::read_to_string(&path).unwrap();
        match AnyRecipe::load(&path, &[""; 0]).unwrap() {
            AnyRecipe::Classification(recipe) => {
                check_classification(&recipe);
                num_recipes[0] += 1;
            }
            AnyRecipe::Classifier(recipe) => recipe.check().unwrap(),
            AnyRecipe::Detection(recipe) => {
                check_detection(&recipe);
                num_recipes[1] += 1;
            }
        }
        for part in ["https://arxiv.org/abs/", "Expected", "longtail train recipes/"] {
            let is_published = path.parent().is_some_and(|folder| folder.ends_with("published"));
            assert!(!is_published || text.contains(part), "{}: {part}", path.display());
        }
    }
    assert!(num_recipes[0] >= 8 && num_recipes[1] >= 9, "{num_recipes:?}");
}
