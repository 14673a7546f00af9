"""Open files at a URL, such as ``s3://bucket/folder``, with fsspec and its packages.

Credentials come from the file system's own settings, such as ``AWS_PROFILE``; a URL or a record never holds them.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from sonoforge.runtime.errors import SonoforgeError, install_extra, reason


def is_url(text: str) -> bool:
    """Whether text is a URL rather than a path."""
    return "://" in text


def open_url(what: str, url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it; ``what`` names its source in messages, such as ``--out``."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise SonoforgeError(
            f"{what} {parts.scheme}://...: the URL holds credentials, which would enter the run's records; "
            "pass them in the usual way, such as AWS_PROFILE"
        )
    try:
        import fsspec  # noqa: PLC0415 - an extra, and slow to import

        traced = {"client_kwargs": {"trace_configs": [_staying(what, url)]}} if parts.scheme[:4] == "http" else {}
        files, root = fsspec.core.url_to_fs(url, **traced)
    except ImportError as error:
        ours = parts.scheme in ("s3", "s3a") or error.name == "fsspec"
        remedy = f"run {install_extra('remote')}" if ours else reason(error)
        raise SonoforgeError(f"{what} {url}: the package for {parts.scheme}:// is not installed; {remedy}") from error
    except ValueError as error:
        raise SonoforgeError(
            f"{what} {url}: {reason(error)}; give a folder or a URL such as s3://bucket/runs"
        ) from error
    return files, str(root).rstrip("/")


def _staying(what: str, url: str) -> Any:
    """Return what refuses a redirect to another server, or from https to anything else."""
    import aiohttp  # noqa: PLC0415 - what fsspec opens http:// with

    async def check(session: object, context: object, found: Any) -> None:
        headers = found.response.headers
        goal = urlsplit(urljoin(str(found.url), headers.get("Location") or headers.get("URI", "")))
        if (goal.scheme, goal.netloc) not in ((found.url.scheme, found.url.authority), ("https", found.url.host)):
            raise SonoforgeError(f"{what} {url}: leads to {reason(goal.geturl())}; give that URL if you trust it")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check)
    return trace


@contextlib.contextmanager
def clear_errors(what: str, url: str) -> Iterator[None]:
    """Turn a file system's errors into a one-line `SonoforgeError`."""
    try:
        yield
    except SonoforgeError:
        raise
    except Exception as error:  # each file system has errors of its own
        if isinstance(error.__cause__, SonoforgeError):  # of `_staying`
            raise error.__cause__ from error
        remedy = "check that bucket or folder exists and that you may use it; --debug shows more"
        if "credential" in str(error).lower():
            remedy = "pass credentials in the usual way, such as AWS_PROFILE"
        raise SonoforgeError(f"{what} {url}: cannot be used ({reason(error)}); {remedy}") from error
