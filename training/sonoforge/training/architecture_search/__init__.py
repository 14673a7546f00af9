"""The search for a GAN's settings or cells: what to try next, the training of one trial, the store, the results."""
