//! Recipes, the training loop, checkpoints and exact resume.
