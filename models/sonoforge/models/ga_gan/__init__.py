"""GA-GAN: networks of cells that are written as codes, so that a search can change them."""
