"""Decode a compressed frame only if it holds no more pixels than its file's header says.

A few bytes can stand for gigabytes: a codestream states its own size, whatever the header says, and two bytes of RLE
say "the same 128 times".  This module is a decoder plugin of pydicom that checks a frame and hands it on to the one
decoder of its transfer syntax.
"""

from __future__ import annotations

import itertools
import re
import struct
import threading
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

PLUGIN = "sonoforge"

# JPEG and JPEG-LS: start-of-frame markers (ITU-T T.81, table B.1; T.87, annex C.1.1), after other segments.
_FRAME_MARKERS = (*(0xC0 + kind for kind in range(16) if kind not in (4, 8, 12)), 0xF7)
_SCAN_MARKER = 0xDA
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
# JPEG 2000: start of codestream and the SIZ segment (ITU-T T.800, A.4.1 and A.5.1).  A codestream cannot have these
# bytes elsewhere, as its data never has 0xFF before a byte above 0x8F.
_SIZ = re.compile(rb"\xff\x4f\xff\x51(?=.{38})", re.DOTALL)
# RLE: a header of 64 bytes (PS3.5, annex G.5); 2 bytes become 128 at most.  A frame up to this length cannot be large.
_SMALL_RLE = 1_000_000
_RLE_SLACK = 1.1  # of the frame's own bytes: padding, and encoders that round up

_adding = threading.Lock()


def checked_plugin(decoder: Any, label: str) -> str:
    """Return the name of the plugin that checks each frame before pydicom's plugin ``label`` decodes it."""
    with _adding:
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, f"decode_by_{label}"))
    return PLUGIN


def is_available(uid: str) -> bool:
    """Tell pydicom that this plugin serves a transfer syntax; `checked_plugin` is called only where it does."""
    del uid
    return True


def decode_by_pyjpegls(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode a frame of JPEG-LS; CharLS 2 would read on for seconds, in vain, in a frame without an end."""
    if frame.rfind(_END) < frame.find(_SCAN):
        raise ValueError("a codestream without an end")
    return _decode("pydicom.pixels.decoders.pyjpegls", frame, runner)


def decode_by_pydicom(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode a frame of RLE."""
    expected = runner.rows * runner.columns * runner.samples_per_pixel * (runner.bits_allocated // 8)
    if len(frame) > _SMALL_RLE and _rle_bytes(frame) > _RLE_SLACK * expected:
        raise ValueError(f"runs of more than the {expected} bytes in the header")
    return _decode("pydicom.pixels.decoders.rle", frame, runner)


def _decode(module: str, frame: bytes, runner: DecodeRunner) -> bytes:
    most = runner.rows * runner.columns * runner.samples_per_pixel
    for width, height, samples in stated_sizes(frame):
        if width * height * samples > most:
            raise ValueError(f"a codestream of {width}x{height} pixels, more than in the header")
    decoded: bytes = import_module(module)._decode_frame(frame, runner)
    return decoded


# JPEG, JPEG 2000, lossless JPEG
decode_by_pillow = partial(_decode, "pydicom.pixels.decoders.pillow")
decode_by_pylibjpeg = partial(_decode, "pydicom.pixels.decoders.pylibjpeg")
decode_by_gdcm = partial(_decode, "pydicom.pixels.decoders.gdcm")


def stated_sizes(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield width, height and samples per pixel wherever a JPEG, JPEG-LS or JPEG 2000 codestream states them."""
    for found in _SIZ.finditer(frame):
        x_end, y_end, x, y = struct.unpack_from(">4L", frame, found.end() + 4)
        (samples,) = struct.unpack_from(">H", frame, found.end() + 36)
        yield x_end - x, y_end - y, samples
    if frame[:2] != b"\xff\xd8":
        return
    place = 2
    while place + 10 <= len(frame):
        if frame[place] != 0xFF:  # some writers leave bytes between segments, which decoders skip
            place += 1
            continue
        marker = frame[place + 1]
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD9:  # fill bytes, and markers without a segment
            place += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN_MARKER:
            return
        length, _, height, width, samples = struct.unpack_from(">HBHHB", frame, place + 2)
        if marker in _FRAME_MARKERS:
            yield width, height, samples
        place += 2 + length


def _rle_bytes(frame: bytes) -> int:
    """Return how many bytes the runs of all segments of a frame decode to."""
    count, *offsets = struct.unpack_from("<16L", frame)
    edges = [*offsets[: min(count, 15)], len(frame)]
    total = 0
    for start, stop in itertools.pairwise(edges):
        place, end = start, min(stop, len(frame))
        while place < end:
            control = frame[place]
            if control < 128:  # a literal run of control + 1 bytes
                total += control + 1
                place += control + 2
            else:
                total += 257 - control if control > 128 else 0
                place += 2 if control > 128 else 1
    return total
