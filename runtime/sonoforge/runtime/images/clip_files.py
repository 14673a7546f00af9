"""The one way to the frames of a clip, whatever file holds it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from sonoforge.runtime.images.brands import HEAD_BYTES, is_film
from sonoforge.runtime.images.dicom.opening import begins_as_dicom, first_bytes, is_dicom
from sonoforge.runtime.images.films import film_frames
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.images.sequences import is_sequence, sequence_frames


def is_clip(path: Path | str) -> bool:
    """Whether a file holds more than one picture; False for one that cannot be read."""
    if begins_as_dicom(path):
        from sonoforge.runtime.images.dicom.reader import open_dicom  # noqa: PLC0415 - needs an extra

        try:
            return open_dicom(path).frame_count > 1
        except ImageError:
            return False
    return is_film(first_bytes(path, HEAD_BYTES)) or is_sequence(path)


def clip_frames(path: Path | str, data: bytes | None = None) -> Iterator[Image.Image]:
    """Return the frames of a film, an animated file or one of several pages, or of DICOM, one in memory at a time.

    Args:
        path: The file.
        data: What it holds, if it was read already; ``path`` is then for messages.

    Raises:
        ImageError: While they are taken, and nothing else, whatever the file holds.
    """
    head = first_bytes(path, HEAD_BYTES) if data is None else data
    if begins_as_dicom(path) if data is None else is_dicom(data):
        from sonoforge.runtime.images.dicom.reader import open_dicom  # noqa: PLC0415 - needs an extra

        return open_dicom(path, data).frames()
    return film_frames(path, data) if is_film(head) else sequence_frames(path, data)
