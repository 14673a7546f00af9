"""The grammar of the command line: one dataclass gives flags, config keys, checks and kind messages."""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from processes import FORK
from program import Finished, sonoforge
from sonoforge.runtime.cli import main, options, verbs
from sonoforge.runtime.cli import main as cli
from sonoforge.runtime.cli.answer import configure_logging, printable
from sonoforge.runtime.cli.options import Outcome, argument, group, option, setting
from sonoforge.runtime.errors import GateError, SonoforgeError


@dataclass(frozen=True)
class Training:
    """Settings of a made-up group."""

    psi: float = option(0.5, help="truncation")
    rate: float | None = option(None, help="learning rate", limits=(0, 1))
    run: tuple[str, ...] = option((), help="runs", repeated=True)


@dataclass(frozen=True)
class Config:
    """Settings of a made-up verb, some of them without a flag."""

    paths: tuple[str, ...] = argument(help="what to read")
    epochs: int = option(8, help="passes over the data", limits=(1, 100))
    rate: float = option(1e-3, help="learning rate, 10 % steps", limits=(0, None))
    budget: str = option("quick", help="how long", choices=("quick", "paper"), aliases=("length",))
    arms: tuple[str, ...] = option(("real", "gan"), help="what to compare", choices=("real", "gan", "placebo"))
    sizes: tuple[int, ...] = option((), help="sides")
    seed: int | None = option(None, help="seed")
    resume: bool = option(False, help="go on", aliases=("go_on",))
    gan: Training = group(
        Training(psi=0.7), key="gan", title="each training", flags="psi", prefix="gan-", without=("seed",)
    )
    mirrored: bool = setting(False, "made.mirrored", help="mirror images")


def parse(*arguments: str, file: Path | None = None) -> Config:
    given = options.parse(options.build_parser("sonoforge made-up", Config), arguments)
    texts = given.pop(options.SET, [])
    config: Config = options.resolve_config(Config, given, file, texts)  # type: ignore[arg-type]
    return config


def refused(*arguments: str, file: Path | None = None) -> str:
    with pytest.raises(SonoforgeError) as caught:
        parse(*arguments, file=file)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_defaults_and_flags() -> None:
    assert parse("a", "b") == Config(paths=("a", "b"))
    found = parse("a", "--epochs", "20", "--rate", "1e-4", "--arms", "real,placebo", "--sizes", "1,2", "--resume")
    assert found == Config(("a",), 20, 1e-4, arms=("real", "placebo"), sizes=(1, 2), resume=True)
    assert parse("a", "--seed", "-3").seed == -3
    assert parse("a", "--no-resume").resume is False


def test_an_alias_is_another_name_of_the_same_setting(tmp_path: Path) -> None:
    assert parse("a", "--length", "paper", "--go-on") == Config(("a",), budget="paper", resume=True)
    assert parse("a", "--resume", "--no-go-on").resume is False
    assert parse("a", "--budget", "quick", "--length", "paper").budget == "paper"  # the last one given
    file = tmp_path / "c.json"
    file.write_text('{"length": "paper", "go-on": true}', encoding="utf-8")
    assert parse("a", file=file) == Config(("a",), budget="paper", resume=True)
    assert parse("a", "--budget", "quick", file=file).budget == "quick"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("a", "--epoch", "3"), "did you mean --epochs?"),
        (("a", "--budgt=paper"), "did you mean --budget?"),
        (("a", "--epochs", "many"), "--epochs must be a whole number, not 'many'"),
        (("a", "--epochs", "2.5"), "--epochs must be a whole number, not '2.5'"),
        (("a", "--rate", "fast"), "--rate must be a number, not 'fast'"),
        (("a", "--rate", "nan"), "--rate must be at least 0, not nan"),
        (("a", "--epochs", "0"), "--epochs must be at least 1, not 0"),
        (("a", "--epochs", "101"), "--epochs must be at most 100, not 101"),
        (("a", "--budget", "papr"), "must be one of quick, paper, not 'papr' (did you mean paper?)"),
        (("a", "--length", "papr"), "--budget must be one of quick, paper, not 'papr' (did you mean paper?)"),
        (("a", "--lenght", "paper"), "did you mean --length?"),
        (("a", "--arms", "real,gna"), "must be one of real, gan, placebo, not 'gna' (did you mean gan?)"),
        (("a", "--sizes", "1,x"), "--sizes must be a whole number, not 'x'"),
        (("a", "--epochs"), "expected one argument"),
        (("a", "--set", "gan.rat=.1"), "did you mean gan.rate?"),
        (("a", "--set", "gan.rate"), "must be KEY=VALUE"),
        (("a", "--set", "gan.rate=2"), "--set gan.rate must be at most 1, not 2.0"),
        (("a", "--set", "made.mirrored=maybe"), "--set made.mirrored must be true or false, not 'maybe'"),
        (("a", "--mirrored"), "--mirrored is a setting, not a flag; use --set made.mirrored=VALUE"),
        (("a", "--gan-rate", "1"), "--gan-rate is a setting, not a flag; use --set gan.rate=VALUE"),
        (("a", "--mirored"), "did you mean --set made.mirrored=VALUE?"),
        (("a", "--gan-ps", "1"), "did you mean --gan-psi?"),
        ((), "paths"),
    ],
)
def test_a_mistake_is_answered_in_one_line(arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(*arguments).replace("PATHS", "paths")


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_config_file_fills_what_the_flags_leave(tmp_path: Path, suffix: str) -> None:
    if suffix == "yaml":
        pytest.importorskip("yaml")
        text = "epochs: 30\nrate: 0.01\narms: [gan]\npaths: [x]\nresume: true\nseed: null\n"
    else:
        text = json.dumps({"epochs": 30, "rate": 0.01, "arms": ["gan"], "paths": ["x"], "resume": True, "seed": None})
    file = tmp_path / f"c.{suffix}"
    file.write_text(text, encoding="utf-8")
    assert parse(file=file) == Config(("x",), 30, 0.01, arms=("gan",), resume=True)
    assert parse("y", "--epochs", "5", "--no-resume", file=file) == Config(("y",), 5, 0.01, arms=("gan",))


@pytest.mark.parametrize("word", ["yes", "no", "On", "off", "TRUE", "False", "true"])
def test_yaml_is_text_until_a_setting_is_known_to_be_something_else(tmp_path: Path, word: str) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "c.yaml"
    file.write_text(f"paths: [no, 012, 1.0, 2024-01-01, 'null']\nepochs: 012\nrate: 1e-3\nresume: {word}\nseed: ~\n")
    expected = Config(
        ("no", "012", "1.0", "2024-01-01", "null"), 12, 0.001, resume=word.lower() in ("yes", "on", "true")
    )
    assert parse(file=file) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"epoch": 3}', "unknown setting 'epoch' (did you mean epochs?)"),
        ('{"epochs": 2.5}', "--epochs must be a whole number, not 2.5"),
        ('{"epochs": true}', "--epochs must be a whole number, not True"),
        ('{"epochs": [3]}', "--epochs must be a whole number, not [3]"),
        ('{"resume": "maybe"}', "--resume must be true or false, not 'maybe'"),
        ('{"budget": {"a": 1}}', "unknown setting 'budget.a' (did you mean budget?)"),
        ('{"arms": 3}', "--arms must be a list, not 3"),
        ("[1]", "holds a list"),
        ("{", "not valid JSON"),
        ('{"size": 1, "size": 2}', "twice"),
        ("size: 1\nsize: 2\n", "twice"),
        ("a: {b: 1, b: 2}\n", "twice"),
    ],
)
def test_a_mistake_in_a_config_file_is_answered_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / ("c.json" if text[0] in "[{" else "c.yaml")
    file.write_text(text, encoding="utf-8")
    assert expected in refused("a", file=file)


def test_a_config_file_that_never_ends_or_is_too_deep_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "deep.json").write_text('{"a":' * 100_000)
    (tmp_path / "deep.yaml").write_text("[" * 20_000)
    (tmp_path / "digits.json").write_text('{"size": ' + "9" * 5000 + "}")
    (tmp_path / "large.json").write_bytes(b" " * 10_000_001)
    for path, said in (
        (Path("/dev/zero"), "device"),
        (tmp_path / "pipe.json", "pipe"),
        (tmp_path, "folder"),
        (tmp_path / "deep.json", "too deeply"),
        (tmp_path / "deep.yaml", "too deeply"),
        (tmp_path / "digits.json", "not valid JSON"),
        (tmp_path / "large.json", "more than 10 MB"),
    ):
        assert said in refused("a", file=path)


def test_settings_of_a_group_are_keys_and_some_of_them_flags(tmp_path: Path) -> None:
    assert parse("a").gan == Training(psi=0.7)
    assert parse("a", "--gan-psi", "0.1", "--set", "gan.rate=.2").gan == Training(0.1, 0.2)
    found = parse("a", "--set", "gan.run=x,y", "--set", "gan.run=z", "--set", "made.mirrored=true")
    assert found.gan.run == ("x,y", "z") and found.mirrored
    assert parse("a", "--set", "gan.psi=.3", "--gan-psi", "0.1").gan.psi == 0.1  # a flag wins
    file = tmp_path / "c.json"
    file.write_text('{"gan": {"psi": 0.2, "rate": 0.1}, "made.mirrored": true}', encoding="utf-8")
    assert parse("a", "--set", "gan.rate=.5", file=file).gan == Training(0.2, 0.5)
    assert parse("a", file=file).mirrored
    assert list(options.flatten(parse("a")))[-4:] == ["gan.psi", "gan.rate", "gan.run", "made.mirrored"]


def test_help_is_asked_for_in_many_ways() -> None:
    assert sonoforge("help") == sonoforge("--help") == sonoforge("-h") == sonoforge()
    assert sonoforge("help", "gan", "train") == sonoforge("gan", "train", "-h") == sonoforge("gan", "train", "--help")
    for noun in ("gan", "data", "mobile"):
        done = sonoforge(noun, "--help")
        assert done == sonoforge("help", noun) == sonoforge(noun)
        assert done.code == 0
        assert all(f"  {name.split()[1]} " in done.out for name in verbs.subverbs(noun))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("predict", "classify"),
        ("sample", "gan sample"),
        ("gan generate", "gan sample"),
        ("gan sample1", "sample"),
        ("data download", "data import"),
        ("clasify", "classify"),
    ],
)
def test_an_unknown_verb_points_to_the_right_one(typed: str, meant: str) -> None:
    done = sonoforge(*typed.split())
    assert (done.code, done.out) == (2, "")
    assert f"(did you mean {meant}?)" in done.err


class MadeUpVerb:
    """A verb module whose ``main`` does as told."""

    QualityConfig = Config

    def __init__(self, do: object) -> None:
        self.do = do

    def main(self, config: Config) -> Outcome:
        if isinstance(self.do, BaseException):
            raise self.do
        assert isinstance(self.do, Outcome)
        return self.do


def made_up(monkeypatch: pytest.MonkeyPatch, verb: MadeUpVerb) -> None:
    """Let ``sonoforge quality`` be another verb."""
    for module in (cli, verbs):
        monkeypatch.setattr(module, "import_for", lambda *_: verb)


def call(monkeypatch: pytest.MonkeyPatch, do: object, *flags: str) -> Finished:
    made_up(monkeypatch, MadeUpVerb(do))
    return sonoforge("quality", "x", *flags)


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (SonoforgeError("a.png: found\n two lines"), 2, "sonoforge: error: a.png: found two lines\n"),
        (GateError("leak"), 1, "sonoforge: error: leak\n"),
        (ZeroDivisionError("division\nby zero"), 2, "unexpected ZeroDivisionError"),
        (FileNotFoundError(2, "No such file", "runs/1/x"), 2, "error: runs/1/x: No such file; "),
        (MemoryError(), 2, "unexpected MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_error_is_one_line_and_the_traceback_is_for_debug(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, expected: str
) -> None:
    found, out, err, _ = call(monkeypatch, error)
    assert (found, out, len(err.splitlines())) == (code, "", 1)
    assert expected in err
    if not isinstance(error, KeyboardInterrupt):
        found, _, err, _ = call(monkeypatch, error, "--debug")
        assert found == code and "Traceback" in err


class WaitingVerb(MadeUpVerb):
    """Is sent signals until one stops it; it notes each."""

    def main(self, config: Config) -> Outcome:
        for number in self.do:  # type: ignore[attr-defined]
            os.kill(os.getpid(), number)
            time.sleep(0.05)
        return Outcome({}, "", 0)


def exit_code_of(check: Callable[[], None]) -> int | None:
    """Run a check in a fork of this process, which a signal that nothing handles ends in its place."""
    process = FORK.Process(target=check)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_is_ctrl_c(monkeypatch: pytest.MonkeyPatch, ctrl_c: Any) -> None:
    """Also where Ctrl-C is ignored, as in a background job of a shell script."""

    def check() -> None:
        signal.signal(signal.SIGINT, ctrl_c)
        terminated = signal.getsignal(signal.SIGTERM)
        found, out, err, _ = sonoforge("quality", "x y")
        assert (found, out) == (130, "")
        assert err == "sonoforge: interrupted; finished work is kept; to go on: sonoforge quality --resume 'x y'\n"
        assert signal.getsignal(signal.SIGTERM) == terminated

    made_up(monkeypatch, WaitingVerb([signal.SIGTERM]))
    assert exit_code_of(check) == 0


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_two_signals_of_one_wish_to_end_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(expected: int) -> None:
        noted: list[int] = []
        signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
        assert sonoforge("quality", "x").code == 0
        assert noted == [signal.SIGINT] * expected

    made_up(monkeypatch, WaitingVerb([signal.SIGTERM, signal.SIGTERM]))
    for seconds, expected in ((60, 1), (0.01, 2)):
        monkeypatch.setattr(main, "SAME_WISH_SECONDS", seconds)
        assert exit_code_of(functools.partial(check, expected)) == 0


@dataclass(frozen=True)
class Shared:
    """Settings of several verbs."""

    psi: float = option(1.0, help="truncation")
    rate: float = option(1.0, help="another rate")


@dataclass(frozen=True)
class Grouped:
    """Settings of a made-up verb, one of them in a group."""

    run: str = argument("", help="run folder")
    class_name: str = option("", help="class", aliases=("class",), renamed=True)
    rate: float = option(1.0, help="rate")
    gan: Shared = group(Shared(), key="gan", title="generator", flags="psi", prefix="gan-")
    sides: int = setting(1, "made.sides", help="sides")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("class_name: found 'x'", "--class: found 'x'"),
        ("psi: found 3", "--gan-psi: found 3"),
        ("sides: found 3", "--set made.sides: found 3"),
        ("run: no such run", "RUN: no such run"),  # typed without a flag
        ("rate: found 3", "rate: found 3"),  # which of the two?
        ("scan.png: found psi: 3", "scan.png: found psi: 3"),
        ("psi is 3", "psi is 3"),
    ],
)
def test_an_error_that_names_an_argument_is_shown_with_its_flag(
    monkeypatch: pytest.MonkeyPatch, message: str, expected: str
) -> None:
    monkeypatch.setattr(MadeUpVerb, "QualityConfig", Grouped)
    done = call(monkeypatch, SonoforgeError(message))
    assert (done.code, done.err) == (2, f"sonoforge: error: {expected}\n")


def test_outcome_gives_exit_code_json_and_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome({"path": Path("a/b"), "auc": float("nan")}, "sonoforge verify", 1)
    code, out, err, _ = call(monkeypatch, outcome, "--json")
    assert code == 1
    assert json.loads(out) == {"path": "a/b", "auc": None}
    assert err == "next: sonoforge verify\n"
    code, out, err, _ = call(monkeypatch, outcome, "--quiet")
    assert (code, out, err) == (1, "", "")


def test_names_in_files_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(quiet=False)
    logging.getLogger("sonoforge.test").info("name %s\nnext", "evil\x1b[2Jpassed\u202e")
    assert capsys.readouterr().err == "name evil\\x1b[2Jpassed\\u202e\nnext\n"
    assert printable("Grüße, 图像\t1") == "Grüße, 图像\t1"
    assert printable("628.9\u00a0kB, 3\u202f%") == "628.9\u00a0kB, 3\u202f%"
