"""The classifier: first weights, fine-tuning, arms, folds, final model."""
