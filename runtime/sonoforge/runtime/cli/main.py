"""``sonoforge VERB [SUB] ARGS``: find the verb, import only its module, run it, report."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast

from sonoforge.runtime.cli import options, verbs
from sonoforge.runtime.cli.answer import OutputError, configure_logging, drop_unwritable, printable, put
from sonoforge.runtime.cli.verbs import import_for
from sonoforge.runtime.errors import SonoforgeError

log = logging.getLogger("sonoforge.runtime.cli.main")  # __name__ is "__main__" under python -m

# Of numpy's OpenBLAS.  Left to itself it starts a thread for each core, and each waits busily after every product, for
# some 20 ms: of small products, as here, that costs a folder half its speed where the cores are shared.
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
# ``timeout`` signals the program and then its whole group, so one wish to end it arrives as two signals.
SAME_WISH_SECONDS = 1.0
# Settings of verbs that also answer elsewhere, in files or to callers: they go on without stdout.
_ELSEWHERE = ("csv", "html", "overlay", "sr", "sc", "watch", "out", "port")


def _run(arguments: Sequence[str]) -> int:
    words = [*arguments[arguments[:1] == ["help"] :]]
    own = words[: words.index(options.NO_MORE_OPTIONS)] if options.NO_MORE_OPTIONS in words else words
    asked = {"-h", "--help"}.intersection(own)
    if asked or words != [*arguments] or not words or (len(words) == 1 and verbs.subverbs(words[0])):
        put(_help([word for word in words if word not in asked]) + "\n")
        return 0
    if words[:1] == ["--version"]:
        from importlib.metadata import version  # noqa: PLC0415 - slow to import, needed here only

        put(f"sonoforge {version('sonoforge')}\n")
        return 0
    return _run_verb(*verbs.find(words))


def _run_verb(name: str, rest: Sequence[str]) -> int:
    if name in ("classify", "listen"):  # before numpy is imported: see `_BLAS_THREADS`
        os.environ.setdefault(_BLAS_THREADS, "1")
    verb, config_class = verbs.VERBS[name], verbs.config_class(name)
    given = options.parse(options.build_parser(f"sonoforge {name}", config_class), rest)
    common = {key: given.pop(key, None) for key in (*options.COMMON, options.SET)}
    file = Path(str(common["config"])) if common["config"] else None
    settings = cast(list[str], common[options.SET] or [])
    config = options.resolve_config(config_class, given, file, settings)
    printed = configure_logging(bool(common["quiet"]), answers=not common["json"])
    printed.goes_on = any(getattr(config, setting, "") for setting in _ELSEWHERE)
    if common["dry_run"]:
        _print_json(options.flatten(config))
    for own_setting, other, extra, otherwise in verb.instead:
        if getattr(config, own_setting):
            module = import_for(f"{name} {own_setting.upper()}", other, extra, otherwise)
            break
    else:
        module = import_for(name, verb.module(name), verb.extra)
    gc.freeze()  # what has been imported stays, and need not be looked at again
    gc.enable()  # paused by `main`
    continued = _continued(name, rest, config)
    try:
        if common["dry_run"]:
            _check(module, config)
            return 0
        outcome = _call(module, config, name)
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(continued) from stopped
    except SonoforgeError as error:
        error.args = (options.with_flag(str(error), config_class),)
        raise
    if common["json"]:
        _print_json(outcome.result)
    if outcome.next_command:
        log.info("next: %s", continued if outcome.next_command == options.CONTINUE else outcome.next_command)
    if printed.lost and not isinstance(printed.lost.__cause__, BrokenPipeError):
        raise printed.lost
    return outcome.exit_code


def _check(module: Any, config: Any) -> None:
    """Check what a verb needs, and say what it would do, if it can tell."""
    if hasattr(module, "check"):
        log.info("%s", module.check(config))


def _call(module: Any, config: Any, name: str) -> options.Outcome:
    """Run a verb, on a copy of its runs folder if that is a URL."""
    remote = options.remote_runs(config)
    if not remote:
        return cast(options.Outcome, module.main(config))
    url, working_in = remote
    runs = import_for(f"{name} --out {url}", "training.remote_runs", "remote")
    return cast(options.Outcome, runs.work_at(url, lambda folder: module.main(working_in(folder))))


def _continued(name: str, rest: Sequence[str], config: Any) -> str:
    """Return the command that continues where this one stopped; empty if there is none."""
    if not hasattr(config, "resume") or (name == "classify" and not config.csv):
        return ""
    return shlex.join(["sonoforge", *name.split(), *["--resume"] * (not config.resume), *rest])


def _help(words: Sequence[str]) -> str:
    """Return help for the verb that the words begin with, for verbs like it, or the list of all."""
    from sonoforge.runtime.cli import help as pages  # noqa: PLC0415 - textwrap, which no other command needs

    if not words:
        return pages.overview()
    if len(words) == 1 and verbs.subverbs(words[0]):
        return pages.of_noun(words[0])
    name, _ = verbs.find(words)
    return pages.of_verb(name, verbs.config_class(name))


def _print_json(value: object) -> None:
    from sonoforge.runtime.atomic import laid_out, plain  # noqa: PLC0415 - numpy, which --help does not wait for

    put(laid_out(plain(value)) + "\n")


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))


def _unexpected(error: Exception) -> str:
    """Describe an unforeseen error in one line, with the file and line that raised it."""
    if isinstance(error, OSError) and error.filename:  # a folder was removed meanwhile, or a disk is full
        return printable(
            f"{error.filename}: {error.strerror}; put it back or make room, then run the command again, with "
            "--resume if it has that flag"
        )
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
    return f"unexpected {type(error).__name__}{where}: {_one_line(error)}; --debug shows the traceback"


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Give SIGTERM to whatever handles Ctrl-C at that moment, while inside.

    If Ctrl-C is ignored, as in a background job of a shell script, SIGTERM still raises KeyboardInterrupt. Outside the
    main thread, which cannot handle signals, nothing changes.
    """
    last = -SAME_WISH_SECONDS

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        del number
        now = time.monotonic()
        if now - last < SAME_WISH_SECONDS:
            return
        last = now
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:
            signal.default_int_handler(signal.SIGINT, frame)

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and print what went wrong in one line.

    Returns:
        Exit code: 0; 1, a gate failed; 2, wrong usage or input; 130, interrupted by Ctrl-C or SIGTERM.
    """
    try:
        with sigterm_as_ctrl_c():
            return _run(arguments)
    except SystemExit as stopped:  # argparse, after --help
        return int(stopped.code or 0)
    except KeyboardInterrupt as stopped:
        command = next(iter(stopped.args), "")
        return _failed(f"interrupted; finished work is kept{f'; to go on: {command}' if command else ''}", 130)
    except Exception as error:  # of any other kind, a defect or a machine in trouble: still one line
        if "--debug" in arguments:
            traceback.print_exc()
        if isinstance(error, OutputError) and isinstance(error.__cause__, BrokenPipeError):
            return 0
        if isinstance(error, SonoforgeError):
            return _failed(f"error: {_one_line(error)}", error.exit_code)
        return _failed(f"error: {_unexpected(error)}", 2)


def _failed(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # a full disk; the exit code still tells
        print(f"sonoforge: {message}", file=sys.stderr)
    return code


def _reopen_closed() -> None:
    """Open the null device for each standard stream that is closed: the next file opened would be taken for it.

    For stdout it is opened for reading, so that printing still fails, with "Bad file descriptor".
    """
    for name, mode, access in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, access), mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def main() -> None:
    """Entry point of the ``sonoforge`` program, see `run`.

    Classifying one image takes less time than starting and ending Python, so garbage collection pauses until the verb
    starts, and the process ends without unloading numpy and onnxruntime.
    """
    gc.disable()
    _reopen_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without box-drawing characters, as stderr already does
        sys.stdout.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    drop_unwritable(sys.stderr)
    if {"torch", "sonoforge.training"} & sys.modules.keys() or "--debug" in sys.argv:
        sys.exit(code)
    os._exit(code)


if __name__ == "__main__":
    main()
