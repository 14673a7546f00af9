"""Read what holds several pictures: GIF, PNG, WebP and AVIF that move, TIFF and HEIC of several pages.

Each frame is a picture under the rules of `images.decoding`: the whole canvas as it is shown then, on black.  Of values
in 16 bits those that all frames fill are spread over the whole range.  Frames of different sizes are refused: pages of
a scan beside its thumbnail are no clip.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from PIL import Image

from sonoforge.runtime.images.decoding import (
    bits_filled,
    extent_of,
    is_16_bit,
    one_error,
    open_header,
    read_file,
    to_plain,
)
from sonoforge.runtime.images.file_checks import TimedBytes, TooSlowError, check_gif_frames, check_work
from sonoforge.runtime.images.limits import MAX_CLIP_SECONDS, ImageError, check_clip, check_size
from sonoforge.runtime.images.plain_image import PlainImage, with_remarks

_Taken = TypeVar("_Taken")


def is_sequence(path: Path | str) -> bool:
    """Whether a file holds several pictures; False for one that cannot be read."""
    try:
        with one_error(path):
            (image, *_), _ = open_header(read_file(path), path)
            return bool(getattr(image, "is_animated", False))
    except ImageError:
        return False


def sequence_frames(path: Path | str, data: bytes | None = None) -> Iterator[PlainImage]:
    """Yield each frame, with one in memory at a time; ``data`` is the file if it was read already.

    Raises:
        ImageError: And nothing else, whatever the file holds.
    """
    spent = 0.0

    def decoded(number: int, take: Callable[[Image.Image], _Taken]) -> _Taken:
        """Go to a frame and decode it; each may take as long as a still, and all together a minute or two."""
        nonlocal spent
        started = time.thread_time()
        if isinstance(source, TimedBytes):
            source.restart()
        image.seek(number)
        check_size(*image.size, path)
        check_work(image, content)
        taken = take(image)
        spent += time.thread_time() - started
        if spent > MAX_CLIP_SECONDS:
            raise TooSlowError
        return taken

    with one_error(path):
        (image, *_), remarks = open_header(read_file(path) if data is None else data, path)
        source: IO[bytes] | None = getattr(image, "fp", None)
        content = source.getvalue() if isinstance(source, TimedBytes) else b""
        if image.format == "GIF":
            check_gif_frames(content, *image.size)
        count = int(getattr(image, "n_frames", 1))
        check_clip(count, *image.size, path)
        # The first picture of a PNG may be for programs that know no animation.
        numbers = range(int(getattr(image, "default_image", False)), count)
        filled = bits_filled([decoded(number, extent_of) for number in numbers]) if is_16_bit(image) else 0
    size: tuple[int, int] | None = None
    for number in numbers:
        with one_error(path):
            frame = decoded(number, functools.partial(to_plain, path=path, filled_bits=filled))
        if size and frame.size != size:
            found = "{}x{} and {}x{}".format(*size, *frame.size)
            raise ImageError(
                "unsupported",
                f"{path}: found pictures of {found} pixels, expected one size; save the one to use as PNG",
            )
        size = frame.size
        yield with_remarks(frame.copy() if frame is image else frame, remarks)
