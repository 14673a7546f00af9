"""``sonoforge settings``: list every setting of every verb, as the verbs declare it.

JSON: ``settings``, a list of ``{"key", "flag", "default", "defaults" ({verb: other default}), "choices", "range",
"help", "verbs", "source"}``; the flag is empty if there is none; the source is the module that declares the setting.
With ``--recipes``, see ``sonoforge.training.verbs.gan_recipes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.help import aligned
from sonoforge.runtime.cli.options import COMMON, Option, Outcome, flag, format_value, options
from sonoforge.runtime.cli.verbs import VERBS, config_class
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.settings import SettingsConfig

PAGE = "training/docs/settings.md"
_HEAD = """# Settings

Every setting of every verb. Give one on the command line with `--set KEY=VALUE`, as often as needed, or several in a
YAML or JSON file with `--config FILE`; flags win over `--set`, and `--set` over the file. `--dry-run` prints all
settings of a command in the form that `--config` reads. `sonoforge settings WORD` searches this list, and
`sonoforge settings VERB` shows one verb's flags and settings.

This page is generated: `sonoforge settings --page > training/docs/settings.md`.
"""


class Setting(NamedTuple):
    """One key, and the options that have it, by verb."""

    key: str
    options: dict[str, Option]

    @property
    def first(self) -> Option:
        """The option of the first verb that has it."""
        return next(iter(self.options.values()))

    @property
    def flags(self) -> list[str]:
        """Its flags, of any verb."""
        return list(dict.fromkeys(option.flags[0] for option in self.options.values() if option.flags))

    def describe(self) -> dict[str, Any]:
        """Return its entry in JSON."""
        own = self.first
        low, high = own.metadata["limits"]
        other = {verb: option.default for verb, option in self.options.items() if option.default != own.default}
        return {
            "key": self.key,
            "flag": self.flags[0] if self.flags else "",
            "default": own.default,
            "defaults": other,
            "choices": list(own.metadata["choices"] or ()),
            "range": [low, high],
            "help": own.metadata["help"].replace("\n", "; "),
            "verbs": list(self.options),
            "source": own.declared_in,
        }

    def text(self, one_verb: str = "") -> str:
        """Return the help, default, range, and which verbs have it unless only one is asked for."""
        about = self.describe()
        default, others = _shown(about["default"]), {verb: _shown(value) for verb, value in about["defaults"].items()}
        parts = [about["help"]]
        if default or any(others.values()):
            listed = [default or "none", *(f"{verb}: {value or 'none'}" for verb, value in others.items())]
            parts.append(f"default: {', '.join(listed)}")
        parts += [_range(about)] * bool(_range(about))
        if self.flags and not one_verb:
            parts.append(f"flag: {', '.join(self.flags)}")
        return ". ".join(parts) + "." + ("" if one_verb else f" [{', '.join(self.options)}]")


def main(config: SettingsConfig) -> Outcome:
    """List the settings; see the top of this module for the result."""
    verb = " ".join(config.words)
    found = find_settings([verb] if verb in VERBS else [*VERBS])
    if config.page:
        say("%s", write_page(found).rstrip())
    elif verb in VERBS:
        say("%s", _of_verb(verb, found))
    else:
        found = [one for one in found if _mentions(one, config.words)]
        if not found:
            hint = did_you_mean(verb, [one.key for one in find_settings([*VERBS])])
            raise SonoforgeError(f"no setting mentions {verb!r}{hint}; sonoforge settings lists all")
        for name, rows in _sections(found):
            title = next((one.first.title for one in rows if one.first.title), "")
            say("%s", "\n".join([f"{name}{': ' * bool(title)}{title}", *aligned((o.key, o.text()) for o in rows), ""]))
    return Outcome({"settings": [one.describe() for one in found]})


def find_settings(verbs: Sequence[str]) -> list[Setting]:
    """Return the settings of some verbs by the first part of their keys; for one verb, include its other flags."""
    found: dict[str, Setting] = {}
    for verb in verbs:
        for key, option in options(config_class(verb)).items():
            if not option.positional and ("." in key or len(verbs) == 1):
                found.setdefault(key, Setting(key, {})).options[verb] = option
    return sorted(found.values(), key=lambda one: one.key.partition(".")[0] if "." in one.key else "")


def write_page(found: Sequence[Setting]) -> str:
    """Return the settings as a Markdown page."""
    lines = [_HEAD]
    for name, rows in _sections(found):
        title = next((one.first.title for one in rows if one.first.title), "")
        lines += [f"## {name}\n", *([f"{title[0].upper()}{title[1:]}.\n"] if title else [])]
        sources = dict.fromkeys(one.first.declared_in for one in rows)
        lines += [f"Declared in {', '.join(f'`{source}`' for source in sources)}.\n"]
        lines += ["| key | flag | default | range or choices | meaning | verbs |", "|---|---|---|---|---|---|"]
        for one in rows:
            about = one.describe()
            default = [_shown(about["default"]), *(f"{v}: {_shown(x) or 'none'}" for v, x in about["defaults"].items())]
            cells = [f"`{one.key}`", ", ".join(f"`{each}`" for each in one.flags), "; ".join(filter(None, default))]
            cells += [_range(about), about["help"], ", ".join(one.options)]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def _of_verb(verb: str, found: Sequence[Setting]) -> str:
    """Return everything about one verb: examples, notes, flags and settings."""
    about = config_class(verb)
    examples, _, notes = about.EXAMPLES.strip().partition("\n\n")
    lines = ["examples:", *("  " + line for line in examples.splitlines())]
    lines += [""] * bool(notes) + ["  " + line if line else "" for line in notes.splitlines()]
    arguments = [option for option in options(about).values() if option.positional]
    rows = [(option.name, option.metadata["help"].replace("\n", "; ")) for option in arguments]
    lines += ["", "arguments:", *aligned(rows)] if rows else []
    flagged = [(", ".join(one.first.flags), one.text(verb)) for one in found if one.flags]
    common = [(f"{flag(key)} {metavar}".rstrip(), text) for key, (metavar, text) in COMMON.items()]
    lines += ["", "flags:", *aligned([*flagged, *common])]
    settings = [(one.key, one.text(verb)) for one in found if not one.flags]
    lines += ["", "settings, --set KEY=VALUE:", *aligned(settings)] if settings else []
    return "\n".join(lines)


def _sections(found: Sequence[Setting]) -> Iterator[tuple[str, list[Setting]]]:
    """Yield the settings by the first part of their keys."""
    sections: dict[str, list[Setting]] = {}
    for one in found:
        sections.setdefault(one.key.partition(".")[0], []).append(one)
    yield from sections.items()


def _mentions(one: Setting, words: Sequence[str]) -> bool:
    text = f"{one.key} {one.text()}".replace("_", " ").lower()
    return all(word.replace("_", " ").lower() in text for word in words)


def _shown(value: object) -> str:
    return "" if value in (None, (), False, "") else format_value(value)


def _range(about: Mapping[str, Any]) -> str:
    if about["choices"]:
        return f"one of {', '.join(about['choices'])}"
    low, high = (None if end is None else format_value(end) for end in about["range"])
    return f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}" if high else ""
