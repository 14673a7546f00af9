"""Texts by topic and condition: the last that counts is said, and files name facts and conditions that there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import meta

import report_factory
from sonoforge.runtime.atomic import write_json
from sonoforge.training import run_folder
from sonoforge.training.reports import checklists as answers
from sonoforge.training.reports.blocks import environment
from sonoforge.training.reports.checklists import read_run
from sonoforge.training.reports.run import statements
from sonoforge.training.reports.run.statements import RunFacts
from sonoforge.training.reports.words import Said, Sayings, fill_in
from sonoforge.training.statistics.results import PROTOCOLS


def test_the_last_text_whose_conditions_are_met_is_said_with_those_before_it() -> None:
    texts = (
        Said("part", "{{ n }} left"),
        Said("part", "{{ n }} right", needs="right"),
        Said("whole", "It goes {{ part }}{{ more }}.", where="{{ file }}"),
        Said("more", " and on", needs="right long"),
        Said("none", "never", needs="wrong"),
    )
    sayings = Sayings(texts, {"long": "n > 1 and may_be_long"})
    left, right = (
        fill_in(sayings, {"n": 2, "file": "a.csv", "may_be_long": bool(met)}, met) for met in ((), ("right",))
    )
    assert [own.says for own in left.values()] == ["2 left", "It goes 2 left."]
    assert right["whole"].says == "It goes 2 right."  # `more` stands below what would use it
    assert right["more"].says == " and on"
    assert left["whole"].where == "a.csv"


def test_every_text_can_be_said_of_some_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = report_factory.make_run(tmp_path / "run", folds=3)
    write_json(made.folder / "audit.json", made.audited)
    run_folder.write_results(made.folder, made.results)
    given: list[tuple[Sayings, set[str]]] = []

    def keep(sayings: Sayings, facts: dict[str, object], met: object) -> dict[str, Said]:
        given.append((sayings, set(facts)))
        return {}

    monkeypatch.setattr(answers, "fill_in", keep)
    monkeypatch.setattr(statements, "fill_in", keep)
    run = read_run(made.folder)
    answers.answer(run)
    counts = dict.fromkeys(("folds", "images", "tested", "groups", "classes", "simulated", "given_groups"), 1)
    counts |= dict.fromkeys(("second_views", "near_duplicates", "generator_reads"), 1)
    facts = RunFacts(protocol="sealed", arms=("real",), filled=("a",), added=(1,), weights="", passed=True, **counts)
    assert set(facts.said) == {own.topic for own in statements.SAID.texts}
    assert len(given) == 2
    for sayings, known in given:
        topics: set[str] = set()
        for expression in sayings.conditions.values():
            assert meta.find_undeclared_variables(environment().parse(f"{{{{ {expression} }}}}")) <= known, expression
        for own in sayings.texts:
            used = meta.find_undeclared_variables(environment().parse(own.says + own.where))
            assert used <= known | topics | environment().globals.keys(), own.topic
            topics |= set() if own.where else {own.topic}
        named = {need for own in sayings.texts for need in own.needs.split()} - set(PROTOCOLS)
        assert named == sayings.conditions.keys()
