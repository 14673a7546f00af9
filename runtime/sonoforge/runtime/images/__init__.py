"""Read and write images: decoding, preprocessing, quality, marks of synthetic ones."""
