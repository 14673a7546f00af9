"""A frozen dataclass is the only source of a verb's flags, config keys, defaults and checks.

A verb is a module with ``main(config) -> Outcome``, and another, or the same one, with ``Config`` (a frozen dataclass
whose fields are made with `option`) and ``EXAMPLES`` (lines for ``--help``).  The answer goes to stdout: as
text through `sonoforge.runtime.cli.answer.say`, or with ``--json`` as the one object that ``main``
returns.  All else goes through `logging` to stderr.

argparse rather than typer: the base install is numpy, onnxruntime and pillow alone, and
``sonoforge classify`` must start in the time that those three take to import.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean


class Outcome(NamedTuple):
    """What a verb returns: its JSON result, the likely next command, and the exit code."""

    result: dict[str, Any]
    next_command: str = ""
    exit_code: int = 0


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    choices: Sequence[str] | None = None,
    limits: tuple[float | None, float | None] = (None, None),
    metavar: str | None = None,
    aliases: Sequence[str] = (),
) -> Any:
    """Declare one option of a verb's ``Config``: its default and its entry in ``--help``.

    Args:
        default: The value when neither flag nor config file gives one; absent for a required option.
        help: One line for ``--help``, with the unit where there is one.
        choices: The only values allowed; the closest is suggested for a mistyped one.
        limits: Smallest and largest value allowed; None where there is no limit.
        metavar: The placeholder shown in ``--help``.
        aliases: Other names of the flag and of the config key, such as ``class`` for ``class_name``.
    """
    metadata = {"help": help, "choices": choices, "limits": limits, "metavar": metavar, "aliases": tuple(aliases)}
    return dataclasses.field(default=default, metadata={**metadata, "positional": False, "repeated": False})


def repeated_option(default: Any, *, help: str, metavar: str) -> Any:
    """Declare an option of a ``tuple`` field that takes one value each time it is given, whatever commas are in it."""
    declared = option(default, help=help, metavar=metavar)
    return dataclasses.field(default=declared.default, metadata={**declared.metadata, "repeated": True})


def runs_folder() -> Any:
    """Declare ``--out`` of a verb that makes numbered run folders, which may be at a URL.  See `option`."""
    declared = option("runs", help="folder of the numbered run folders, or a URL: s3://bucket/runs", metavar="FOLDER")
    return dataclasses.field(default=declared.default, metadata={**declared.metadata, "of_runs": True})


def images_target(*, help: str) -> Any:
    """Declare ``--out`` of a verb that writes images, which may be at a URL that it opens itself.  See `option`."""
    declared = option("", help=help)
    return dataclasses.field(default="", metadata={**declared.metadata, "takes_url": True})


def argument(default: Any = dataclasses.MISSING, *, help: str, choices: Sequence[str] | None = None) -> Any:
    """Declare one argument that is given without a flag; a ``tuple`` field takes several.  See `option`."""
    declared = option(default, help=help, choices=choices)
    return dataclasses.field(default=default, metadata={**declared.metadata, "positional": True})


def group(default: Any, *, title: str, prefix: str = "", without: Sequence[str] = ()) -> Any:
    """Declare a field of a verb's ``Config`` that holds settings shared between verbs: a frozen dataclass of options.

    On the command line and in a config file its options appear beside the verb's own, so each is declared only once:
    ``gan: GanSettings = group(GanSettings(), title="the generator", prefix="gan_")`` gives ``--gan-recipe`` and the
    key ``gan_recipe``.

    Args:
        default: The settings where neither flag nor config file changes them.
        title: Heading in ``--help``.
        prefix: Put before the options' names, to distinguish them from the verb's own.
        without: Options that the verb sets itself.
    """
    return dataclasses.field(default=default, metadata={"title": title, "prefix": prefix, "without": tuple(without)})


class _Parser(argparse.ArgumentParser):
    """Raises one-line errors instead of printing the usage block and exiting."""

    def error(self, message: str) -> typing.NoReturn:
        for word in message.split():
            flag = word.split("=")[0].rstrip(":")
            if flag.startswith("--"):
                known = list(self._option_string_actions)
                message += "" if flag in known else did_you_mean(flag, known)
                break
        raise SonoforgeError(f"{self.prog}: {message}; see {self.prog} --help")


class _AnyWidth(argparse.HelpFormatter):
    """Checks arguments as they are added, each by a formatter of its own, without asking the terminal's width."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


def _element_type(annotation: Any) -> tuple[type, bool]:
    """Return the element type of a field annotation and whether it takes several values."""
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return typing.get_args(annotation)[0], True
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        return _element_type(inner[0])
    return annotation, False


class _Option(NamedTuple):
    """One option of a verb, its own or a group's."""

    path: tuple[str, ...]  # fields that lead from the verb's Config to the value
    flag: str  # as typed; of a positional argument, the key
    title: str  # heading in --help; empty for the verb's own
    kind: type  # of one value
    several: bool
    default: Any
    metadata: Mapping[str, Any]

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


@functools.cache
def _options(config_class: Any) -> Mapping[str, _Option]:
    """Return every option of a ``Config`` by its key."""
    return types.MappingProxyType(_found(config_class))


def _found(settings: Any, path: tuple[str, ...] = (), prefix: str = "", title: str = "") -> dict[str, _Option]:
    """Return the options of a ``Config``, or of a group inside it: a class, or an instance with other defaults."""
    own = settings if isinstance(settings, type) else type(settings)
    annotations = typing.get_type_hints(own)
    found: dict[str, _Option] = {}
    for field in dataclasses.fields(own):
        default = field.default if isinstance(settings, type) else getattr(settings, field.name)
        inner_path, metadata = (*path, field.name), field.metadata
        if "prefix" in metadata:
            inner = _found(default, inner_path, prefix + metadata["prefix"], metadata["title"])
            left_out = {prefix + metadata["prefix"] + name for name in metadata["without"]}
            found |= {key: option for key, option in inner.items() if key not in left_out}
        elif metadata:
            key = prefix + field.name
            named = {**metadata, "aliases": [prefix + alias for alias in metadata["aliases"]]}
            flag = key if metadata["positional"] else _flag(key)
            found[key] = _Option(inner_path, flag, title, *_element_type(annotations[field.name]), default, named)
    return found


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def with_flag(message: str, config_class: Any) -> str:
    """Return an error with the flag in place of the argument's name that it begins with.

    Library functions name their arguments (``psi: found 3``); a user typed ``--psi``.  Unchanged are messages that
    begin with anything but the field name of exactly one option.
    """
    name, colon, rest = message.partition(": ")
    flags = [option.flag for option in _options(config_class).values() if option.path[-1] == name]
    return flags[0] + colon + rest if colon and len(flags) == 1 else message


def flatten(config: Any) -> dict[str, Any]:
    """Return the values of a ``Config`` by the keys that a config file has; `resolve_config` takes them back."""
    values = {}
    config_class: Any = type(config)
    for key, option in _options(config_class).items():
        value = config
        for name in option.path:
            value = getattr(value, name)
        values[key] = value
    return values


def remote_runs(config: Any) -> tuple[str, Callable[[str], Any]] | None:
    """Return the URL at which a verb is to make its run folders, and what gives the config another folder instead.

    None where it makes none, or in a folder.

    Raises:
        SonoforgeError: A URL for anything else.
    """
    config_class: Any = type(config)
    for key, found in _options(config_class).items():
        value = config
        for name in found.path:
            value = getattr(value, name)
        if key == "out" and isinstance(value, str) and "://" in value:
            if found.metadata.get("takes_url"):
                return None
            if "of_runs" not in found.metadata:
                raise SonoforgeError(f"{found.flag}: found {value}, expected a folder or file of this machine")
            return value, functools.partial(_replaced, config, found.path)
    return None


def _replaced(config: Any, path: Sequence[str], value: str) -> Any:
    """Return the config with another value at the end of a path of fields."""
    inner = value if len(path) == 1 else _replaced(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: inner})


def build_parser(program: str, summary: str, config_class: Any, examples: str) -> argparse.ArgumentParser:
    """Build the argument parser of one verb from its ``Config`` dataclass."""
    parser = _Parser(
        prog=program,
        description=summary,
        epilog="examples:\n" + "\n".join("  " + line for line in examples.strip().splitlines()),
        formatter_class=_AnyWidth,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    sections: dict[str, Any] = {"": parser}
    for key, option in _options(config_class).items():
        text, metadata = option.metadata["help"], option.metadata
        if not option.required and not metadata["positional"] and option.default not in (None, (), False, ""):
            text += f" (default: {','.join(map(str, option.default)) if option.several else option.default})"
        text = text.replace("%", "%%")
        if option.title not in sections:
            sections[option.title] = parser.add_argument_group(option.title)
        section, metavar = sections[option.title], metadata["metavar"]
        flags = [option.flag, *map(_flag, metadata["aliases"])]
        if metadata["positional"]:
            count = "*" if option.several else "?"  # a required one may come from a config file: resolve_config checks
            section.add_argument(key, nargs=count, help=text, metavar=metavar or key.upper())
        elif option.kind is bool:
            section.add_argument(*flags, dest=key, action=argparse.BooleanOptionalAction, help=text)
        else:
            choices = metadata["choices"]
            shown_choices = "{" + ",".join(choices) + "}" if choices else option.kind.__name__.upper()
            action = "append" if metadata["repeated"] else "store"
            section.add_argument(*flags, dest=key, action=action, help=text, metavar=metavar or shown_choices)
    common = parser.add_argument_group("on every command")
    common.add_argument("--config", metavar="FILE", help="read settings from a YAML or JSON file; flags win")
    common.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    common.add_argument("--quiet", action="store_true", help="print the answer and errors only")
    common.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    """Return what was given on the command line, by key; options and arguments may come in any order."""
    if not any(argument.startswith(("-h", "--help")) for argument in arguments):
        parser.usage = ""  # it would be composed for every command, which takes milliseconds
    return vars(parser.parse_intermixed_args(arguments))


def read_config_file(path: Path) -> dict[str, Any]:
    """Read the settings of a YAML or JSON file.

    Raises:
        SonoforgeError: It cannot be read, or holds anything but a mapping.
    """
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


def _convert(option: _Option, raw: Any) -> Any:
    """Convert a raw value to its field's type and check it against the field's limits."""
    if raw is None or not option.several:
        return None if raw is None else _convert_one(option, raw)
    if not isinstance(raw, str | list | tuple):
        raise SonoforgeError(f"{option.flag}: found {raw!r}, expected a list")
    if isinstance(raw, str):
        raw = [raw] if option.metadata["repeated"] else raw.split(",")
    return tuple(_convert_one(option, value) for value in raw)


_KINDS = {int: "a whole number", float: "a number", str: "text"}


def _convert_one(option: _Option, raw: Any) -> Any:
    flag, kind, choices = option.flag, option.kind, option.metadata["choices"]
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
        raise SonoforgeError(f"{flag}: found {raw!r}, expected {_KINDS[kind]}") from None
    if choices and value not in choices:
        hint = did_you_mean(str(value), choices)
        raise SonoforgeError(f"{flag}: found {value!r}, expected one of {', '.join(choices)}{hint}")
    low, high = option.metadata["limits"]
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
    options = _options(config_class)
    aliases = {alias: key for key, option in options.items() for alias in option.metadata["aliases"]}
    merged: dict[str, Any] = {}
    if file is not None:
        for key, value in read_config_file(file).items():
            name = str(key).replace("-", "_")
            name = aliases.get(name, name)
            if name not in options:
                raise SonoforgeError(f"{file}: unknown setting {key!r}{did_you_mean(name, list(options))}")
            merged[name] = value
    merged.update(given)
    values = {key: _convert(options[key], raw) for key, raw in merged.items()}
    for key, option in options.items():
        if option.required and values.get(key) in (None, ()):
            raise SonoforgeError(f"{key.upper()} is missing: {option.metadata['help']}")
    return _build(config_class, (), {options[key].path: value for key, value in values.items()})


def _build(settings: Any, path: tuple[str, ...], values: Mapping[tuple[str, ...], Any]) -> Any:
    """Make a ``Config``, and its groups inside it, from values by their path; ``settings`` as in `_found`."""
    own = settings if isinstance(settings, type) else type(settings)
    given = {}
    for field in dataclasses.fields(own):
        here = (*path, field.name)
        if "prefix" in field.metadata:
            inner = field.default if isinstance(settings, type) else getattr(settings, field.name)
            given[field.name] = _build(inner, here, values)
        elif here in values:
            given[field.name] = values[here]
    return own(**given) if isinstance(settings, type) else dataclasses.replace(settings, **given)
