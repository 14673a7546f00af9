"""One training loop; recipes are rows of data."""
