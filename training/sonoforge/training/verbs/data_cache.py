"""``data cache``: what is kept of the images that were read, and how to remove it."""

import shutil
from pathlib import Path

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache_settings import default_folder, kept_files, kept_folders
from sonoforge.training.verbs.settings.data import DataCacheConfig


def main(config: DataCacheConfig) -> Outcome:
    """Show or empty the folder; the result: ``{"folder", "files", "bytes", "removed"}``, what was there before.

    Raises:
        SonoforgeError: A file cannot be removed.
    """
    folder = Path(config.cache or default_folder())
    own = kept_folders(folder)
    files = kept_files(own)
    size = sum(file.bytes for file in files)
    say("%s: %d files, %.2f GB (decoded images, features, simulated and unpacked sets)", folder, len(files), size / 1e9)
    if config.clear:
        try:
            for path in own:
                shutil.rmtree(path)
        except OSError as error:
            raise SonoforgeError(
                f"{error.filename}: cannot be removed ({error.strerror}); remove it by hand"
            ) from error
        say("removed")
    result = {"folder": str(folder), "files": len(files), "bytes": size, "removed": config.clear}
    return Outcome(result)
