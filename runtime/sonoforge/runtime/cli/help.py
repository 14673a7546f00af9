"""Print ``sonoforge help`` and ``--help``: one screen each; ``sonoforge settings`` lists the rest."""

import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.runtime.cli.options import COMMON, Option, flag, format_value, options
from sonoforge.runtime.cli.verbs import SECTIONS, VERBS, examples, subverbs

ROWS = 23  # of a screen of 24: the prompt takes one
_EXAMPLES = 3  # at most
_LAST = ("groups_from", "resume", "jobs", "cluster", "device", "out")  # of flags
_NARROWEST, _LEFT = 60, 30


def overview() -> str:
    """Return the list of all verbs."""
    lines = ["usage: sonoforge VERB [OPTIONS]", "", "Research use, not a medical device."]
    for title, verbs in SECTIONS.items():
        lines += ["", f"{title}:", *aligned((name, verb.summary) for name, verb in verbs.items())]
    return "\n".join([*lines, "", "sonoforge help VERB shows a verb's options and examples.", "sonoforge --version"])


def of_noun(noun: str) -> str:
    """Return the list of verbs that begin with a word such as ``gan``."""
    rows = aligned((name.partition(" ")[2], verb.summary) for name, verb in subverbs(noun).items())
    lines = [f"usage: sonoforge {noun} VERB [OPTIONS]", "", *rows]
    return "\n".join([*lines, "", f"sonoforge help {noun} VERB shows a verb's options and examples."])


def of_verb(name: str, config_class: Any) -> str:
    """Return the help for one verb: its arguments, its flags, and as many examples as fit, at least one."""
    found = options(config_class).values()
    arguments = [option for option in found if option.positional]
    flags = sorted((option for option in found if option.flags), key=lambda option: option.key in _LAST)
    settings = len(found) - len(arguments) - len(flags)
    summary, lines = VERBS[name].summary, examples(name)[0]
    usage = " ".join([f"usage: sonoforge {name} [OPTIONS]", *map(_placeholder, arguments)])
    names = [*(option.name for option in arguments), *map(_names, flags)]
    room = SCREEN - min(_LEFT, max(map(len, names), default=0) + 4)
    body = ["", *aligned(zip(names, (_text(option, room) for option in (*arguments, *flags)), strict=True)), ""]
    more = f"{settings} settings, all examples and notes" if settings else "all examples and notes"
    foot = [f"On every command: {', '.join(map(flag, COMMON))}."]
    foot += [f"{more[0].upper()}{more[1:]}: sonoforge settings {name}"]
    left = ROWS - 3 - len(body) - len(foot)
    shown = lines[: max(1, min(_EXAMPLES, left))]
    if left < 1:
        body.pop()
    head = [usage, f"{summary[0].upper()}{summary[1:]}.", ""]
    return "\n".join([*head, *("  " + line for line in shown), *body, *foot])


def _placeholder(option: Option) -> str:
    name = option.name + (" ..." if option.several else "")
    return name if option.required else f"[{name}]"


def _names(option: Option) -> str:
    """Return the flags of an option as its entry shows them."""
    if option.kind is bool:
        return ", ".join(option.flags if option.default is False else [f"--[no-]{one[2:]}" for one in option.flags])
    several = ",..." if option.several and not option.metadata["repeated"] else ""
    return f"{', '.join(option.flags)} {option.metadata['metavar'] or _PLACEHOLDERS[option.kind] + several}"


_PLACEHOLDERS: dict[type, str] = {int: "N", float: "X", str: "NAME"}


def _text(option: Option, room: int) -> str:
    """Return the text of an option's entry: the first line of its help, and its default if it fits in the row."""
    text = str(option.metadata["help"]).partition("\n")[0]
    if option.required or option.positional or option.default in (None, (), False, ""):
        return text
    default = f" ({'yes' if option.default is True else format_value(option.default)})"
    return text + default if len(text + default) <= room else text


def aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
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
