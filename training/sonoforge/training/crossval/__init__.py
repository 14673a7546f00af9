"""Cross-validate: arms, folds, settings chosen inside them, kept results, the comparison and the final model."""
