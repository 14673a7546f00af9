"""``sonoforge settings``: list every setting of every verb, as the verbs declare it."""

from sonoforge.runtime.cli import settings_table
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.cli.verbs import VERBS
from sonoforge.runtime.settings import SettingsConfig


def main(config: SettingsConfig) -> Outcome:
    """List the settings."""
    verb = " ".join(config.words)
    found = settings_table.find_by_words(() if config.page and verb not in VERBS else config.words)
    if config.page:
        say("%s", settings_table.write_page(found).rstrip())
    elif verb in VERBS:
        say("%s", settings_table.of_verb(verb))
    else:
        say("%s", settings_table.in_sections(found))
    return Outcome({"settings": [one.describe() for one in found]})
