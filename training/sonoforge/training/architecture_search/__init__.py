"""Search for a GAN's settings or cells: what to try next, the training of a trial, the store, the results."""
