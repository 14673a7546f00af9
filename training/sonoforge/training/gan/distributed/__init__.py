"""Several processes at one training."""
