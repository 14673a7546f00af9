"""Images in and out: decoding, preprocessing, quality, marks of synthetic ones."""
