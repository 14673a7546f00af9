"""Put an evaluation's answers into words: pure functions of its figures, by the rules of `evaluation.verdict`."""

from collections.abc import Sequence

from sonoforge.training.copies.generated import HELD_OUT
from sonoforge.training.copies.planting import STANDS
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.evaluation import verdict as rules
from sonoforge.training.reports.words import plain, read_yaml
from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.results import Record

QUESTIONS = {"realistic": "Is it realistic?", "diverse": "Is it diverse?", "copied": "Is it copied?"}
_WORDS = read_yaml("evaluation-verdicts")
_COPIED = {"found": "yes", "chance": "partly", "bulk": "partly", "few": "unknown", "blind": "unknown", "none": "no"}


def judge(metrics: Sequence[Record], copies: Record | None, n: int | None) -> dict[str, Record]:
    """Answer `QUESTIONS`; ``n`` is the number of images per set."""
    found = {question: _judge_metrics(question, metrics, n) for question in rules.DECIDING}
    return found | {"copied": _judge_copies(copies)}


def _judge_metrics(question: str, metrics: Sequence[Record], n: int | None) -> Record:
    rows = rules.voices(metrics, rules.DECIDING[question])
    if not rows:
        return _filled(question, "unknown", "")
    pairwise = rules.voices(metrics, rules.PAIRWISE) if question == "diverse" else []
    alike = [row for row in pairwise if rules.stands(row) != "within" and rules.more_alike(row)]
    second = [rules.stands(row) if row in alike else "within" for row in pairwise]
    answer = rules.answer([rules.stands(row) for row in rows], second, n)
    return _filled(question, answer, answer, rows=rows, worst=rules.worst(rows), alike=alike, pairwise=pairwise, n=n)


def _judge_copies(copies: Record | None) -> Record:
    if copies is None:
        return _filled("copied", "unknown", "")
    held, missed = ([row for row in copies["recall"] if row["holds"] is holds] for holds in (True, False))
    how = rules.copied(copies, bool(held))
    facts = {"copies": copies, "held": held, "missed": missed, "bulk": rules.in_bulk(copies)}
    return _filled("copied", _COPIED[how], how, **facts, held_out=HELD_OUT, enough=STANDS)


def _filled(question: str, answer: str, headline: str, **facts: object) -> Record:
    """Fill in an answer; without a headline's name nothing was measured."""
    own = _WORDS[question]
    texts = {**own, "headline": own["headline"][headline]} if headline else _WORDS["unmeasured"]
    facts |= {"answer": answer, "what": own["what"], "stands": rules.stands, "full_name": rules.full_name}
    parts = ("headline", "text", "figure", "value", "detail")
    return {"answer": answer, **{part: plain(texts[part], facts) for part in parts}}


def meaning(row: Record) -> str:
    """Say in one clause what a metric's value means."""
    state, pairwise = rules.stands(row), row["name"] in rules.PAIRWISE
    return plain(_WORDS["meaning"], {"row": row, "state": state, "alike": rules.more_alike(row) if pairwise else None})


def warnings(metrics: Sequence[Record], copies: Record | None, n: int | None, given: Sequence[str] = ()) -> list[str]:
    """List the bad news that a reader must see first: the given warnings, collapse, copies, few images."""
    found, said = list(given), _WORDS["warnings"]
    for row in rules.voices(metrics, ("lpips_pairs",)):
        if row["matched"] < COLLAPSE_FRACTION * row["floor"]:
            found.append(plain(said["collapsed"], {"row": row}))
    if copies and copies["p_value"] < LEVEL:
        found.append(plain(said["copied"], {"copies": copies}))
    if n is not None and n < rules.FEW:
        found.append(plain(said["few"], {"n": n}))
    return found
