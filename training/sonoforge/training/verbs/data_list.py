"""``data list``: the public data sets that the project knows, and where their owners hand them out."""

from rich.table import Table

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.data.collections.importing import KNOWN_SETS
from sonoforge.training.reports.terminal import as_text
from sonoforge.training.verbs.settings.data import DataListConfig


def main(config: DataListConfig) -> Outcome:
    """Show the table; nothing is downloaded.

    The result: ``{"sets": [{"name", "content", "obtain", "licence", "citation", "reader"}]}``.
    """
    names = [known.name for known in KNOWN_SETS]
    wanted = [known for known in KNOWN_SETS if config.name.casefold() in ("", known.name.casefold())]
    if not wanted:
        hint = did_you_mean(config.name, names)
        raise SonoforgeError(f"--name: found {config.name!r}, expected one of {', '.join(names)}{hint}")
    table = Table(title="Public data sets (obtain them from their owners; nothing is downloaded here)", show_lines=True)
    table.add_column("set", style="bold", no_wrap=True)
    table.add_column("what, how to obtain, terms", overflow="fold")
    for known in wanted:
        terms = {"obtain": known.obtain, "licence": known.licence, "cite": known.citation, "reading": known.reader}
        lines = [known.content, *(f"{name}: {text}" for name, text in terms.items())]
        table.add_row(known.name, "\n".join(lines))
    say("%s", as_text(table))
    return Outcome({"sets": [known._asdict() for known in wanted]}, "sonoforge data audit --data FOLDER")
