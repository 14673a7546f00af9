"""Train GANs with one loop; recipes are rows of data."""
