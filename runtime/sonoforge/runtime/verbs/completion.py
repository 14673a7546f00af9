"""``sonoforge completion SHELL``: the script by which a shell completes verbs, flags, their choices and files.

It is written once and knows the verbs of all extras, also of those that are not installed: no Python starts at a TAB.
JSON: ``shell``, ``script``.
"""

from __future__ import annotations

import argparse
import importlib

import shtab  # the extra completion

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import COMMON, Outcome, build_parser, options
from sonoforge.runtime.cli.verbs import VERBS, subverbs
from sonoforge.runtime.verbs.settings import CompletionConfig


def main(config: CompletionConfig) -> Outcome:
    """Print the script; nothing is installed."""
    script = shtab.complete(_command_line(), config.shell)
    say("%s", script)
    return Outcome({"shell": config.shell, "script": script})


def _command_line() -> argparse.ArgumentParser:
    """Return the parsers of all verbs as one, which `shtab` reads."""
    root = argparse.ArgumentParser("sonoforge", add_help=False)
    root.add_argument("--version", action="store_true", help="show the version")
    below = {"": root.add_subparsers()}
    for name, verb in VERBS.items():
        noun, _, own = name.rpartition(" ")
        if noun not in below:
            its_verbs = ", ".join(other.partition(" ")[2] for other in subverbs(noun))
            below[noun] = below[""].add_parser(noun, help=its_verbs, add_help=False).add_subparsers()
        below[noun].add_parser(own, help=verb.summary, parents=[_described(name)], add_help=False)
    helper = below[""].add_parser("help", help="show a verb's main options and examples", add_help=False)
    helper.add_argument("verb", nargs="*", choices=[*dict.fromkeys(" ".join(VERBS).split())], help="whose")
    return root


def _described(name: str) -> argparse.ArgumentParser:
    """Return the parser of one verb, with the help and the choices that are checked later, as its values may be lists.

    Any other text may be a file.
    """
    module, own = VERBS[name].config(name)
    settings = getattr(importlib.import_module(f"sonoforge.{module}"), own)
    parser, found = build_parser(name, settings), options(settings)
    parser.add_argument("--help", "--help-all", action="store_true", help="show the main options, or all")
    for action in parser._actions:
        metavar, help = COMMON.get(action.dest, ("", action.help))
        if action.dest in found:
            option = found[action.dest]
            help, action.choices = option.metadata["help"].partition("\n")[0], option.metadata["choices"]
            metavar = "FILE" if option.kind is str and not action.choices else ""
        action.help = (help or "").replace("%", "%%")
        if metavar:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser
