"""Frames of a scan, and what a clip's file is read as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sonoforge.runtime.images.clip_files import clip_frames
from sonoforge.runtime.images.limits import ImageError

_RNG = np.random.default_rng(7)
GREY = _RNG.integers(0, 256, (3, 48, 64), dtype=np.uint8)
COLOUR = _RNG.integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)


def frames_of(path: Path | str, data: bytes | None = None) -> np.ndarray:
    """All frames of a clip, (N, H, W, 3)."""
    return np.stack([np.asarray(frame.convert("RGB")) for frame in clip_frames(path, data)])


def clip_refused(path: Path, data: bytes | None = None) -> tuple[str, str]:
    """The code and the one line by which a clip is refused."""
    with pytest.raises(ImageError) as caught:
        frames_of(path, data)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return caught.value.code, message
