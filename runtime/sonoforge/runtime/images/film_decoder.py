"""Decode the video on standard input, in a separate process: ``python film_decoder.py PIXELS SECONDS BYTES``.

It imports nothing from sonoforge. Standard output gets one line of JSON, ``{"frames", "width", "height"}``, where
``frames`` is the number that the file states, then each frame as blue, green, red bytes; standard error gets FFmpeg's
errors.  The exit code is one of the constants below.
"""

import contextlib
import io
import json
import os
import sys
import time
from typing import Any, BinaryIO

OK, NO_FILM, CHANGED, TOO_SLOW = 0, 20, 21, 22
"""Done; no video in it; a frame differs in size from the first; out of processor time."""

ERROR = "[OPENCV:FFMPEG:"  # the beginning of FFmpeg's lines


def main(most_pixels: int, seconds: int, most_bytes: int) -> int:
    """Write the frames of a video within limits on pixels per frame, processor time and memory."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limits, macOS no memory limit
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # where OpenCV writes FFmpeg's errors
    # Before the import.  16: errors only.
    os.environ |= {"OPENCV_FFMPEG_LOGLEVEL": "16", "OPENCV_LOG_LEVEL": "SILENT", "OPENBLAS_NUM_THREADS": "1"}
    import cv2  # noqa: PLC0415

    source: Any = sys.stdin.buffer if sys.stdin.seekable() else io.BytesIO(sys.stdin.buffer.read())
    # A stream, not a name, which OpenCV might take for an address or a pattern of names.
    film = cv2.VideoCapture(source, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not film.isOpened():
        return NO_FILM
    stated = int(film.get(cv2.CAP_PROP_FRAME_WIDTH)), int(film.get(cv2.CAP_PROP_FRAME_HEIGHT))
    frames = int(film.get(cv2.CAP_PROP_FRAME_COUNT))
    if stated[0] * stated[1] > most_pixels:
        _say(out, frames, *stated)
        return OK
    first = None
    while True:
        there, frame = film.read()
        if not there:
            return OK if first else NO_FILM
        if first is None:
            first = frame.shape
            _say(out, frames, first[1], first[0])
        if frame.shape != first:
            return CHANGED
        out.write(frame.tobytes())
        out.flush()
        if time.process_time() > seconds:
            return TOO_SLOW


def _say(out: BinaryIO, frames: int, width: int, height: int) -> None:
    line = json.dumps({"frames": frames, "width": width, "height": height})
    out.write(line.encode() + b"\n")
    out.flush()


if __name__ == "__main__":
    os._exit(main(*map(int, sys.argv[1:])))  # without cleaning up: a decoder that met damage may crash there
