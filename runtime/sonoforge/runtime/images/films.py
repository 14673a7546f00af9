"""Read a film, one frame after another.

* The content decides: MP4, QuickTime, AVI, Matroska with WebM, and Windows Media are known by how they begin, whatever
  the suffix.  What is in them is decoded by the FFmpeg that opencv-python-headless brings, which is under the LGPL; the
  wheels of PyAV and imageio-ffmpeg bring x264 and x265, which are under the GPL.
* It is decoded in a process of its own, `film_decoder`, whose memory and processor time are limited, and which takes a
  damaged file's crash with it.
* Frames are upright, 8 bits a channel; one whose channels are equal is grey, mode ``L``.
* A film is refused as a whole where FFmpeg finds damage in it, or where frames are missing that the file states.  An
  MP4 or QuickTime file may state more than are shown: whoever cuts one may hide frames.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from PIL import Image, ImageChops

from sonoforge.runtime.images import film_decoder
from sonoforge.runtime.images.brands import BOXES, HEAD_BYTES
from sonoforge.runtime.images.dicom.opening import first_bytes
from sonoforge.runtime.images.limits import MAX_CLIP_FILE_BYTES, MAX_CLIP_SECONDS, ImageError, check_clip, check_size
from sonoforge.runtime.images.plain_image import PlainImage

INSTALL = "pip install 'sonoforge[video]'"

MAX_FILM_PIXELS = 9_000_000
"""Of a frame; 3840 x 2160 have 8.3 million.  A decoder keeps up to 17 of them."""

_MEMORY = 1_000_000_000  # bytes of addresses for the decoder, of which Python and OpenCV take 280 million


def film_frames(path: Path | str, data: bytes | None = None) -> Iterator[PlainImage]:
    """Yield each frame of a film, with one in memory at a time; ``data`` is the file if it was read already.

    Raises:
        ImageError: And nothing else, whatever the file holds.
    """
    if find_spec("cv2") is None:
        raise ImageError("unsupported", f"{path}: films need {INSTALL}")
    head = first_bytes(path, HEAD_BYTES) if data is None else data
    with ExitStack() as stack:
        process = _start(stack, path, data)
        said: dict[str, str] = {}
        listener = threading.Thread(target=_listen, args=(process.stderr, said), daemon=True)
        listener.start()
        stack.callback(listener.join)
        stack.callback(process.kill)
        if data is not None and process.stdin:
            with suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(data)
        stated, count = 0, 0
        if process.stdout and (line := process.stdout.readline()):
            header = json.loads(line)
            stated, size = header["frames"], (header["width"], header["height"])
            check_size(*size, path, MAX_FILM_PIXELS)
            check_clip(max(stated, 1), *size, path)
            while len(frame := process.stdout.read(3 * size[0] * size[1])) == 3 * size[0] * size[1]:
                count += 1
                check_clip(count, *size, path)
                yield _plain(Image.frombuffer("RGB", size, frame, "raw", "BGR", 0, 1))
        code = process.wait()
        listener.join()
    _check_end(code, said, path)
    if count < stated and head[4:8] not in BOXES:
        raise ImageError("truncated", f"{path}: found {count} frames, expected {stated} as it says; obtain it again")


def _start(stack: ExitStack, path: Path | str, data: bytes | None) -> subprocess.Popen[bytes]:
    """Start a decoder that reads the file, or waits for ``data``; the stack ends it."""
    limits = (MAX_FILM_PIXELS, MAX_CLIP_SECONDS, _MEMORY + len(data or b""))
    try:
        if data is None and (size := os.stat(path).st_size) > MAX_CLIP_FILE_BYTES:  # noqa: PTH116 - str and Path alike
            most = f"at most {MAX_CLIP_FILE_BYTES / 1e6:.0f} MB; cut the clip"
            raise ImageError("too_large", f"{path}: found {size / 1e6:.0f} MB, expected {most}")
        process = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - this Python, and a file of this package
                [sys.executable, film_decoder.__file__, *map(str, limits)],
                stdin=subprocess.PIPE if data is not None else stack.enter_context(open(path, "rb")),  # noqa: PTH123, SIM115
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    except OSError as error:
        raise ImageError("unreadable", f"{path}: cannot be read or decoded ({error.strerror})") from error
    return process


def _listen(stream: IO[bytes], said: dict[str, str]) -> None:
    """Keep FFmpeg's first ``error`` and the ``last`` line of all; the decoder need not wait for a reader."""
    for line in stream:
        text = line.decode(errors="replace").strip()
        if text.startswith(film_decoder.ERROR):
            said.setdefault("error", text.partition("] ")[2])
        said["last"] = text


def _check_end(code: int, said: dict[str, str], path: Path | str) -> None:
    """Refuse a film whose decoder did not end well, or spoke of damage."""
    error = said.get("error", "")
    if code == film_decoder.TOO_SLOW or code == -getattr(signal, "SIGXCPU", 0) != 0:
        raise ImageError("too_slow", f"{path}: decoding it takes minutes; cut the clip")
    if code == film_decoder.CHANGED:
        raise ImageError("unsupported", f"{path}: its frames change their size, expected one size; cut the clip")
    if code == film_decoder.NO_FILM and not error:
        raise ImageError("not_an_image", f"{path}: found no pictures, expected a film; give one that a player shows")
    if code or error:
        reason = error or said.get("last", "") or f"the decoder ended with {code}"
        raise ImageError(
            "truncated",
            f"{path}: the film is cut off, damaged or of an unknown kind ({reason[:160]}); obtain it again, or save it "
            "as H.264 in MP4",
        )


def _plain(frame: Image.Image) -> PlainImage:
    """Return a frame as grey where its channels are equal."""
    red, green, blue = frame.split()
    equal = not (ImageChops.difference(red, green).getbbox() or ImageChops.difference(green, blue).getbbox())
    return PlainImage(red if equal else frame)
