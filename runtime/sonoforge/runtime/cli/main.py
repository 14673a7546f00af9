"""``sonoforge VERB [SUB] ARGS``: find the verb, import only its module, run it, report."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Before onnxruntime is imported anywhere: its wheels start a telemetry client otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from sonoforge.runtime.cli import options
from sonoforge.runtime.cli.interruption import sigterm_as_ctrl_c
from sonoforge.runtime.cli.log_lines import configure_logging, printable
from sonoforge.runtime.errors import SonoforgeError, did_you_mean

log = logging.getLogger("sonoforge.runtime.cli.main")  # __name__ is "__main__" under python -m


class Instead(NamedTuple):
    """Another module that does a verb's work if a setting is given, its extra, and how to do without both."""

    setting: str
    module: str
    extra: str
    otherwise: str


class Verb(NamedTuple):
    """A verb's module, after ``sonoforge.``; the extra that installs what it needs; its line in ``--help``."""

    module: str
    extra: str
    summary: str
    instead: Instead | None = None

    @property
    def settings(self) -> str:
        """The module of its ``Config`` and ``EXAMPLES``, which needs the base install alone."""
        package, _, name = self.module.partition(".verbs.")
        return self.module if package in ("runtime", "mobile") else f"{package}.verbs.settings.{name}"


VERBS = {
    "run": Verb("export.verbs.run", "train,export", "the whole job: from images to a verified bundle and a report"),
    "data list": Verb("training.verbs.data_list", "train", "known data sets and where to get them"),
    "data audit": Verb("training.verbs.data_audit", "train", "counts, sizes, unreadable files, near-duplicates"),
    "data phantom": Verb("training.verbs.data_phantom", "train", "write a simulated ultrasound data set"),
    "data cache": Verb("training.verbs.data_cache", "train", "the decoded images that are kept; removes them"),
    "data import": Verb("training.verbs.data_import", "dicom", "convert a mammography set to a folder of classes"),
    "data fetch": Verb("training.verbs.data_fetch", "remote", "copy a folder of images from a URL, such as s3://"),
    "gan recipes": Verb("training.verbs.gan_recipes", "train", "the table of GAN recipes"),
    "gan train": Verb("training.verbs.gan_train", "train", "train one generator"),
    "gan sweep": Verb("training.verbs.gan_sweep", "train", "compare recipes and perceptual weights in one table"),
    "gan compare": Verb("training.verbs.gan_compare", "train", "train several recipes and measure each at milestones"),
    "tune": Verb("training.verbs.tune", "tune", "search each GAN recipe's settings for the lowest KID"),
    "search": Verb("export.verbs.search", "train,export", "evolution designs the cells of a GAN (GA-GAN)"),
    "gan sample": Verb(
        "runtime.verbs.gan_sample",
        "",
        "generate images with a trained generator or its bundle",
        Instead("run", "training.verbs.gan_sample", "train", ", or give --bundle"),
    ),
    "gan show": Verb("training.verbs.gan_show", "train", "what a generator learned: truncation, style mixing, paths"),
    "segment": Verb("training.verbs.segment", "segment", "which GAN is worth its hours: a U-Net trained on its pairs"),
    "train": Verb("training.verbs.train", "train", "train one classifier on a data set"),
    "evaluate": Verb(
        "training.verbs.evaluate",
        "train",
        "are generated images realistic, diverse, copied?",
        Instead("reading_sheet", "training.verbs.reading_sheet", "train", ""),
    ),
    "reading": Verb("training.verbs.reading", "train", "could readers tell the images of a reading sheet apart?"),
    "crossval": Verb("training.verbs.crossval", "train", "k-fold comparison of arms, sealed or as published"),
    "validate": Verb("training.verbs.validate", "train", "external validation: a bundle on labelled images of others"),
    "compare": Verb("training.verbs.compare", "train", "what a change gained: runs on the same images, in pairs"),
    "leakage": Verb("training.verbs.leakage", "train", "how much leaks add: sealed against plain folds, and thesis"),
    "checklists": Verb("training.verbs.checklists", "train", "TRIPOD+AI, CLAIM and a data sheet, filled from a run"),
    "export": Verb("export.verbs.export", "export", "turn a run folder into a verified bundle"),
    "classify": Verb("runtime.verbs.classify", "", "classify images, folders or globs, offline"),
    "quality": Verb("runtime.verbs.quality", "", "image quality, and the distance of a set from a reference set"),
    "verify": Verb("runtime.verbs.verify", "", "check a bundle's files and golden answers on this machine"),
    "bench": Verb("runtime.verbs.bench", "", "speed, memory and size of a bundle's model files, on this machine"),
    "mobile build": Verb(
        "mobile.verbs.mobile_build", "", "a classifier's bundle as an offline web app, also for Android"
    ),
    "serve": Verb("mobile.verbs.serve", "", "the web app on this machine, and POST /classify for programs"),
    "doctor": Verb("runtime.verbs.doctor", "", "what is installed, what can run, and what to install"),
}


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = ["usage: sonoforge VERB [ARGS]", "", "Research use, not a medical device.", "", "verbs:"]
    lines += [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    lines += ["", "sonoforge VERB --help shows a verb's options and examples.", "sonoforge --version"]
    return "\n".join(lines)


def _split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in VERBS:
            return name, list(arguments[words:])
    first = arguments[0]
    subs = [name for name in VERBS if name.startswith(first + " ")]
    if subs:
        typed = arguments[1] if len(arguments) > 1 else "nothing"
        names = [name.split()[1] for name in subs]
        hint = did_you_mean(typed, names)
        raise SonoforgeError(f"sonoforge {first}: found {typed!r}, expected one of {', '.join(names)}{hint}")
    hint = did_you_mean(first, list(VERBS))
    raise SonoforgeError(f"sonoforge: unknown verb {first!r}{hint}; see sonoforge --help")


def _import(what: str, module: str, extra: str, otherwise: str = "") -> Any:
    """Import a verb's module, or say which extra installs what it needs."""
    try:
        return importlib.import_module(f"sonoforge.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sonoforge"):
            raise
        package = f"'sonoforge[{extra}]'" if extra else "sonoforge"
        remedy = f"pip install {package}{otherwise}"
        raise SonoforgeError(f"sonoforge {what}: {error.name} is not installed; {remedy}") from error


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version  # noqa: PLC0415 - slow to import, needed here only

        print(f"sonoforge {version('sonoforge')}")
        return 0
    name, rest = _split(arguments)
    verb = VERBS[name]
    settings = _import(name, verb.settings, verb.extra)
    config_class, examples = settings.Config, settings.EXAMPLES
    parser = options.build_parser(f"sonoforge {name}", verb.summary, config_class, examples)
    given = options.parse(parser, rest)
    common = {key: given.pop(key, None) for key in ("config", "json", "quiet", "dry_run", "debug")}
    config = options.resolve_config(config_class, given, Path(common["config"]) if common["config"] else None)
    configure_logging(bool(common["quiet"]), answers=not common["json"])
    if common["dry_run"]:
        _print_json(options.flatten(config))
        return 0
    if verb.instead and getattr(config, verb.instead.setting):
        setting, other, extra, otherwise = verb.instead
        module = _import(f"{name} {setting.upper()}", other, extra, otherwise)
    else:
        module = _import(name, verb.module, verb.extra)
    gc.freeze()  # what has been imported stays, and need not be looked at again
    gc.enable()  # paused by `main`
    try:
        remote = options.remote_runs(config)
        if remote:
            url, working_in = remote
            runs = _import(f"{name} --out {url}", "training.remote_runs", "remote")
            outcome: options.Outcome = runs.work_at(url, lambda folder: module.main(working_in(folder)))
        else:
            outcome = module.main(config)
    except SonoforgeError as error:
        error.args = (options.with_flag(str(error), config_class),)
        raise
    if common["json"]:
        _print_json(outcome.result)
    if outcome.next_command:
        log.info("next: %s", outcome.next_command)
    return outcome.exit_code


def _print_json(value: object) -> None:
    from sonoforge.runtime.atomic import plain  # noqa: PLC0415 - numpy, which --help does not wait for

    print(json.dumps(plain(value), indent=2, allow_nan=False))


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))


def _unexpected(error: Exception) -> str:
    """Describe an unforeseen error in one line, with the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
    return f"unexpected {type(error).__name__}{where}: {_one_line(error)}; --debug shows the traceback"


def run(arguments: Sequence[str]) -> int:
    """Run the command line and print what went wrong, in one line.

    Returns:
        Exit code: 0; 1, a gate failed; 2, wrong usage or input; 130, interrupted by Ctrl-C or SIGTERM.
    """
    try:
        with sigterm_as_ctrl_c():
            code = _run(arguments)
            sys.stdout.flush()
            return code
    except SystemExit as stopped:  # argparse, after --help
        return int(stopped.code or 0)
    except KeyboardInterrupt:
        return _failed("interrupted; finished work is kept; --resume continues it, where the command has it", 130)
    except BrokenPipeError:  # the reader of a pipe (head, less) has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # of any other kind, a defect or a machine in trouble: still one line
        if "--debug" in arguments:
            traceback.print_exc()
        if isinstance(error, SonoforgeError):
            return _failed(f"error: {_one_line(error)}", error.exit_code)
        return _failed(f"error: {_unexpected(error)}", 2)


def _failed(message: str, code: int) -> int:
    print(f"sonoforge: {message}", file=sys.stderr)
    return code


def main() -> None:
    """Entry point of the ``sonoforge`` program, see `run`.

    ``classify`` of one image spends more time on starting and ending Python than on the image.  So garbage collection
    pauses until the verb starts, as it would find nothing; and the process ends without unloading numpy and
    onnxruntime; torch and training have threads and files of their own to close.
    """
    gc.disable()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without box-drawing characters, as stderr already does
        sys.stdout.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    if {"torch", "sonoforge.training"} & sys.modules.keys() or "--debug" in sys.argv:
        sys.exit(code)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
