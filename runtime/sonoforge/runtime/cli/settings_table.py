"""List the settings of verbs, as the verbs declare them: as text, as a page, and for JSON."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.cli.help import aligned
from sonoforge.runtime.cli.options import COMMON, Option, flag, format_value, options
from sonoforge.runtime.cli.verbs import VERBS, config_class, examples, results
from sonoforge.runtime.errors import SonoforgeError, did_you_mean

PAGE = "training/docs/settings.md"


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
        """Return its entry in JSON, see ``results.txt``."""
        own = self.first
        return {
            "key": self.key,
            "flag": self.flags[0] if self.flags else "",
            "default": own.default,
            "defaults": {
                verb: option.default for verb, option in self.options.items() if option.default != own.default
            },
            "choices": list(own.metadata["choices"] or ()),
            "range": [*own.metadata["limits"]],
            "help": own.metadata["help"].replace("\n", "; "),
            "verbs": list(self.options),
            "source": own.declared_in,
        }

    def defaults(self) -> list[str]:
        """Return its default, empty for none, and each verb's that has another, as text."""
        about = self.describe()
        return [
            _shown(about["default"]),
            *(f"{verb}: {_shown(value) or 'none'}" for verb, value in about["defaults"].items()),
        ]

    def text(self, one_verb: str = "") -> str:
        """Return the help, default, range, and which verbs have it unless only one is asked for."""
        about, (default, *others) = self.describe(), self.defaults()
        parts = [about["help"]]
        if default or any(not other.endswith(": none") for other in others):
            parts.append(f"default: {', '.join([default or 'none', *others])}")
        parts += [_range(about)] * bool(_range(about))
        if self.flags and not one_verb:
            parts.append(f"flag: {', '.join(self.flags)}")
        return ". ".join(parts) + "." + ("" if one_verb else f" [{', '.join(self.options)}]")


def find_settings(verbs: Sequence[str]) -> list[Setting]:
    """Return the settings of some verbs by the first part of their keys; for one verb, include its other flags."""
    found: dict[str, Setting] = {}
    for verb in verbs:
        for key, option in options(config_class(verb)).items():
            if not option.positional and ("." in key or len(verbs) == 1):
                found.setdefault(key, Setting(key, {})).options[verb] = option
    return sorted(found.values(), key=lambda one: one.key.partition(".")[0] if "." in one.key else "")


def find_by_words(words: Sequence[str]) -> list[Setting]:
    """Return the settings of a verb, or every setting that mentions these words; refuse words that match nothing."""
    verb, known = " ".join(words), find_settings([*VERBS])
    if verb in VERBS:
        return find_settings([verb])
    found = [
        one
        for one in known
        if all(w.replace("_", " ").lower() in f"{one.key} {one.text()}".replace("_", " ").lower() for w in words)
    ]
    if not found:
        hint = did_you_mean(verb, [one.key for one in known])
        raise SonoforgeError(f"no setting mentions {verb!r}{hint}; sonoforge settings lists all")
    return found


def in_sections(found: Sequence[Setting]) -> str:
    """Return settings as text, a section for each first part of a key."""
    lines = []
    for name, title, rows in _sections(found):
        lines += [f"{name}{': ' * bool(title)}{title}", *aligned((one.key, one.text()) for one in rows), ""]
    return "\n".join(lines)


def write_page(found: Sequence[Setting]) -> str:
    """Return the settings as a Markdown page."""
    lines = [Path(__file__).with_name("settings_head.txt").read_text(encoding="utf-8")]
    for name, title, rows in _sections(found):
        ((verbs, _),) = Counter(", ".join(one.options) for one in rows).most_common(1)
        said = f"{title[0].upper()}{title[1:]}. " if title else ""
        lines += [f"## {name}\n", f"{said}Of {verbs}.\n"]
        lines += ["| key, flag | default | range or choices | meaning |", "|---|---|---|---|"]
        for one in rows:
            about, own = one.describe(), ", ".join(one.options)
            cells = [", ".join(f"`{each}`" for each in (one.key, *one.flags)), "; ".join(filter(None, one.defaults()))]
            cells += [_range(about), about["help"] + f" [{own}]" * (own != verbs)]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def of_verb(verb: str) -> str:
    """Return everything about one verb: examples, notes, flags, settings and results."""
    about, found = config_class(verb), find_settings([verb])
    shown, notes = examples(verb)
    lines = ["examples:", *("  " + line for line in shown)]
    lines += [""] * bool(notes) + ["  " + line if line else "" for line in notes]
    arguments = [option for option in options(about).values() if option.positional]
    rows = [(option.name, option.metadata["help"].replace("\n", "; ")) for option in arguments]
    lines += ["", "arguments:", *aligned(rows)] if rows else []
    flagged = [(", ".join(one.first.flags), one.text(verb)) for one in found if one.flags]
    common = [(f"{flag(key)} {metavar}".rstrip(), text) for key, (metavar, text) in COMMON.items()]
    lines += ["", "flags:", *aligned([*flagged, *common])]
    settings = [(one.key, one.text(verb)) for one in found if not one.flags]
    lines += ["", "settings, --set KEY=VALUE:", *aligned(settings)] if settings else []
    explained = ["  " + line if line else "" for line in results(verb)]
    lines += ["", "results:", *explained] if explained else []
    return "\n".join(lines)


def _sections(found: Sequence[Setting]) -> Iterator[tuple[str, str, list[Setting]]]:
    """Yield the settings by the first part of their keys, with its title if it has one."""
    for name, group in itertools.groupby(found, key=lambda one: one.key.partition(".")[0]):
        rows = [*group]
        yield name, next((one.first.title for one in rows if one.first.title), ""), rows


def _shown(value: object) -> str:
    return "" if value in (None, (), False, "") else format_value(value)


def _range(about: Mapping[str, Any]) -> str:
    if about["choices"]:
        return f"one of {', '.join(about['choices'])}"
    low, high = (None if end is None else format_value(end) for end in about["range"])
    return f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}" if high else ""
