"""The GAN recipes, by family, and their table."""
