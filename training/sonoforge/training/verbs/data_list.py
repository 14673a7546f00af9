"""``sonoforge data list``: list the public data sets that the project knows, where to get them, and the cache."""

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.training.data.cache import look_at_cache
from sonoforge.training.data.collections.importing import find_sets
from sonoforge.training.reports.terminal import list_sets
from sonoforge.training.settings.data import DataListConfig


def main(config: DataListConfig) -> Outcome:
    """Show the table, or empty the cache; nothing is downloaded.

    The result: ``{"sets": [{"name", "content", "obtain", "licence", "citation", "reader"}], "cache": {"folder",
    "files", "bytes", "removed"}}``; for the cache, what was there before.
    """
    sets = [] if config.clear_cache else find_sets(config.name)
    if sets:
        say("%s", list_sets(sets))
    cache = look_at_cache(config.storage.folder, clear=config.clear_cache)
    say("cache of decoded images, features, simulated and unpacked sets:")
    say("%s: %d files, %.2f GB", cache["folder"], cache["files"], cache["bytes"] / 1e9)
    if config.clear_cache:
        say("deleted")
        return Outcome({"cache": cache})
    return Outcome({"sets": [one._asdict() for one in sets], "cache": cache}, "sonoforge data audit --data FOLDER")
