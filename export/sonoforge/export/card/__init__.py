"""MODEL_CARD.md of a bundle, written from its records."""
