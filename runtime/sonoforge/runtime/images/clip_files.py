"""Read the frames of a clip: a video, an animated file, a file with several pages, or DICOM; the content decides.

A video is decoded by the FFmpeg in opencv-python-headless (LGPL; PyAV and imageio-ffmpeg bring x264 and x265, under the
GPL) in a separate process, `film_decoder`, with limited memory and processor time. The whole video is refused if FFmpeg
finds damage, or if it has fewer frames than it states, except MP4 and QuickTime, where cuts hide frames. Its frames are
upright, with 8 bits a channel; equal channels become grey. Other frames follow the rules of `images.decoding`; 16-bit
values are spread by the bits that all frames fill, and frames of different sizes are refused.
"""

import functools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TypeVar

from PIL import Image, ImageChops

from sonoforge.runtime.errors import not_installed
from sonoforge.runtime.images import decoding, file_checks, file_kinds, film_decoder, plain_image
from sonoforge.runtime.images.limits import MAX_CLIP_SECONDS, ImageError, check_clip, check_file, check_size

MAX_FILM_PIXELS = 9_000_000
"""Pixels of a frame; 3840 x 2160 has 8.3 million. A decoder keeps up to 17 frames."""
_MEMORY = 1_000_000_000  # bytes of address space for the decoder, of which Python and OpenCV take 280 million

_Taken = TypeVar("_Taken")


def is_clip(path: Path | str) -> bool:
    """Whether a file holds more than one picture; False if it cannot be read."""
    try:
        if file_kinds.begins_as_dicom(path):
            from sonoforge.runtime.images.dicom.reader import open_dicom  # noqa: PLC0415 - for DICOM alone

            return open_dicom(path).frame_count > 1
        if file_kinds.is_film(file_kinds.first_bytes(path)):
            return True
        with decoding.one_error(path):
            return bool(getattr(decoding.open_header(decoding.read_file(path), path), "is_animated", False))
    except ImageError:
        return False


def clip_frames(path: Path | str, data: bytes | None = None) -> Iterator[Image.Image]:
    """Return the frames of any clip, one in memory at a time; ``data`` is its content if already read.

    Raises:
        ImageError: While frames are taken; whatever the file holds, there is no other error.
    """
    if file_kinds.begins_as_dicom(path) if data is None else file_kinds.is_dicom(data):
        from sonoforge.runtime.images.dicom.reader import open_dicom  # noqa: PLC0415 - for DICOM alone

        return open_dicom(path, data).frames()
    head = file_kinds.first_bytes(path) if data is None else data
    return _film_frames(path, data) if file_kinds.is_film(head) else sequence_frames(path, data)


# ---- animations and pages


def sequence_frames(path: Path | str, data: bytes | None = None) -> Iterator[plain_image.PlainImage]:
    """Yield the frames of an animated file, or of one with several pages; see `clip_frames`."""
    spent = 0.0

    def decoded(number: int, take: Callable[[Image.Image], _Taken]) -> _Taken:
        """Decode a frame; each may take as long as a still image, and all together a minute or two."""
        nonlocal spent
        started = time.thread_time()
        if isinstance(source, file_checks.TimedBytes):
            source.restart()
        image.seek(number)
        check_size(*image.size, path)
        file_checks.check_work(image, content)
        taken = take(image)
        spent += time.thread_time() - started
        if spent > MAX_CLIP_SECONDS:
            raise file_checks.TooSlowError
        return taken

    with decoding.one_error(path):
        image = decoding.open_header(decoding.read_file(path) if data is None else data, path)
        source: IO[bytes] | None = getattr(image, "fp", None)
        content = source.getvalue() if isinstance(source, file_checks.TimedBytes) else b""
        if image.format == "GIF":
            file_checks.check_gif_frames(content, *image.size)
        count = int(getattr(image, "n_frames", 1))
        check_clip(count, *image.size, path)
        # The first picture of a PNG may be for programs that do not animate.
        numbers = range(int(getattr(image, "default_image", False)), count)
        filled = (
            decoding.bits_filled([decoded(number, decoding.extent_of) for number in numbers])
            if decoding.is_16_bit(image)
            else 0
        )
    size: tuple[int, int] | None = None
    for number in numbers:
        with decoding.one_error(path):
            frame = decoded(number, functools.partial(decoding.to_plain, path=path, filled=filled))
        if size and frame.size != size:
            both = "{}x{} and {}x{}".format(*size, *frame.size)
            raise ImageError(
                "unsupported", f"{path}: pictures of different sizes, {both} pixels; save the one to use as PNG"
            )
        size = frame.size
        yield plain_image.with_remarks(frame.copy() if frame is image else frame, ())


# ---- films


def _film_frames(path: Path | str, data: bytes | None = None) -> Iterator[plain_image.PlainImage]:
    """Yield the frames of a video; see `clip_frames`."""
    if why := not_installed("video", "cv2"):
        raise ImageError("unsupported", f"{path}: a video: {why}")
    head = file_kinds.first_bytes(path) if data is None else data
    with ExitStack() as stack:
        process = _start(stack, path, data)
        messages: dict[str, str] = {}
        listener = threading.Thread(target=_listen, args=(process.stderr, messages), daemon=True)
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
            while len(raw := process.stdout.read(3 * size[0] * size[1])) == 3 * size[0] * size[1]:
                count += 1
                check_clip(count, *size, path)
                frame = Image.frombuffer("RGB", size, raw, "raw", "BGR", 0, 1)
                red, green, blue = frame.split()
                same = not (ImageChops.difference(red, green).getbbox() or ImageChops.difference(green, blue).getbbox())
                yield plain_image.PlainImage(red if same else frame)
        code = process.wait()
        listener.join()
    _check_end(code, messages, path)
    if count < stated and head[4:8] not in file_kinds.BOXES:
        raise ImageError(
            "truncated", f"{path}: the video has {count} of the {stated} frames it states; obtain it again"
        )


def _start(stack: ExitStack, path: Path | str, data: bytes | None) -> subprocess.Popen[bytes]:
    """Start a decoder that reads the file or waits for ``data``; the stack ends it."""
    limits = (MAX_FILM_PIXELS, MAX_CLIP_SECONDS, _MEMORY + len(data or b""))
    try:
        if data is None:
            check_file(path, clip=True)
        return stack.enter_context(
            subprocess.Popen(  # noqa: S603 - this Python, and a file of this package
                [sys.executable, film_decoder.__file__, *map(str, limits)],
                stdin=subprocess.PIPE if data is not None else stack.enter_context(open(path, "rb")),  # noqa: PTH123
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    except OSError as error:
        raise ImageError("unreadable", f"{path}: cannot be read or decoded ({error.strerror})") from error


def _listen(stream: IO[bytes], messages: dict[str, str]) -> None:
    """Keep FFmpeg's first ``error`` and the ``last`` line, so that the decoder never waits for a reader."""
    for line in stream:
        text = line.decode(errors="replace").strip()
        if text.startswith(film_decoder.ERROR):
            messages.setdefault("error", text.partition("] ")[2])
        messages["last"] = text


def _check_end(code: int, messages: dict[str, str], path: Path | str) -> None:
    """Refuse a video if its decoder failed or reported damage."""
    error = messages.get("error", "")
    if code == film_decoder.TOO_SLOW or code == -getattr(signal, "SIGXCPU", 0) != 0:
        raise ImageError("too_slow", f"{path}: decoding it takes minutes; cut the clip")
    if code == film_decoder.CHANGED:
        raise ImageError("unsupported", f"{path}: its frames change their size; cut the clip")
    if code == film_decoder.NO_FILM and not error:
        raise ImageError("not_an_image", f"{path}: has no pictures; check that a player shows it")
    if code or error:
        reason = error or messages.get("last", "") or f"the decoder ended with {code}"
        raise ImageError(
            "truncated",
            f"{path}: the video is cut off, damaged or of an unknown kind ({reason[:160]}); obtain it again, or save "
            "it as H.264 in MP4",
        )
