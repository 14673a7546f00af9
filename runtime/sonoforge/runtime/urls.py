"""Files at a URL, such as ``s3://bucket/folder``: whatever fsspec and its packages open.

Credentials are the business of the file system's own settings, such as ``AWS_PROFILE``; none are in a URL or a record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from sonoforge.runtime.errors import SonoforgeError, reason

_EXTRAS = {"s3": "'sonoforge[remote]'", "s3a": "'sonoforge[remote]'"}


def is_url(text: str) -> bool:
    """Whether a place is meant by a URL, and not by a path of this machine."""
    return "://" in text


def open_url(what: str, url: str) -> tuple[Any, str]:
    """Open the file system of a URL, such as ``s3://bucket/folder``, and return it with the path in it.

    ``what`` says where the URL is from, for messages, such as ``--out``.

    Raises:
        SonoforgeError: A password in it, an unknown kind, or a package that is not installed.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise SonoforgeError(
            f"{what} {parts.scheme}://...: found credentials in the URL, which would be written into the run's "
            "records; give them as its own tools take them, such as AWS_PROFILE"
        )
    try:
        import fsspec  # noqa: PLC0415 - an extra, and slow to import

        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(parts.scheme, "'sonoforge[remote]'" if error.name == "fsspec" else "")
        remedy = f"pip install {extra}" if extra else reason(error)
        raise SonoforgeError(f"{what} {url}: what opens {parts.scheme}:// is not installed; {remedy}") from error
    except ValueError as error:
        raise SonoforgeError(
            f"{what} {url}: {reason(error)}; expected a folder or a URL such as s3://bucket/runs"
        ) from error
    return files, str(root).rstrip("/")


@contextlib.contextmanager
def told(what: str, url: str) -> Iterator[None]:
    """Turn what a file system raises while inside into a `SonoforgeError` of one line."""
    try:
        yield
    except SonoforgeError:
        raise
    except Exception as error:  # each file system has errors of its own
        remedy = "check that bucket or folder exists and that you may use it; --debug shows more"
        if "credential" in str(error).lower():
            remedy = "give credentials as its own tools take them, such as AWS_PROFILE"
        raise SonoforgeError(f"{what} {url}: cannot be used ({reason(error)}); {remedy}") from error
