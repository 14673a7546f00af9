"""The contract of every verb: help on one screen, few flags, settings that round-trip, examples that are understood."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path

import pytest

from program import sonoforge, understood
from sonoforge.runtime.cli import options, settings_table
from sonoforge.runtime.cli.options import COMMON, Option
from sonoforge.runtime.cli.verbs import SECTIONS, VERBS, config_class, examples
from sonoforge.runtime.errors import SonoforgeError

MOST_VERBS, MOST_OWN_FLAGS, MOST_FLAGS = 26, 15, 420
EVERY = pytest.mark.parametrize("verb", VERBS)


def options_of(verb: str) -> list[Option]:
    return list(options.options(config_class(verb)).values())


def arguments_of(verb: str) -> list[str]:
    """Words for the arguments that a verb needs."""
    return [
        (option.metadata["choices"] or ["x"])[0] for option in options_of(verb) if option.positional and option.required
    ]


def test_verbs_and_flags_are_few() -> None:
    assert len(VERBS) <= MOST_VERBS
    assert next(iter(SECTIONS)) == "start here" and len(SECTIONS["start here"]) == 6
    flags = {verb: sum(bool(option.flags) for option in options_of(verb)) for verb in VERBS}
    assert max(flags.values()) <= MOST_OWN_FLAGS
    sets = sum(any(option.is_setting for option in options_of(verb)) for verb in VERBS)
    assert sum(flags.values()) + len(VERBS) * len(COMMON) + sets <= MOST_FLAGS


@EVERY
def test_help_is_one_screen_with_every_flag_and_argument(verb: str) -> None:
    lines = sonoforge(*verb.split(), "--help").out.splitlines()
    assert len(lines) < 24  # the prompt takes a row
    assert max(map(len, lines)) <= 80
    entries = re.findall(r"^  (\[?-?-?[A-Z\w\[\]-]+)", "\n".join(lines), re.M)
    shown = {entry.replace("--[no-]", "--") for entry in entries}
    assert {option.name for option in options_of(verb) if not option.is_setting} <= shown
    assert any(line.startswith(f"  sonoforge {verb}") for line in lines)
    assert all(options.flag(key) in "\n".join(lines) for key in COMMON)


@EVERY
def test_every_option_has_help_a_default_in_range_and_a_key_of_its_own(verb: str) -> None:
    for option in options_of(verb):
        assert option.metadata["help"] and not option.metadata["help"].endswith(".")
        low, high = option.metadata["limits"]
        values = option.default if isinstance(option.default, tuple) else (option.default,)
        for value in values if not option.required else ():
            if isinstance(value, int | float) and (low, high) != (None, None):
                assert (-math.inf if low is None else low) <= value <= (math.inf if high is None else high)
        assert option.flags or option.positional or "." in option.key


@EVERY
def test_dry_run_prints_what_config_reads_back(verb: str, tmp_path: Path) -> None:
    words = [*verb.split(), *arguments_of(verb)]
    number = next((one for one in options_of(verb) if one.is_setting and one.kind in (int, float)), None)
    change = ["--set", f"{number.key}={number.metadata['limits'][1] or 50}"] if number and not number.several else []
    first = understood(*words, *change)
    assert first.code == 0, first.err
    file = tmp_path / "c.json"
    file.write_text(first.out, encoding="utf-8")
    assert understood(*verb.split(), "--config", file).out == first.out
    assert list(first.json) == [option.key for option in options_of(verb)]
    if change and number:
        assert first.json[number.key] != number.default


@EVERY
def test_a_mistyped_flag_or_key_proposes_the_right_one(verb: str) -> None:
    for option in options_of(verb)[:: max(1, len(options_of(verb)) // 5)]:
        if option.flags and len(option.flags[0]) > 6:
            done = sonoforge(*verb.split(), option.flags[0] + "s", "1")
            assert (done.code, option.flags[0] in done.err) == (2, True)
        elif option.is_setting:
            done = sonoforge(*verb.split(), "--set", f"{option.key}s=1")
            assert (done.code, f"did you mean {option.key}?" in done.err) == (2, True)
            done = sonoforge(*verb.split(), options.flag(option.key), "1")
            assert (done.code, f"--set {option.key}=VALUE" in done.err) == (2, True)


READS_NO_IMAGES = {
    *("data list", "data import", "gan sample", "compare", "verify", "bench", "listen", "mobile build", "serve"),
    *("settings", "doctor"),
}
WRITES = {
    *("--out", "--html", "--csv", "--overlay", "--sr", "--sc", "--zip", "--apk", "--clear-cache", "--keep"),
    *("--reports", "--send-to", "--checklists"),
}


@EVERY
def test_a_folder_of_images_is_given_by_data(verb: str) -> None:
    done = understood(*verb.split(), *arguments_of(verb), "--data", "scans/")
    if verb in READS_NO_IMAGES:
        assert done.code == 2 and "did you mean" not in done.err
    else:
        assert "scans/" in [
            word for value in done.json.values() for word in (value if isinstance(value, list) else [value])
        ]


def test_images_given_by_data_come_before_bare_words() -> None:
    said = understood("evaluate", "generated/", "--data=BUSI/", "--count", "3").json
    assert (said["real"], said["fake"], said["count"]) == ("BUSI/", "generated/", 3)
    parser = options.build_parser("classify", config_class("classify"))
    given = options.parse(parser, ["--csv", "a.csv", "c.png", "--data", "a", "--data", "b", "--", "--data"])
    assert given == {"paths": ["a", "b", "c.png", "--data"], "csv": "a.csv"}
    assert "argument" in sonoforge("quality", "--data").err


def _hint(verb: str, word: str) -> str:
    with pytest.raises(SonoforgeError) as refused:
        parser = options.build_parser(verb, config_class(verb))
        options.parse(parser, [*arguments_of(verb), word, "x"])
    return str(refused.value).partition("did you mean ")[2].partition("?")[0]


@EVERY
def test_no_word_for_what_to_read_is_taken_for_a_flag_that_writes(verb: str) -> None:
    flags = {flag for option in options_of(verb) for flag in option.flags}
    takes_data = understood(*verb.split(), *arguments_of(verb), "--data", "x").code == 0
    for word in ("--external", "--input", "--in", "--source", "--src", "--dataset", "--folder", "--scans", "--test"):
        if word not in flags:
            assert _hint(verb, word) == ("--data" if takes_data else "")
    for flag in flags - WRITES:
        for place in range(2, len(flag)):
            typo = flag[:place] + flag[place + 1 :]
            if typo not in (*flags, "--") and len(typo) > 3:
                assert _hint(verb, typo) not in WRITES


@EVERY
def test_examples_are_understood(verb: str) -> None:
    text = "\n".join(examples(verb)[0]).replace("\\\n    ", "")
    lines = [line for line in text.splitlines() if line.startswith("sonoforge ")]
    assert lines
    for line in lines:
        done = understood(*shlex.split(re.split("[#>]|  ", line)[0])[1:])  # then what it does
        assert done.code == 0, f"{line}: {done.err}"
        assert done.json or verb == "doctor"  # which has none


@EVERY
def test_settings_of_a_verb_lists_all_of_its_options(verb: str) -> None:
    done = sonoforge("settings", *verb.split())
    assert {option.key for option in options_of(verb) if not option.positional} == {
        one.key for one in settings_table.find_settings([verb])
    }
    assert all(
        (option.flags[0] if option.flags else option.key) in done.said
        for option in options_of(verb)
        if not option.positional
    )


def test_every_setting_is_found_with_default_range_help_verbs_and_source() -> None:
    listed = {entry["key"]: entry for entry in sonoforge("settings", "--json").json["settings"]}
    for verb in VERBS:
        for option in options_of(verb):
            if "." in option.key:
                entry = listed[option.key]
                assert verb in entry["verbs"] and entry["source"].startswith("sonoforge.") and entry["help"]
                default = json.loads(json.dumps(option.default))
                assert default == entry["defaults"].get(verb, entry["default"])
    found = sonoforge("settings", "learning", "rate", "--json").json["settings"]
    assert {"gan.learning_rate", "classifier.learning_rate"} <= {entry["key"] for entry in found}
    assert "did you mean gan.learning_rate?" in sonoforge("settings", "gan.lerning_rate").err


def test_the_page_of_settings_is_current() -> None:
    page = Path(__file__).parents[3] / settings_table.PAGE
    assert page.read_text(encoding="utf-8") == sonoforge("settings", "--page").said
