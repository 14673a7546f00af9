"""Cross-validation: arms, folds, settings chosen inside them, what is kept, the comparison and the final model."""
