"""Find pictures of one scan: equal, cropped, shifted, rotated, zoomed, mirrored, inverted, framed or next frame."""
