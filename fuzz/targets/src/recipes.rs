//! Recipes, with changes of the command line.

use longtail::training::AnyRecipe;

use crate::Scratch;

/// A recipe; after a line of `---`, each line changes a key, as `--set` does.
pub(crate) fn recipe(bytes: &[u8], _scratch: &Scratch<'_>) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, changes) = text.split_once("\n---\n").unwrap_or((text, ""));
    let changes: Vec<&str> = changes.lines().take(8).collect();
    let Ok(recipe) = AnyRecipe::parse("fuzzed", text, &changes) else { return };
    let printed = recipe.to_toml();
    let again = AnyRecipe::parse("printed", &printed, &[""; 0]);
    let again = again.unwrap_or_else(|error| panic!("printed, not read: {error}\n{printed}"));
    // Not compared as values: a number that is none equals nothing.
    assert_eq!(again.to_toml(), printed, "printed twice");
}
