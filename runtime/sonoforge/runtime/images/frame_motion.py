"""Measure how far a clip's picture moves between frames: fast enough to smear them, or not at all.

Each tile of a frame is located in the previous frame by phase correlation (Kuglin and Hines, The phase correlation
image alignment method, Proc. IEEE Conf. Cybernetics and Society, 1975, pages 163 to 165). Multiplying the spectrum by a
Gaussian makes the peak Gaussian too, so three values give its subpixel position; see ``runtime/docs/quality.md``.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.quality_metrics import CLIP
from sonoforge.runtime.images.scan_metrics import squares

FASTEST = 1.5
"""Per cent of the shorter side per frame; see "Motion within a clip" in ``runtime/docs/quality.md``."""

SIDE = 192
"""Pixels of the view's shorter side: three tiles."""
_MOST_TILES_ALONG = 12  # of the longer side: a strip of any length costs no more than four squares
_TILE = 64  # pixels; half of it is the largest shift that can be measured
_PEAK = 1.0  # standard deviation of the peak in pixels
_TEXTURED = 2.0  # least standard deviation of a tile in grey levels; emptier ones show no movement
# A peak counts from this share of the peak of two equal tiles; 97 % of 341 pairs of tiles of different scans of BUSI
# stay below it.
_FOUND = 0.18
# A pixel that differs by more levels has changed; the clock of a frozen screen is a smaller share of the picture.
_CHANGED_LEVELS, _CHANGED_SHARE = 1, 0.01

_ADVICE = {
    "frozen": "Nothing moves: all frames show the same picture, so the clip says no more than a still.",
    "motion_lost": "Most frames share too little with the frame before to tell the movement: the probe moved too fast, "
    "or these are single pictures.",
    "motion_high": CLIP["motion"].advice,
}

_window = np.outer(np.hanning(_TILE), np.hanning(_TILE)).astype(np.float32)
_frequencies = np.add.outer(np.fft.fftfreq(_TILE) ** 2, np.fft.rfftfreq(_TILE) ** 2)
_smoothing = np.exp(-2 * (np.pi * _PEAK) ** 2 * _frequencies).astype(np.float32)
_highest = float(np.fft.irfft2(_smoothing).max())


@dataclass(frozen=True)
class Motion:
    """Movement between the frames of a clip."""

    per_frame: float | None  # median movement to the next frame in % of the shorter side, 0 to about 15; None: unknown
    pairs: int  # of successive frames
    followed: int  # pairs whose movement could be measured
    still: int  # of these, how many show the very same picture

    @property
    def flags(self) -> tuple[str, ...]:
        """At most one of ``motion_high``, ``motion_lost`` and ``frozen``."""
        if self.pairs and self.still == self.pairs:
            return ("frozen",)
        if 2 * self.followed < self.pairs:
            return ("motion_lost",)
        return ("motion_high",) if self.per_frame is not None and self.per_frame > FASTEST else ()

    @property
    def advice(self) -> tuple[str, ...]:
        """A sentence for each flag."""
        return tuple(_ADVICE[flag] for flag in self.flags)

    def to_dict(self) -> dict[str, object]:
        """Return the attributes and the unit by name, ready for JSON."""
        return {
            **asdict(self),
            "unit": CLIP["motion"].unit,
            "limit": FASTEST,
            "flags": list(self.flags),
            "advice": list(self.advice),
        }


class MotionMeter:
    """Takes the frames of a clip one by one; keeps one small view and a number for each frame."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self._moves: list[float | None] = []
        self._still = 0

    def add(self, frame: Image.Image) -> None:
        """Compare a frame with the previous one."""
        before, view = self._before, _view(frame)
        self._before = view
        if before is None:
            return
        still = False
        if view.shape == before.shape:
            changed = np.abs(view.astype(np.int16) - before) > _CHANGED_LEVELS
            still = float(changed.mean()) <= _CHANGED_SHARE
        self._still += still
        self._moves.append(0.0 if still else shift_between(before, view))

    def motion(self) -> Motion:
        """Return the movement so far."""
        known = [move for move in self._moves if move is not None]
        return Motion(float(np.median(known)) if known else None, len(self._moves), len(known), self._still)


def shift_between(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float | None:
    """Return the median length of the tiles' shifts between two views, as a percentage of the shorter side.

    The views are (H, W) uint8, the shorter side 192 pixels.  Return None if the shapes differ, or if fewer than half of
    the textured tiles are found again.
    """
    if before.shape != after.shape:
        return None
    first, second = (squares(view, _TILE).reshape(-1, _TILE, _TILE) for view in (before, after))
    textured = (first.std(axis=(1, 2)) >= _TEXTURED) & (second.std(axis=(1, 2)) >= _TEXTURED)
    first, second = first[textured], second[textured]
    if not len(first):
        return None
    spectra = [np.fft.rfft2((tiles - tiles.mean(axis=(1, 2), keepdims=True)) * _window) for tiles in (first, second)]
    cross = spectra[1] * spectra[0].conj()
    surfaces = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6) * _smoothing)
    lengths = []
    for surface in surfaces:
        row, column = divmod(int(surface.argmax()), _TILE)
        if surface[row, column] >= _FOUND * _highest:
            lengths.append(float(np.hypot(_place(row, surface[:, column]), _place(column, surface[row]))))
    return 100 * float(np.median(lengths)) / SIDE if 2 * len(lengths) >= len(first) else None


def _place(index: int, line: NDArray[Any]) -> float:
    """Return the signed position of a Gaussian peak on a circle of cells, from the highest cell and its neighbours."""
    logs = np.log(np.maximum([line[index - 1], line[index], line[(index + 1) % _TILE]], 1e-9))
    curve = logs[0] - 2 * logs[1] + logs[2]
    between = float((logs[0] - logs[2]) / (2 * curve)) if curve < 0 else 0.0
    return (index + between + _TILE / 2) % _TILE - _TILE / 2


def _view(frame: Image.Image) -> NDArray[np.uint8]:
    """Return the middle of a frame in grey, its shorter side resized to 192 pixels."""
    width, height = frame.size
    scale = SIDE / min(width, height)
    most = _MOST_TILES_ALONG * _TILE
    wide, high = min(most, round(width * scale)), min(most, round(height * scale))
    left, top = (width - wide / scale) / 2, (height - high / scale) / 2
    box = (max(0.0, left), max(0.0, top), min(width, left + wide / scale), min(height, top + high / scale))
    return np.asarray(frame.convert("L").resize((wide, high), Image.Resampling.BILINEAR, box))
