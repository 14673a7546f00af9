"""Find pictures of one scan: equal, cropped, shifted, turned, zoomed, mirrored, inverted, framed, or the next frame."""
