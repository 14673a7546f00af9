"""The hash that tells whether two images hold the same pixels."""

from __future__ import annotations

import hashlib

from PIL import Image


def content_hash(image: Image.Image) -> str:
    """Return the sha256 of an image's mode, size and pixels: equal for the same picture in any lossless file format."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
