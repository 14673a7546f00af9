"""Which files are images: the one list, for every command that looks into folders.

A file that is named by itself is judged by its content alone.
"""

from __future__ import annotations

from pathlib import Path

from sonoforge.runtime.images.dicom.opening import begins_as_dicom

READ = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "WebP": (".webp",),
    "PNM": (".pnm", ".pbm", ".pgm", ".ppm"),
    "JPEG 2000": (".jp2", ".j2k", ".jpx", ".j2c", ".jpc"),
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "DICOM": (".dcm", ".dicom", ".dic", ".ima"),
}
"""Kinds of pictures that are read, and the suffixes of their files, in small letters."""

FILMS = {
    "MP4": (".mp4", ".m4v"),
    "QuickTime": (".mov",),
    "AVI": (".avi",),
    "Matroska": (".mkv", ".webm"),
    "Windows Media": (".wmv",),
}
"""Kinds of films that are read, and the suffixes of their files, in small letters."""

FILM_SUFFIXES = tuple(suffix for suffixes in FILMS.values() for suffix in suffixes)
IMAGE_SUFFIXES = frozenset(suffix for suffixes in READ.values() for suffix in suffixes)

KINDS_IN_WORDS = f"{', '.join(list(READ)[:-1])} or {list(READ)[-1]}"


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as those of images do."""
    return name.lower().endswith(tuple(IMAGE_SUFFIXES))


def is_image_file(file: Path) -> bool:
    """Whether a folder's file counts: by its suffix or, as scanners name files by number alone, by how it begins."""
    if file.name.upper() == "DICOMDIR":
        return False
    suffix = file.suffix[1:]
    return is_image_name(file.name) or ((not suffix or suffix.isdecimal()) and begins_as_dicom(file))
