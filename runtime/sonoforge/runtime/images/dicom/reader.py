"""Open one DICOM file as frames of 8-bit grey or RGB, under the rules of `images.decoding`.

* Nothing about the patient is read: only the elements listed in `images.dicom.data_set` are read, and messages quote no
  values. They name the file as it was given.
* Frames are decoded one at a time, so a long clip needs the memory of one frame.
* Each transfer syntax has one decoder, so the same file gives the same pixels on every machine.
* Values become levels by the steps of PS3.4, annex N.2. Grey: modality table or rescaling; then the table of values of
  interest, or else the first window; without either, the range of the stored bits, or of the bits that the values fill.
  A frame's own rescaling or window precedes that of all frames, and that precedes the file's (PS3.3, C.7.6.16).
  The darkest value of that range becomes 0, the brightest 255, rounded; ``MONOCHROME1`` is inverted last. Palette
  colours are looked up; colours of more than 8 bits are scaled from the stored bits.
* Frames are cropped to the largest two-dimensional tissue region if the machine recorded one.
"""

import contextlib
import functools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from sonoforge.runtime.errors import install_extra
from sonoforge.runtime.images import file_kinds, limits
from sonoforge.runtime.images.dicom import data_set
from sonoforge.runtime.images.dicom import header as of_header
from sonoforge.runtime.images.dicom.lookup_tables import PALETTE_TABLES, read_table
from sonoforge.runtime.images.plain_image import filled_bits, spread_remark, with_remarks

# A header that states 16 bits may come from a program that always writes 16; one that states fewer is doubted only
# where the picture would be darker by 4 bits.
_WHOLE_WORD, _NEARLY_BLACK = 16, 4


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One DICOM file that holds a picture or a clip."""

    path: Path | str  # the file as given
    width: int  # columns of the whole picture
    height: int  # rows of the whole picture
    frame_count: int  # 1 for a still
    region: of_header.Region | None  # what `frames` crops to; None if the file records no two-dimensional tissue region
    spacing: of_header.Spacing | None  # size of a pixel; None if the file does not say
    frame_time_ms: float | None  # milliseconds from frame to frame; None if the file does not say
    photometric: str  # ``MONOCHROME2``, ``RGB``, ...
    transfer_syntax: str  # UID of how the pixels are stored
    passed_over: tuple[str, ...]  # damaged or untrue elements that the pixels do not need
    _data: data_set.DataSet

    @property
    def stored_range(self) -> tuple[int, int]:
        """The smallest and largest values that the stored bits can hold."""
        return _range_of(int(self._data.header.BitsStored), self._data.header)

    @functools.cached_property
    def filled_bits(self) -> int:
        """How many bits the values of all frames fill if no window says how to show them; otherwise the stored bits.

        The header's number counts, unless it is the whole word or the picture would be nearly black.
        """
        stored = int(self._data.header.BitsStored)
        if self.photometric not in data_set.GREY or stored <= 8 or all(map(_is_shown, self._data.frame_headers)):
            return stored
        filled = filled_bits(min(low for low, _ in self._ends), max(high for _, high in self._ends), stored)
        return filled if stored == _WHOLE_WORD or filled <= stored - _NEARLY_BLACK else stored

    @functools.cached_property
    def _ends(self) -> list[tuple[int, int]]:
        """The smallest and largest stored value of each frame."""
        return [(int(values.min()), int(values.max())) for values in self.stored_frames()]

    @functools.cached_property
    def _range(self) -> tuple[float, float]:
        """The real values that become black and white in frames without a window, the same for all of them.

        If frames are rescaled differently, it is the narrowest of their ranges that holds the values of all.
        """
        bare = [(number, one) for number, one in enumerate(self._data.frame_headers) if not _is_shown(one)]
        ranges = {(*sorted(_rescaled(_range_of(self.filled_bits, header), header)),) for _, header in bare}
        if len(ranges) > 1:
            real = [_rescaled(self._ends[number], header) for number, header in bare]
            whole = min(low for low, _ in ranges), max(high for _, high in ranges)
            fitting = [one for one in ranges if one[0] <= np.min(real) and np.max(real) <= one[1]]
            return min(fitting, key=lambda one: one[1] - one[0], default=whole)
        return ranges.pop() if ranges else (0.0, 1.0)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on how it was read, as phrases."""
        stored = int(self._data.header.BitsStored)
        passed_over = f"passed over as damaged or incomplete: {', '.join(self.passed_over)}" if self.passed_over else ""
        spread = spread_remark(self.filled_bits, stored) if self.filled_bits < stored else ""
        return tuple(filter(None, (spread, passed_over)))

    def frames(self) -> Iterator[Image.Image]:
        """Yield each frame as mode ``L`` or ``RGB``, 8 bits a channel, cropped to the region.

        Raises:
            ImageError: The only error.
        """
        tables: dict[Any, NDArray[np.uint8]] = {}
        with contextlib.closing(self.stored_frames()) as stored:
            for header in (*self._data.frame_headers, self._data.header):
                with limits.large_ones_in_turn(self.width * self.height):
                    values = next(stored, None)
                    if values is None:
                        return
                    with of_header.one_line(self.path):
                        # A palette of greys stays in colour: the file says that it is a colour picture.
                        image = Image.fromarray(np.ascontiguousarray(self._converted(values, header, tables)))
                        frame = with_remarks(image.crop(self.region.box) if self.region else image, self.remarks)
                del values
                yield frame

    def _converted(
        self, values: NDArray[Any], header: Dataset, tables: dict[Any, NDArray[np.uint8]]
    ) -> NDArray[np.uint8]:
        """Convert a frame, (H, W) or (for RGB) (H, W, 3) integers as pydicom returns them, to uint8 of that shape.

        ``tables`` keeps the table of levels for the next frame of the same header.
        """
        if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
            raise limits.ImageError(
                "unsupported",
                f"{self.path}: {8 * values.dtype.itemsize}-bit pixels, not integers of at most 16 bits; "
                "export it as 8- or 16-bit DICOM or PNG",
            )
        if self.photometric in data_set.COLOUR:
            bits = int(header.BitsStored)
            return values if bits == 8 and values.dtype == np.uint8 else _to_bytes(values, 0, 2**bits - 1)
        unsigned, key = f"u{values.dtype.itemsize}", (id(header), values.dtype)
        if key not in tables:
            tables.clear()
            every = np.arange(2 ** (8 * values.dtype.itemsize), dtype=unsigned)
            tables[key] = _levels_of(every.view(values.dtype), header, self._range)
        # A signed value's bit pattern is its place in the table.
        return np.asarray(tables[key][values.view(unsigned)])

    def stored_frames(self) -> Generator[NDArray[Any], None, None]:
        """Yield each frame's values as pydicom returns them: (H, W) integers, or (H, W, 3) RGB; not cropped."""
        with of_header.one_line(self.path):
            decoder, plugin = get_decoder(self.transfer_syntax), data_set.DECODERS[self.transfer_syntax]
            if plugin and plugin not in decoder.available_plugins:
                why = f"stored as {decoder.UID.name}, whose decoder is not installed; run {install_extra('dicom')}"
                raise limits.ImageError("unsupported", f"{self.path}: {why}")
            plugin = of_header.checked_plugin(decoder, plugin) if plugin else ""
            count = 0
            with data_set.open_source(self._data.source) as stream:
                stream.seek(self._data.offset)
                decoded = cast(
                    Generator[tuple[NDArray[Any], Any], None, None],
                    decoder.iter_array(stream, decoding_plugin=plugin, **self._data.options),
                )
                with contextlib.closing(decoded):
                    for values, _ in islice(decoded, self.frame_count):
                        count += 1
                        yield values
        if count < self.frame_count:
            raise limits.ImageError(
                "truncated",
                f"{self.path}: {count} frames, not {self.frame_count} as its header says; obtain it again",
            )


def open_dicom(path: Path | str, data: bytes | None = None) -> DicomImage:
    """Read and check what a DICOM file, or ``data`` if already read, says about its pixels; decode none.

    Raises:
        ImageError: And nothing else, whatever the file holds; its ``code`` says which kind.
    """
    with of_header.one_line(path):
        source = path if data is None else data
        if data is None:
            limits.check_file(path, clip=True)
        data_set.silence_pydicom()
        with data_set.open_source(source) as stream:
            if not file_kinds.is_dicom(stream.read(file_kinds.HEAD_BYTES)):
                raise limits.ImageError("not_an_image", f"{path}: does not begin like DICOM; obtain the file again")
        stored = data_set.read_data_set(source, path)
        header = stored.header
        width, height = stored.options["columns"], stored.options["rows"]
        region, spacing, damaged = of_header.read_region(header, width, height)
        own = stored.frame_headers[0]
        if not spacing and (name := next((name for name in data_set.SPACINGS if name in own), None)):
            vertical, horizontal = data_set.numbers(own, name)
            spacing = of_header.Spacing(vertical, horizontal, name)
        times, *rates = (data_set.numbers(header, name) for name in data_set.TIMES)  # PS3.3, C.7.6.5
        times += [1000 / rate for found in rates for rate in found[:1]]
        return DicomImage(
            path=path,
            width=width,
            height=height,
            frame_count=stored.options["number_of_frames"],
            region=region,
            spacing=spacing,
            frame_time_ms=times[0] if times else None,
            photometric=stored.options["photometric_interpretation"],
            transfer_syntax=stored.syntax,
            passed_over=(*stored.passed_over, *(("SequenceOfUltrasoundRegions",) if damaged else ())),
            _data=stored,
        )


def _levels_of(stored: NDArray[Any], header: Dataset, shown: tuple[float, float]) -> NDArray[np.uint8]:
    """Return the 8-bit level of each stored value, or its colour, (N, 3); rules at the top of this module.

    ``shown`` are the real values that become black and white without a window.
    """
    photometric = str(header.PhotometricInterpretation)
    if photometric == data_set.PALETTE:
        palette = read_table(header, *PALETTE_TABLES)
        return _to_bytes(palette.look_up(stored), 0, palette.highest)
    (low, high), values = shown, _rescaled(stored, header)
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        if header.get(name):
            table = read_table(header[name][0], "LUT")
            values, low, high = table.look_up(values), 0.0, float(table.highest)
    if "WindowCenter" in header and not header.get("VOILUTSequence"):
        values, low, high = _windowed(values, header), 0.0, 1.0
    levels = _to_bytes(values, low, high)
    return 255 - levels if photometric == "MONOCHROME1" else levels


def _windowed(values: NDArray[np.float64], header: Dataset) -> NDArray[np.float64]:
    """Return values after the first window, from 0 to 1; PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    centre, width = (data_set.numbers(header, name)[0] for name in ("WindowCenter", "WindowWidth"))
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return np.asarray(np.clip((values - centre) / width + 0.5, 0, 1) if width else values > centre)


def _is_shown(header: Dataset) -> bool:
    """Whether a header says how values are shown."""
    return "WindowCenter" in header or any(map(header.get, ("VOILUTSequence", "ModalityLUTSequence")))


def _rescaled(values: Any, header: Dataset) -> NDArray[np.float64]:
    """Return stored values after rescaling, in place of which a modality table may stand."""
    slope, intercept = (data_set.numbers(header, name)[:1] for name in ("RescaleSlope", "RescaleIntercept"))
    real = np.asarray(values, np.float64)
    return real if header.get("ModalityLUTSequence") else real * (*slope, 1.0)[0] + (*intercept, 0.0)[0]


def _range_of(bits: int, header: Dataset) -> tuple[int, int]:
    """Return the smallest and largest values that this many bits can hold."""
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.get("PixelRepresentation") else (0, 2**bits - 1)


def _to_bytes(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Spread low..high over 0..255, rounded to the nearest level and clipped."""
    if not np.isfinite([low, high]).all() or low == high:
        raise ValueError("no range of values")
    return np.rint(np.clip((values.astype(np.float64) - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
