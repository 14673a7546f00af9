"""Open one DICOM file as frames of 8-bit grey or RGB, under the rules of `images.decoding`.

* Nothing of the patient is read: only the elements that `images.dicom.data_set` names are taken from the file, and no
  message quotes a value.
  A message names the file as it was given.
* Frames are decoded one at a time, so a long clip needs the memory of one frame.
* One decoder serves each transfer syntax, so the same file gives the same pixels on every machine.
* Frames are cropped to the largest two-dimensional tissue region of ultrasound, if the machine recorded one.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images import bit_depth
from sonoforge.runtime.images.dicom.data_set import (
    DECODERS,
    DataSet,
    check_length,
    open_source,
    read_data_set,
)
from sonoforge.runtime.images.dicom.frame_limits import checked_plugin
from sonoforge.runtime.images.dicom.header import (
    INSTALL,
    Region,
    Spacing,
    check_file,
    import_pydicom,
    one_line,
    read_region,
    read_spacing,
)
from sonoforge.runtime.images.dicom.levels import GREY, Levels, is_wide, stored_range
from sonoforge.runtime.images.dicom.opening import HEAD_BYTES, is_dicom
from sonoforge.runtime.images.limits import (
    MAX_PIXELS,
    ImageError,
    check_clip,
    check_size,
    clip_refused,
    large_ones_in_turn,
)
from sonoforge.runtime.images.plain_image import with_remarks

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Colour is converted in floating point, 30 bytes a pixel: with the program and its network 393 MB.
MAX_COLOUR_PIXELS = 9_000_000
# A header that states 16 bits may come from a program that knows no other number; one that states fewer is doubted
# where the picture would be darker by 4 bits.
_WHOLE_WORD, _NEARLY_BLACK = 16, 4


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One DICOM file that holds a picture or a clip."""

    path: Path | str  # the file as given
    width: int  # columns of the whole picture
    height: int  # rows of the whole picture
    frame_count: int  # number of frames; 1 for a still
    region: Region | None  # what `frames` crops to; None where the file records no two-dimensional tissue region
    spacing: Spacing | None  # size of a pixel; None where the file does not say
    frame_time_ms: float | None  # milliseconds from frame to frame; None where the file does not say
    photometric: str  # ``MONOCHROME2``, ``RGB``, ...
    transfer_syntax: str  # UID of how the pixels are stored
    passed_over: tuple[str, ...]  # elements that are damaged or untrue, and not needed for the pixels
    _data: DataSet

    @property
    def stored_range(self) -> tuple[int, int]:
        """The least and the greatest value that the stored bits can hold."""
        return stored_range(self._data.header)

    @functools.cached_property
    def filled_bits(self) -> int:
        """How many bits the values of all frames fill, where no window says how to show them; else the stored bits.

        What the header says counts, unless it is the whole word, or the picture would be nearly black.
        """
        stored = int(self._data.header.BitsStored)
        if not is_wide(self._data.header):
            return stored
        ends = [(int(values.min()), int(values.max())) for values in self.stored_frames()]
        filled = bit_depth.filled_bits(min(low for low, _ in ends), max(high for _, high in ends), stored)
        return filled if stored == _WHOLE_WORD or filled <= stored - _NEARLY_BLACK else stored

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be said of how it was read, in phrases."""
        stored = int(self._data.header.BitsStored)
        passed_over = f"passed over as damaged: {', '.join(self.passed_over)}" if self.passed_over else ""
        spread = bit_depth.in_words(self.filled_bits, stored) if self.filled_bits < stored else ""
        return tuple(filter(None, (spread, passed_over)))

    def frames(self) -> Iterator[Image.Image]:
        """Yield each frame as mode ``L`` or ``RGB``, 8 bits a channel, cropped to the region.

        Raises:
            ImageError: And nothing else.
        """
        levels = Levels(self._data.header, self.path, self.filled_bits)
        with contextlib.closing(self.stored_frames()) as stored:
            while True:
                with large_ones_in_turn(self.width * self.height):
                    values = next(stored, None)
                    if values is None:
                        return
                    with one_line(self.path):
                        # A palette of greys only stays in colour: the file says that it is a colour picture.
                        image = Image.fromarray(np.ascontiguousarray(levels.convert(values)))
                        frame = with_remarks(image.crop(self.region.box) if self.region else image, self.remarks)
                del values
                yield frame

    def stored_frames(self) -> Generator[NDArray[Any], None, None]:
        """Yield each frame's values as pydicom answers them: (H, W) integers, or (H, W, 3) RGB; not cropped."""
        with one_line(self.path):
            from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415 - an extra

            decoder, plugin = get_decoder(self.transfer_syntax), DECODERS[self.transfer_syntax]
            if plugin and plugin not in decoder.available_plugins:
                name = decoder.UID.name
                raise ImageError("unsupported", f"{self.path}: stored as {name}, whose decoder needs {INSTALL}")
            plugin = checked_plugin(decoder, plugin) if plugin else ""
        count = 0
        with contextlib.ExitStack() as opened:
            with one_line(self.path):
                stream = opened.enter_context(open_source(self._data.source))
                stream.seek(self._data.offset)
                decoded = cast(
                    Generator[tuple[NDArray[Any], Any], None, None],
                    decoder.iter_array(stream, decoding_plugin=plugin, **self._data.options),
                )
                frames = islice(opened.enter_context(contextlib.closing(decoded)), self.frame_count)
            while True:
                with one_line(self.path):
                    found = next(frames, None)
                if found is None:
                    break
                count += 1
                yield found[0]
        if count < self.frame_count:
            raise ImageError(
                "truncated",
                f"{self.path}: found {count} frames, expected {self.frame_count} as its header says; obtain it again",
            )


def open_dicom(path: Path | str, data: bytes | None = None) -> DicomImage:
    """Read what a DICOM file, or ``data`` if it was read already, says of its pixels, and check it; none is decoded.

    Raises:
        ImageError: And nothing else, whatever the file holds; its ``code`` says which kind.
    """
    with one_line(path):
        source = path if data is None else data
        if data is None:
            check_file(Path(path))
        import_pydicom(path)
        with open_source(source) as stream:
            if not is_dicom(stream.read(HEAD_BYTES)):
                raise ImageError("not_an_image", f"{path}: does not begin as DICOM; obtain the file again")
        return _describe(read_data_set(source, path), path)


def decode_dicom(data: bytes, path: Path | str) -> Image.Image:
    """Decode the one frame of a still, as `images.decoding.read_image` needs it.

    Raises:
        ImageError: And nothing else; ``animated`` for a clip.
    """
    image = open_dicom(path, data)
    if image.frame_count > 1:
        raise clip_refused(path, f"a clip of {image.frame_count} frames")
    (frame,) = image.frames()
    return frame


def _describe(data: DataSet, path: Path | str) -> DicomImage:
    header = data.header
    width, height, frames = int(header.Columns), int(header.Rows), int(header.NumberOfFrames)
    grey = header.PhotometricInterpretation in GREY
    check_size(width, height, path, MAX_PIXELS if grey else MAX_COLOUR_PIXELS)
    check_clip(frames, width, height, path)
    check_length(data, path)
    region, spacing, damaged = read_region(header, width, height)
    return DicomImage(
        path=path,
        width=width,
        height=height,
        frame_count=frames,
        region=region,
        spacing=spacing or read_spacing(header),
        frame_time_ms=_frame_time(header),
        photometric=str(header.PhotometricInterpretation),
        transfer_syntax=data.syntax,
        passed_over=(*data.passed_over, *(("SequenceOfUltrasoundRegions",) if damaged else ())),
        _data=data,
    )


def _frame_time(header: Dataset) -> float | None:
    """Return milliseconds from frame to frame (PS3.3, C.7.6.5), or 1000 through the frames a second."""
    if header.get("FrameTime"):
        return float(header.FrameTime)
    rate = header.get("CineRate") or header.get("RecommendedDisplayFrameRate")
    return 1000 / float(rate) if rate else None
