"""Train the classifier: initial weights, fine-tuning, arms, folds, final model."""
