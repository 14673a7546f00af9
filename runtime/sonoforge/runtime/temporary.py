"""Temporary folders for the files of other programs, on disks that may be full or read-only."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder and remove it at the end.

    Raises:
        SonoforgeError: It cannot be made, or a file in it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sonoforge-", ignore_cleanup_errors=True))
        except OSError as error:
            raise _refused(error) from error
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno not in _CANNOT_WRITE:
                raise
            raise _refused(error) from error


def _refused(error: OSError) -> SonoforgeError:
    return SonoforgeError(f"no temporary folder can be written ({error.strerror}); free some space, or set TMPDIR")
