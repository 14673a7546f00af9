"""``sonoforge --completion SHELL``: a script that completes verbs, flags, settings, choices and files.

The script knows the verbs of all extras, also of those that are not installed: no Python starts at a TAB.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import shtab  # the extra completion

from sonoforge.runtime.cli.options import COMMON, SET, build_parser, options
from sonoforge.runtime.cli.verbs import VERBS, config_class, subverbs
from sonoforge.runtime.errors import SonoforgeError

SHELLS = ("bash", "zsh", "fish")


def script(words: Sequence[str]) -> str:
    """Return the script for the shell that the words after ``--completion`` name."""
    if len(words) != 1 or words[0] not in SHELLS:
        raise SonoforgeError(f"--completion: found {' '.join(words) or 'nothing'}, expected {', '.join(SHELLS)}")
    return str(shtab.complete(_command_line(), words[0]))


def _command_line() -> argparse.ArgumentParser:
    """Return the parsers of all verbs as one, which `shtab` reads."""
    root = argparse.ArgumentParser("sonoforge", add_help=False)
    root.add_argument("--version", action="store_true", help="show the version")
    root.add_argument("--completion", choices=SHELLS, help="print a completion script")
    below = {"": root.add_subparsers()}
    for name, verb in VERBS.items():
        noun, _, own = name.rpartition(" ")
        if noun not in below:
            its_verbs = ", ".join(other.partition(" ")[2] for other in subverbs(noun))
            below[noun] = below[""].add_parser(noun, help=its_verbs, add_help=False).add_subparsers()
        below[noun].add_parser(own, help=verb.summary, parents=[_described(name)], add_help=False)
    helper = below[""].add_parser("help", help="show a verb's options and examples", add_help=False)
    helper.add_argument("verb", nargs="*", choices=[*dict.fromkeys(" ".join(VERBS).split())], help="whose")
    return root


def _described(name: str) -> argparse.ArgumentParser:
    """Return the parser of one verb, with the help and the choices that are checked later, as its values may be lists.

    Any other text may be a file.
    """
    found = options(config_class(name))
    parser = build_parser(name, config_class(name))
    parser.add_argument("--help", action="store_true", help="show options and examples")
    for action in parser._actions:
        metavar, help = COMMON.get(action.dest, ("", action.help))
        if action.dest == SET:
            help, action.choices = "change a setting", [f"{key}=" for key, option in found.items() if option.is_setting]
        elif action.dest in found:
            option = found[action.dest]
            help, action.choices = option.metadata["help"].partition("\n")[0], option.metadata["choices"]
            metavar = "FILE" if option.kind is str and not action.choices else ""
        action.help = (help or "").replace("%", "%%")
        if metavar:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser
