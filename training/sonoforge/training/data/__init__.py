"""Images, their audit, and how they are dealt out into folds."""
