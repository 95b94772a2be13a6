//! Every shipped recipe can be read, and its loss and model fit each other.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use longtail_testing::device;
use longtail_training::Recipe;
use longtail_types::ClassCounts;

#[test]
fn shipped_recipes_are_whole() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes"));
    let files = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = files(folder).chain(files(&folder.join("published")));
    let mut num_recipes = 0;
    for path in paths.filter(|path| path.extension().is_some_and(|e| e == "toml")) {
        let recipe = Recipe::load(&path, &[""; 0]).unwrap();
        recipe.transforms.train_pipeline().unwrap();
        let counts = vec![5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50];
        let counts = ClassCounts::new(counts.clone(), counts, 12_406).unwrap();
        let loss = recipe.loss.init(&counts, &device()).unwrap();
        let (num_logits, bias) = (loss.num_logits(), loss.prior_bias());
        let model = recipe.model.init(num_logits, bias, recipe.seed, &device()).unwrap();
        assert_eq!(model.num_logits(), num_logits, "{}", path.display());
        num_recipes += 1;
    }
    assert!(num_recipes >= 8, "{num_recipes}");
}
