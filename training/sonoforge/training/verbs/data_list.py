"""``sonoforge data list``: list the public data sets that the project knows, where to get them, and the cache."""

import shutil
from pathlib import Path

from rich.table import Table

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.data.cache import default_folder, kept_files, kept_folders
from sonoforge.training.data.collections.importing import KNOWN_SETS
from sonoforge.training.reports.terminal import as_text
from sonoforge.training.settings.data import DataListConfig


def main(config: DataListConfig) -> Outcome:
    """Show the table, or empty the cache; nothing is downloaded.

    The result: ``{"sets": [{"name", "content", "obtain", "licence", "citation", "reader"}], "cache": {"folder",
    "files", "bytes", "removed"}}``; for the cache, what was there before.
    """
    if config.clear_cache:
        return Outcome({"cache": _look_at_cache(config)})
    names = [known.name for known in KNOWN_SETS]
    wanted = [known for known in KNOWN_SETS if config.name.casefold() in ("", known.name.casefold())]
    if not wanted:
        hint = did_you_mean(config.name, names)
        raise SonoforgeError(f"--name: no set {config.name!r}; give one of {', '.join(names)}{hint}")
    table = Table(title="Public data sets (obtain them from their owners; nothing is downloaded here)", show_lines=True)
    table.add_column("set", style="bold", no_wrap=True)
    table.add_column("what, how to obtain, terms", overflow="fold")
    for known in wanted:
        terms = {"obtain": known.obtain, "licence": known.licence, "cite": known.citation, "reading": known.reader}
        lines = [known.content, *(f"{name}: {text}" for name, text in terms.items())]
        table.add_row(known.name, "\n".join(lines))
    say("%s", as_text(table))
    sets = [known._asdict() for known in wanted]
    return Outcome({"sets": sets, "cache": _look_at_cache(config)}, "sonoforge data audit --data FOLDER")


def _look_at_cache(config: DataListConfig) -> dict[str, object]:
    """Say how much is cached, and delete it if asked to."""
    folder = Path(config.storage.folder or default_folder())
    own = kept_folders(folder)
    files = kept_files(own)
    size = sum(own for _, own, _ in files)
    say("cache of decoded images, features, simulated and unpacked sets:")
    say("%s: %d files, %.2f GB", folder, len(files), size / 1e9)
    if config.clear_cache:
        try:
            for path in own:
                shutil.rmtree(path)
        except OSError as error:
            raise SonoforgeError(
                f"{error.filename}: cannot be deleted ({error.strerror}); delete it by hand"
            ) from error
        say("deleted")
    return {"folder": str(folder), "files": len(files), "bytes": size, "removed": config.clear_cache}
