"""Turn a frozen dataclass, the only source of a verb's flags, settings, defaults and checks, into a command line.

A verb is a module ``PACKAGE/verbs/NAME.py`` with ``main(config) -> Outcome``, and a class ``NameConfig`` in
``PACKAGE/settings`` that imports no more than the base install: a frozen dataclass whose fields are declared by
`option` (a flag), `setting` (a key for ``--set`` and ``--config``), `argument` or `group`. ``--help`` shows the lines
of ``examples.txt``.  The answer goes to stdout: as text through `sonoforge.runtime.cli.answer.say`, or with ``--json``
as the one object that ``main`` returns. All else goes through `logging` to stderr.

Every option has a key: its field's name, or ``gan.learning_rate`` in a group whose key is ``gan``.  Config files,
``--set`` and the ``config.yaml`` of run folders use these keys.

It uses argparse rather than typer: the base install has only numpy, onnxruntime, pillow and pydicom, and ``sonoforge
classify`` must start in the time that the first three take to import.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean, pip_install, refusing


class Outcome(NamedTuple):
    """What a verb returns: its JSON result, the likely next command, and the exit code."""

    result: dict[str, Any]
    next_command: str = ""
    exit_code: int = 0


CONTINUE = "the same command with --resume"
"""Next command of a verb that was stopped early: printed as the command itself."""


def steps(*commands: str) -> str:
    """Return several next commands, one on each line."""
    return "\n      ".join(command for command in commands if command)


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    choices: Sequence[str] | None = None,
    limits: tuple[float | None, float | None] = (None, None),
    aliases: Sequence[str] = (),
    **traits: Any,
) -> Any:
    """Declare an option with a flag; a required one has no default.

    Args:
        default: The value when neither flag nor config file gives one.
        help: One line for ``--help``, with the unit if any; after a line break, what ``sonoforge settings`` adds.
        choices: The only values allowed; the closest is suggested for a mistyped one.
        limits: Smallest and largest value allowed; None where there is no limit.
        aliases: Other names of the flag and of the key, such as ``size`` for ``image_size``.
        traits: ``metavar``: the placeholder in ``--help``; ``key``: its key, if that is not the field's name;
            ``own``: called with a value beyond the choices, and ``from_file``, to allow code of the user's own and
            return its full name, or nothing; ``takes_url``: it may be at a URL that the verb opens itself;
            ``renamed``: its only flag is the first alias, for a word that cannot name a Python field (``class``);
            and those that the functions below set.
    """
    about = {"help": help, "choices": choices, "limits": limits, "aliases": tuple(aliases), "metavar": None}
    defaults = {"key": "", "flagged": True, "positional": False, "repeated": False, "renamed": False}
    return dataclasses.field(default=default, metadata={**about, **defaults, **traits})


def setting(default: Any, key: str, *, help: str, **about: Any) -> Any:
    """Declare an option without a flag: ``--set KEY=VALUE``, or ``KEY: VALUE`` in a config file."""
    return option(default, help=help, key=key, flagged=False, **about)


def repeated_option(default: Any, *, help: str, metavar: str, aliases: Sequence[str] = ()) -> Any:
    """Declare an option of a ``tuple`` field that takes one value each time it is given, even with commas."""
    return option(default, help=help, metavar=metavar, aliases=aliases, repeated=True)


def runs_folder() -> Any:
    """Declare ``--out`` of a verb that makes numbered run folders, which may be at a URL."""
    return option("runs", help="folder for run folders, or s3://bucket/runs", metavar="FOLDER", of_runs=True)


def argument(default: Any = dataclasses.MISSING, *, help: str, **about: Any) -> Any:
    """Declare one argument that is given without a flag, or by its aliases; a ``tuple`` field takes several."""
    return option(default, help=help, positional=True, **about)


def group(
    default: Any, *, key: str = "", title: str, flags: str = "", prefix: str = "", without: Sequence[str] = ()
) -> Any:
    """Declare a field that holds settings shared between verbs: a frozen dataclass of options.

    ``gan: GanSettings = group(GanSettings(), key="gan", title="the generator", flags="recipe", prefix="gan-")`` gives
    the keys ``gan.recipe``, ``gan.learning_rate``, ... and the flag ``--gan-recipe``; without a key, they act like the
    verb's own. ``flags`` lists the ones with a flag in this verb, ``without`` the ones that the verb sets itself.
    """
    metadata = {"title": title, "group": key, "flags": flags.split(), "prefix": prefix, "without": tuple(without)}
    return dataclasses.field(default=default, metadata=metadata)


class _Parser(argparse.ArgumentParser):
    """Raise one-line errors instead of printing the usage block and exiting."""

    settings: Mapping[str, list[str]] = types.MappingProxyType({})  # keys without a flag, by the flag that it would be
    of_arguments: Sequence[str] = ()  # flags whose values may also be given without, such as ``--data``

    def error(self, message: str) -> typing.NoReturn:
        for word in message.split():
            flag = word.split("=")[0].rstrip(":")
            if flag.startswith("--"):
                about_images = flag[2:] in _OF_IMAGES.split()
                if flag in self.settings and not about_images:
                    raise SonoforgeError(
                        f"{self.prog}: {flag} is a setting, not a flag; use {_either(self.settings[flag])}"
                    )
                known = [*self._option_string_actions, *self.of_arguments]
                if flag not in known:
                    hint = did_you_mean(
                        "data" if about_images else flag[2:], [one[2:] for one in (*known, *self.settings)], 0.7
                    )
                    hint = hint.replace("mean ", "mean --")
                    meant = hint.removeprefix(" (did you mean ").removesuffix("?)")
                    message += hint.replace(meant, _either(self.settings[meant])) if meant in self.settings else hint
                break
        raise SonoforgeError(f"{self.prog}: {message.replace(_NAME, '')}; see {self.prog} --help")


_OF_IMAGES = (
    "dataset dir directory external file files folder folders image images in input path paths scans source src test"
)
"""Words for where to read: only ``--data`` is meant, never a flag that writes."""


def _either(keys: Sequence[str]) -> str:
    return " or ".join(f"--set {key}=VALUE" for key in keys)


def _element_type(annotation: Any) -> tuple[type, bool]:
    """Return the element type of a field annotation and whether it takes several values."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return inner[0], True
    if origin in (typing.Union, types.UnionType):
        return _element_type(next(one for one in inner if one is not type(None)))
    return annotation, False


class Option(NamedTuple):
    """One option of a verb, its own or a group's."""

    path: tuple[str, ...]  # fields that lead from the verb's settings to the value
    key: str  # in config files, and for --set
    flags: tuple[str, ...]  # the first is the one that is spoken of; none of a setting or an argument
    title: str  # of its group; empty for the verb's own
    kind: type  # of one value
    several: bool
    default: Any
    declared_in: str  # module
    metadata: Mapping[str, Any]

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING

    @property
    def positional(self) -> bool:
        """Whether it is given without a flag."""
        return bool(self.metadata["positional"])

    @property
    def is_setting(self) -> bool:
        """Whether it has no flag."""
        return not self.flags and not self.positional

    @property
    def name(self) -> str:
        """How messages name it: ``--image-size``, ``--set gan.learning_rate`` or ``RUN``."""
        return self.flags[0] if self.flags else self.key.upper() if self.positional else f"--set {self.key}"

    def value(self, config: Any) -> Any:
        """Return its value in a verb's settings."""
        return functools.reduce(getattr, self.path, config)


@functools.cache
def options(config_class: Any) -> Mapping[str, Option]:
    """Return every option of a verb's settings by its key."""
    return types.MappingProxyType(dict(_found(config_class, {})))


def _found(settings: Any, about: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Option]]:
    """Yield the options of a class, or of an instance with other defaults, by key.

    ``about`` is what `group` says about them, empty for the verb's own; ``path`` holds the fields that lead to them.
    """
    own = settings if isinstance(settings, type) else type(settings)
    annotations = typing.get_type_hints(own)
    before = f"{about['group']}." if about.get("group") else ""
    for field in dataclasses.fields(own):
        default = field.default if isinstance(settings, type) else getattr(settings, field.name)
        inner_path, metadata = (*path, field.name), field.metadata
        if "group" in metadata:
            yield from _found(default, metadata, inner_path)
        elif metadata and field.name not in about.get("without", ()):
            key = metadata["key"] or before + field.name
            flagged = field.name in about["flags"] if about else metadata["flagged"] and not metadata["positional"]
            names = metadata["aliases"] if metadata["renamed"] else (field.name, *metadata["aliases"])
            flags = tuple(dict.fromkeys(flag(about.get("prefix", "") + name) for name in names)) if flagged else ()
            kind, several = _element_type(annotations[field.name])
            aliases = tuple(before + alias for alias in metadata["aliases"])
            title = about["title"] if before else ""
            module = next(c.__module__ for c in own.__mro__ if field.name in vars(c).get("__annotations__", {}))
            about_it = {**metadata, "aliases": aliases}
            yield key, Option(inner_path, key, flags, title, kind, several, default, module, about_it)


def flag(name: str) -> str:
    """Return the flag for a name."""
    return "--" + name.replace("_", "-").replace(".", "-")


def format_value(value: object) -> str:
    """Return a setting the way it is typed."""
    if isinstance(value, tuple):
        return ",".join(map(format_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def typed(option: Option, value: object) -> list[str]:
    """Return the words that give an option a value on the command line."""
    if not option.flags:
        return ["--set", f"{option.key}={format_value(value)}"]
    if isinstance(value, bool):
        return [option.flags[0] if value else f"--no-{option.flags[0][2:]}"]
    return [option.flags[0], format_value(value)]


def with_flag(message: str, config_class: Any) -> str:
    """Return an error with ``--psi`` in place of ``psi`` if it begins with the field name of one option.

    Library functions name their arguments; a user typed a flag or ``--set KEY``.
    """
    name = re.split(": | must | cannot ", message, maxsplit=1)[0]
    names = [option.name for option in options(config_class).values() if option.path[-1] == name]
    return names[0] + message[len(name) :] if len(names) == 1 else message


def flatten(config: Any) -> dict[str, object]:
    """Return the values of a settings class by their config-file keys; `resolve_config` does the reverse."""
    config_class: Any = type(config)
    return {key: option.value(config) for key, option in options(config_class).items()}


def remote_runs(config: Any) -> tuple[str, Callable[[str], Any]] | None:
    """Return the URL for a verb's run folders and a function that gives the config another folder, or None."""
    config_class: Any = type(config)
    found = options(config_class).get("out")
    value = found.value(config) if found else None
    if not found or not isinstance(value, str) or "://" not in value or "takes_url" in found.metadata:
        return None
    if "of_runs" not in found.metadata:
        raise SonoforgeError(f"{found.name}: {value} is a URL; give a folder or file on this machine")
    path = found.path
    return value, lambda folder: _build(config, (), {path: folder})


SET = "--set"  # as argparse names its values: no key, which may be ``set``
COMMON = {
    "config": ("FILE", "read settings from a YAML or JSON file; flags win"),
    "json": ("", "print the answer as one JSON object"),
    "quiet": ("", "print only the answer and errors"),
    "dry_run": ("", "print the resolved settings, check all, and stop"),
    "debug": ("", "show the traceback of an error"),
}
"""Placeholder and help of the options that every verb has; verbs with settings also have ``--set KEY=VALUE``."""


def build_parser(program: str, config_class: Any) -> _Parser:
    """Build the argument parser of one verb from its settings; `help` describes them."""
    parser = _Parser(
        prog=program,
        usage="",  # it would be composed for every command, which takes milliseconds
        formatter_class=functools.partial(argparse.HelpFormatter, width=100),  # without asking the terminal
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    settings: dict[str, list[str]] = {}
    for key, option in options(config_class).items():
        if option.positional:
            count = "*" if option.several else "?"  # a required one may come from a config file: resolve_config checks
            parser.add_argument(key, nargs=count, metavar=key.upper())
            parser.of_arguments = [*parser.of_arguments, *map(flag, option.metadata["aliases"])]
        elif option.is_setting:
            for name in {flag(key), *(flag(key[at + 1 :]) for at, letter in enumerate(key) if letter == ".")}:
                settings.setdefault(name, []).append(key)
        elif option.kind is bool:
            parser.add_argument(*option.flags, dest=key, action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(*option.flags, dest=key, action="append" if option.metadata["repeated"] else "store")
    if settings:
        parser.add_argument(SET, dest=SET, action="append")
        parser.settings = settings
    for key, (metavar, _) in COMMON.items():
        parser.add_argument(flag(key), action="store" if metavar else "store_true")
    return parser


def parse(parser: _Parser, arguments: Sequence[str]) -> dict[str, object]:
    """Return what was given on the command line, by key; options and arguments may come in any order.

    Words after ``--`` are not options, whatever they begin with (POSIX, Utility Syntax Guideline 10).
    """
    words = [*arguments]
    if NO_MORE_OPTIONS in words:  # which argparse forgets where options and arguments may mix
        place = words.index(NO_MORE_OPTIONS)
        words[place:] = [_NAME + word for word in words[place + 1 :]]
    bare = _Parser(prog=parser.prog, usage="", add_help=False, allow_abbrev=False)
    for name in parser.of_arguments:
        bare.add_argument(name, dest="words", action="append")
    found, others = bare.parse_known_args(words, argparse.Namespace(words=[]))
    given = vars(parser.parse_intermixed_args([*found.words, *others]))
    return {
        key: [_bare(one) for one in value] if isinstance(value, list) else _bare(value) for key, value in given.items()
    }


NO_MORE_OPTIONS = "--"
_NAME = "\0"  # put before what is no option; no name of a file can hold it


def _bare(value: object) -> object:
    return value.removeprefix(_NAME) if isinstance(value, str) else value


_MOST_CONFIG_BYTES = 10_000_000


def read_config_file(path: Path, names: bool = False) -> Mapping[str, object]:
    """Read the settings of a YAML or JSON file; words, numbers and dates of YAML, with ``names`` null too, are texts.

    YAML itself would make a class ``no`` False and ``012`` 10.
    """
    with refusing(f"{path}: cannot be read as a config file"):
        if path.exists() and not path.is_file():
            raise SonoforgeError(f"{path}: is a folder, a pipe or a device, not a config file")
        with path.open("rb") as stream:
            text = stream.read(_MOST_CONFIG_BYTES + 1).decode("utf-8-sig")
    if len(text) > _MOST_CONFIG_BYTES:
        raise SonoforgeError(f"{path}: more than {_MOST_CONFIG_BYTES // 10**6} MB, so not a config file")
    try:
        once = functools.partial(_once, path)
        values = json.loads(text, object_pairs_hook=once) if path.suffix == ".json" else _parse_yaml(path, text, names)
    except RecursionError as error:
        raise SonoforgeError(f"{path}: values are nested too deeply to read; write KEY: VALUE") from error
    except ValueError as error:
        form = "JSON" if path.suffix == ".json" else "YAML"
        raise SonoforgeError(f"{path}: not valid {form} ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise SonoforgeError(f"{path}: holds a {type(values).__name__}, not KEY: VALUE")
    return values


def _once(path: Path, pairs: Sequence[tuple[Any, object]]) -> dict[Any, object]:
    keys = [key for key, _ in pairs]
    twice = [key for i, key in enumerate(keys) if key in keys[:i]]
    if twice:
        raise SonoforgeError(f"{path}: gives {str(twice[0])[:80]!r} twice; remove one line")
    return dict(pairs)


def _parse_yaml(path: Path, text: str, names: bool) -> object:
    try:
        import yaml  # noqa: PLC0415 - comes with the extras, not with the base install
    except ImportError as error:
        raise SonoforgeError(f"{path}: YAML needs pyyaml; run {pip_install('pyyaml')}, or use a .json file") from error

    merge, null, plain = (f"tag:yaml.org,2002:{kind}" for kind in ("merge", "null", "str"))

    class Once(yaml.SafeLoader):
        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
            return tag if kind is not yaml.ScalarNode or tag == merge or (tag == null and not names) else plain

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            _once(path, [(key.value, None) for key, _ in node.value if key.tag != merge])
            return dict(super().construct_mapping(node, deep))

    try:
        return yaml.load(text, Once)  # noqa: S506 - of SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _convert(option: Option, raw: Any) -> Any:
    """Convert a raw value to its field's type and check it against the field's limits."""
    if raw is None or not option.several:
        return None if raw is None else _convert_one(option, raw)
    if not isinstance(raw, str | list | tuple):
        raise SonoforgeError(f"{option.name} must be a list, not {raw!r}")
    if isinstance(raw, str):
        raw = [raw] if option.metadata["repeated"] else raw.split(",")
    return tuple(_convert_one(option, value) for value in raw)


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_KINDS = {int: "a whole number", float: "a number", str: "text"}


def _convert_one(option: Option, raw: Any) -> Any:
    name, kind, choices = option.name, option.kind, option.metadata["choices"]
    if kind is bool:
        if isinstance(raw, str) and raw.lower() in _WORDS:  # of --set and YAML
            return _WORDS[raw.lower()]
        if not isinstance(raw, bool):
            raise SonoforgeError(f"{name} must be true or false, not {raw!r}")
        return raw
    try:
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):  # of a config file
            raise TypeError
        value = kind(raw)
        if kind is int and value != float(raw):  # int() would cut 2.7 to 2
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise SonoforgeError(f"{name} must be {_KINDS[kind]}, not {raw!r}") from None
    if value == option.default:
        return value
    own = option.metadata.get("own")
    if own and value not in (choices or ()) and (full := own(value)):
        return full
    if choices and value not in choices:
        hint = did_you_mean(str(value), choices)
        raise SonoforgeError(f"{name} must be one of {', '.join(choices)}, not {value!r}{hint}")
    low, high = option.metadata["limits"]
    if low is not None and not value >= low:
        raise SonoforgeError(f"{name} must be at least {low}, not {value}")
    if high is not None and not value <= high:
        raise SonoforgeError(f"{name} must be at most {high}, not {value}")
    return value


def resolve_config(
    config_class: Any, given: Mapping[str, Any], file: Path | None = None, settings: Sequence[str] = ()
) -> Any:
    """Merge defaults, config file, ``--set`` and flags (later wins) into a checked settings class.

    ``given`` maps keys to the values of flags and arguments; ``settings`` holds each ``--set KEY=VALUE``; the file's
    keys may be dotted or nested.
    """
    known = options(config_class)
    from_file = _flat(read_config_file(file)) if file else ()
    merged = {_known(known, key, str(file)): value for key, value in from_file}
    for option in (known[key] for key in merged if "own" in known[key].metadata):
        refusing = functools.partial(option.metadata["own"], from_file=True)  # which may be foreign
        _convert(option._replace(metadata={**option.metadata, "own": refusing}), merged[option.key])
    merged |= _read_settings(known, settings)
    merged |= {_known(known, key, config_class.__name__): value for key, value in given.items()}
    values = {key: _convert(known[key], raw) for key, raw in merged.items()}
    for key, option in known.items():
        if option.required and values.get(key) in (None, ()):
            raise SonoforgeError(f"{key.upper()} is missing: {option.metadata['help']}")
    return _build(config_class, (), {known[key].path: value for key, value in values.items()})


def _flat(values: Mapping[Any, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of a config file by dotted key."""
    for name, value in values.items():
        key = before + str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _known(known: Mapping[str, Option], given: str, where: str) -> str:
    """Return the key that a key or alias stands for."""
    name = given.replace("-", "_")
    for key, option in known.items():
        if name == key or name in option.metadata["aliases"]:
            return key
    raise SonoforgeError(f"{where}: unknown setting {given!r}{did_you_mean(name, list(known))}")


def _read_settings(known: Mapping[str, Option], texts: Sequence[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` of each ``--set``; the last one wins unless the option takes several."""
    found: dict[str, Any] = {}
    for text in texts:
        given, equals, value = text.partition("=")
        key = _known(known, given.strip(), "--set")
        if not equals:
            raise SonoforgeError(f"--set {text} must be KEY=VALUE")
        found[key] = [*found.get(key, ()), value] if known[key].metadata["repeated"] else value
    return found


def _build(settings: Any, path: tuple[str, ...], values: Mapping[tuple[str, ...], Any]) -> Any:
    """Make a settings class, and its groups inside it, from values by their path; ``settings`` as in `_found`."""
    own = settings if isinstance(settings, type) else type(settings)
    given = {}
    for field in dataclasses.fields(own):
        here = (*path, field.name)
        if "group" in field.metadata:
            inner = field.default if isinstance(settings, type) else getattr(settings, field.name)
            given[field.name] = _build(inner, here, values)
        elif here in values:
            given[field.name] = values[here]
    return own(**given) if isinstance(settings, type) else dataclasses.replace(settings, **given)
