"""The search for a GAN's settings or cells: what is tried next, one training of many, the store, what it found."""
