"""Read images, audit them, and deal them out into folds."""
