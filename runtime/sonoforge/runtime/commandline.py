"""A frozen dataclass is the only source of a verb's flags, config keys, defaults and checks.

A verb is a module with ``Config`` (a frozen dataclass whose fields are made with `option`),
``EXAMPLES`` (lines for ``--help``) and ``main(config) -> Outcome``.  Human text goes through
`logging` to stderr; the result object goes to stdout when ``--json`` is given.

argparse rather than typer: the base install is numpy, onnxruntime and pillow alone, and
``sonoforge classify`` must start in the time that those three take to import.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError


class Outcome(NamedTuple):
    """What a verb hands back: its JSON result, the likely next command, and the exit code."""

    result: dict[str, Any]
    next_command: str = ""
    exit_code: int = 0


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    positional: bool = False,
    choices: Sequence[str] | None = None,
    metavar: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    aliases: Sequence[str] = (),
) -> Any:
    """One field of a verb's ``Config``: its default together with what the command line says of it.

    Args:
        default: The value when neither flag nor config file gives one; absent for a required option.
        help: One line for ``--help``, with the unit where there is one.
        positional: Given without a flag name.  A ``tuple`` field takes several.
        choices: The only values allowed; a mistyped one is answered with the closest.
        metavar: The placeholder shown in ``--help``.
        minimum: Smallest value allowed.
        maximum: Largest value allowed.
        aliases: Other names of the flag and of the config key, such as ``class`` for ``class_name``.
    """
    metadata = {
        "help": help,
        "positional": positional,
        "choices": choices,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "aliases": tuple(aliases),
    }
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def closest(word: str, known: Sequence[str]) -> str:
    """Return `` (did you mean X?)`` for a mistyped name, or an empty string."""
    import difflib  # noqa: PLC0415 - for a mistake only

    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]}?)" if match else ""


class _Parser(argparse.ArgumentParser):
    """Raises one-line errors instead of printing the usage block and exiting."""

    def error(self, message: str) -> typing.NoReturn:
        for word in message.split():
            flag = word.split("=")[0].rstrip(":")
            if flag.startswith("--"):
                known = list(self._option_string_actions)
                message += "" if flag in known else closest(flag, known)
                break
        raise SonoforgeError(f"{self.prog}: {message}; see {self.prog} --help")


def _element_type(annotation: Any) -> tuple[type, bool]:
    """Return the element type of a field annotation and whether it takes several values."""
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return typing.get_args(annotation)[0], True
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        return _element_type(inner[0])
    return annotation, False


def build_parser(program: str, summary: str, config_class: Any, examples: str) -> argparse.ArgumentParser:
    """Build the argument parser of one verb from its ``Config`` dataclass."""
    parser = _Parser(
        prog=program,
        description=summary,
        epilog="examples:\n" + "\n".join("  " + line for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    annotations = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        kind, several = _element_type(annotations[field.name])
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        text = field.metadata["help"]
        if not required and not field.metadata["positional"] and field.default not in (None, (), False, ""):
            shown: Any = ",".join(map(str, typing.cast(tuple[Any, ...], field.default))) if several else field.default
            text += f" (default: {shown})"
        text = text.replace("%", "%%")
        metavar = field.metadata["metavar"]
        flags = ["--" + name.replace("_", "-") for name in (field.name, *field.metadata["aliases"])]
        if field.metadata["positional"]:
            count = "*" if several else "?"  # a required one may come from a config file: resolve_config checks
            parser.add_argument(field.name, nargs=count, help=text, metavar=metavar or field.name.upper())
        elif kind is bool:
            parser.add_argument(*flags, dest=field.name, action=argparse.BooleanOptionalAction, help=text)
        else:
            choices = field.metadata["choices"]
            shown_choices = "{" + ",".join(choices) + "}" if choices else kind.__name__.upper()
            parser.add_argument(*flags, dest=field.name, help=text, metavar=metavar or shown_choices)
    common = parser.add_argument_group("on every command")
    common.add_argument("--config", metavar="FILE", help="read settings from a YAML or JSON file; flags win")
    common.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    common.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    common.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _read_config_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SonoforgeError(f"{path}: cannot be read as a config file ({error})") from error
    if path.suffix == ".json":
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise SonoforgeError(f"{path}: not valid JSON ({error})") from error
    else:
        try:
            import yaml  # noqa: PLC0415 - comes with the extras, not with the base install
        except ImportError as error:
            raise SonoforgeError(f"{path}: YAML needs pyyaml; pip install pyyaml, or use a .json file") from error
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SonoforgeError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise SonoforgeError(f"{path}: found {type(values).__name__}, expected a mapping of option to value")
    return values


def _convert(name: str, raw: Any, annotation: Any, metadata: Mapping[str, Any]) -> Any:
    """Convert one raw value to its field's type and check it against the field's limits."""
    kind, several = _element_type(annotation)
    if raw is None:
        return None
    if several:
        if not isinstance(raw, str | list | tuple):
            raise SonoforgeError(f"--{name.replace('_', '-')}: found {raw!r}, expected a list")
        values = raw.split(",") if isinstance(raw, str) else list(raw)
        return tuple(_convert_one(name, value, kind, metadata) for value in values)
    return _convert_one(name, raw, kind, metadata)


_SAID = {int: "a whole number", float: "a number", str: "text"}


def _convert_one(name: str, raw: Any, kind: type, metadata: Mapping[str, Any]) -> Any:
    flag = name if metadata["positional"] else "--" + name.replace("_", "-")
    if kind is bool:
        if not isinstance(raw, bool):
            raise SonoforgeError(f"{flag}: found {raw!r}, expected true or false")
        return raw
    try:
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):  # of a config file
            raise TypeError
        value = kind(raw)
        if kind is int and value != float(raw):  # int() would cut 2.7 to 2
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise SonoforgeError(f"{flag}: found {raw!r}, expected {_SAID[kind]}") from None
    choices = metadata["choices"]
    if choices and value not in choices:
        hint = closest(str(value), choices)
        raise SonoforgeError(f"{flag}: found {value!r}, expected one of {', '.join(choices)}{hint}")
    low, high = metadata["minimum"], metadata["maximum"]
    if low is not None and not value >= low:
        raise SonoforgeError(f"{flag}: found {value}, expected at least {low}")
    if high is not None and not value <= high:
        raise SonoforgeError(f"{flag}: found {value}, expected at most {high}")
    return value


def resolve_config(config_class: Any, given: Mapping[str, Any], file: Path | None) -> Any:
    """Merge defaults, config file and flags (later wins) into a checked ``Config``.

    Raises:
        SonoforgeError: An unknown key, a wrong type, a value out of range or a missing required option.
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    aliases = {alias: name for name, field in fields.items() for alias in field.metadata["aliases"]}
    annotations = typing.get_type_hints(config_class)
    merged: dict[str, Any] = {}
    if file is not None:
        for key, value in _read_config_file(file).items():
            name = str(key).replace("-", "_")
            name = aliases.get(name, name)
            if name not in fields:
                raise SonoforgeError(f"{file}: unknown setting {key!r}{closest(name, list(fields))}")
            merged[name] = value
    merged.update(given)
    values = {name: _convert(name, raw, annotations[name], fields[name].metadata) for name, raw in merged.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and values.get(name) in (None, ()):
            raise SonoforgeError(f"{name.upper()} is missing: {field.metadata['help']}")
    return config_class(**values)


_SPACES = "\n\t\u00a0\u202f"  # with those between a figure and its unit


def printable(text: str) -> str:
    """Escape what could steer a terminal: names in files are other people's."""
    return "".join(c if c.isprintable() or c in _SPACES else c.encode("unicode_escape").decode() for c in text)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def configure_logging(quiet: bool) -> None:
    """Send the ``sonoforge`` loggers' messages to stderr, as plain lines."""
    logger = logging.getLogger("sonoforge")
    logger.handlers[:] = []
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    handler.setFormatter(_Printable("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
