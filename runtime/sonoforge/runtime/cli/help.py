"""What ``sonoforge help`` and ``--help`` print: first what matters, with ``--help-all`` everything."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

from sonoforge.runtime.cli import options
from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.runtime.cli.options import COMMON, Option
from sonoforge.runtime.cli.verbs import SECTIONS, VERBS, subverbs

FEW = 5
"""Options in ``--help``, which one screen holds: a verb with more declares ``ESSENTIAL``."""
_EXAMPLES = 3  # in --help: the first
_NARROWEST, _LEFT = 60, 30


def overview() -> str:
    """Return the list of all verbs."""
    lines = ["usage: sonoforge VERB [OPTIONS]", "", "Research use, not a medical device."]
    for title, verbs in SECTIONS.items():
        lines += ["", f"{title}:", *_aligned((name, verb.summary) for name, verb in verbs.items())]
    return "\n".join(
        [*lines, "", "sonoforge help VERB shows a verb's main options and examples.", "sonoforge --version"]
    )


def of_noun(noun: str) -> str:
    """Return the list of the verbs that begin with a word such as ``gan``."""
    rows = _aligned((name.partition(" ")[2], verb.summary) for name, verb in subverbs(noun).items())
    lines = [f"usage: sonoforge {noun} VERB [OPTIONS]", "", *rows]
    return "\n".join([*lines, "", f"sonoforge help {noun} VERB shows a verb's main options and examples."])


def of_verb(name: str, config_class: Any, everything: bool) -> str:
    """Return the help of one verb.

    Args:
        name: Of the verb.
        config_class: Its settings.
        everything: Show all options, examples and notes, not only the first examples and what `essential` returns.
    """
    found = options.options(config_class)
    shown = found if everything else {key: found[key] for key in essential(config_class)}
    summary, (examples, _, notes) = VERBS[name].summary, config_class.EXAMPLES.strip().partition("\n\n")
    examples = examples.splitlines()
    lines = [" ".join([f"usage: sonoforge {name} [OPTIONS]", *map(_placeholder, _positional(found.values()))])]
    lines += ["", f"{summary[0].upper()}{summary[1:]}.", "", "examples:"]
    lines += ["  " + line for line in (examples if everything else examples[:_EXAMPLES])]
    lines += ["", *("  " + line if line else "" for line in notes.splitlines())] if everything and notes else []
    positional = _positional(shown.values())
    if positional:
        lines += [
            "",
            "arguments:",
            *_aligned((option.flag.upper(), _text(option, everything)) for option in positional),
        ]
    sections: dict[str, list[tuple[str, str]]] = {}
    for option in shown.values():
        title = option.title if everything else ""
        if not option.metadata["positional"] and not (everything and option.block):
            sections.setdefault(title, []).append((_names(option), _text(option, everything)))
    for title, rows in sections.items():
        lines += ["", f"{title or 'options'}:", *_aligned(rows)]
    if everything:
        for title, row in _blocks(config_class):
            lines += ["", f"{title}:", *_aligned([row])]
        rows = [(f"--{key.replace('_', '-')} {metavar}".rstrip(), text) for key, (metavar, text) in COMMON.items()]
        lines += ["", "on every command:", *_aligned(rows)]
    else:
        left = {"options": len(found) - len(shown), "examples": sum(line[0] != " " for line in examples[_EXAMPLES:])}
        more = [f"{count} more {what[: None if count > 1 else -1]}" for what, count in left.items() if count]
        more += ["notes"] * bool(notes)
        lines += ["", *([f"{', '.join(more)}: sonoforge {name} --help-all"] if more else [])]
        lines += ["On every command: --config FILE, --json, --quiet, --dry-run, --debug."]
    return "\n".join(lines)


def essential(config_class: Any) -> tuple[str, ...]:
    """Return the keys of the options that ``--help`` shows, in that order."""
    found = options.options(config_class)
    chosen = getattr(config_class, "ESSENTIAL", "").split()
    positional = [key for key, option in found.items() if option.metadata["positional"]]
    return (*positional, *chosen) if chosen else tuple(found)


def _positional(found: Iterable[Option]) -> list[Option]:
    return [option for option in found if option.metadata["positional"]]


def _placeholder(option: Option) -> str:
    name = option.flag.upper() + (" ..." if option.several else "")
    return name if option.required else f"[{name}]"


def _names(option: Option) -> str:
    """Return the flags of an option as its entry shows them."""
    flags = options.flags_of(option)
    if option.kind is bool:
        return ", ".join(flags if option.default is False else [f"--[no-]{flag[2:]}" for flag in flags])
    several = ",..." if option.several else ""
    return f"{', '.join(flags)} {option.metadata['metavar'] or _PLACEHOLDERS[option.kind] + several}"


_PLACEHOLDERS: dict[type, str] = {int: "N", float: "X", str: "NAME"}


def _text(option: Option, everything: bool) -> str:
    """Return the text of an option's entry: its help, the choices that this does not name, and the default."""
    help, choices = str(option.metadata["help"]), option.metadata["choices"] or ()
    text, _, details = help.partition("\n")
    if everything and details:
        text += f"; {details}"
    if any(choice not in help for choice in choices) and (everything or len(choices) <= FEW):
        text += f"; one of {', '.join(choices)}"
    if option.required or option.metadata["positional"] or option.default in (None, (), False, ""):
        return text
    default = ",".join(map(str, option.default)) if option.several else option.default
    return f"{text} (default: {'yes' if default is True else default})"


def _blocks(config_class: Any) -> Iterable[tuple[str, tuple[str, str]]]:
    """Yield the title and the one row of each group of options that is another verb's."""
    for field in dataclasses.fields(config_class):
        if field.metadata.get("of"):
            prefix, without = options.flag(field.metadata["prefix"]), field.metadata["without"]
            text = f"any option of sonoforge {field.metadata['of']}"
            if prefix != "--":
                text += f", as {prefix}NAME"
            if without:
                text += ", but not " + ", ".join(options.flag(name) for name in without)
            usual: Any = type(field.default)
            usual = usual()
            own = {each.name: getattr(field.default, each.name) for each in dataclasses.fields(usual)}
            others = [
                f"{prefix}{options.flag(key)[2:]} {value or repr(value)}"
                for key, value in own.items()
                if value != getattr(usual, key) and key not in without
            ]
            yield (
                field.metadata["title"],
                (f"{prefix}NAME", text + (f"; default: {', '.join(others)}" if others else "")),
            )


def _aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return rows of a name and a text in two columns, wrapped to the terminal's width."""
    rows = list(rows)
    width = max(_NARROWEST, min(SCREEN, shutil.get_terminal_size((SCREEN, 24)).columns))
    left = min(_LEFT, max((len(name) for name, _ in rows), default=0) + 4)
    indent, lines = " " * left, []
    for name, text in rows:
        wrapped = textwrap.wrap(text, width - left, break_on_hyphens=False, break_long_words=False)
        start = f"  {name}"
        if len(start) + 2 > left:
            lines.append(start)
        else:
            wrapped[0] = start.ljust(left) + wrapped[0]
            lines.append(wrapped.pop(0))
        lines += [indent + line for line in wrapped]
    return lines
