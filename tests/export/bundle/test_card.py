"""A model card states the figures of its run, and only what is true of such a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from card_facts import CardFacts, read_facts
from program import succeed, words
from scans import draw_scan, save, write_set
from small_run import CLASSIFIER, SIDE, SmallRun
from sonoforge.export.bundle.classifier_card import classifier_card
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier import initial_weights
from sonoforge.training.classifier.model_folder import load_model
from sonoforge.training.pretrained import Weights
from sonoforge.training.statistics.verdict import UNKNOWN

SECTIONS = ["Intended use", "Model", "Data", "Evaluation", "What it answers", "Other scanners", "Calibration and trust"]
SECTIONS += ["Factors and ethics", "Limits"]


def named(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def share(interval: dict[str, float]) -> str:
    return f"{interval['value']:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"


def figures_of(facts: CardFacts) -> Iterator[str]:
    """Yield what must stand in the card, computed from the run's folder."""
    config, figures = facts.config, facts.figures
    area, total = figures["macro_auc"], sum(facts.images.values())
    yield f"{SIDE} x {SIDE}, classes: {', '.join(facts.classes)}."
    yield f"First weights: {facts.weights}."
    epochs, frozen = config["classifier.epochs"], config["classifier.frozen_blocks"]
    yield f"`{config['classifier.budget']}` ({epochs} epochs, {frozen} of 19 blocks frozen)"
    yield f"{sum(facts.trained.values())} of {total} images ({named(facts.trained)})"
    if facts.arm != "real":
        yield f"{sum(facts.added.values())} {'generated' if facts.arm == 'gan' else 'copies'}"
        yield f"({named(facts.added)})"
    if facts.given_groups:
        yield f"the {facts.given_groups} groups given with the data"
    yield f"Accuracy {share(figures['accuracy'])}"
    yield f"{area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}]"
    for name in facts.classes:
        yield f"| {name} | {share(figures['sensitivity'][name])} | {share(figures['specificity'][name])} |"
    yield from (f"{figures[key]:.3f}" for key in ("ece", "ece_calibrated", "brier", "brier_calibrated", "temperature"))
    for target in figures["risk_coverage"]["targets"]:
        yield f"{share(target['abstained'])} for at most {target['error']:.0%} wrong"
    yield f"{facts.judged} held-out images" if not facts.cross_validated else f"of {facts.judged} images"
    if not facts.cross_validated:
        yield f"0 of {facts.judged} test images have a near-duplicate"


def conditions(facts: CardFacts) -> dict[str, bool]:
    """Return phrases, and whether each may stand in the card of such a run."""
    guessing = facts.figures["guessing"]["gain"]["low"] <= 0 or facts.figures["macro_auc"]["low"] <= 0.5
    return {
        "not a medical device": True,
        "Not shown to be better than guessing": guessing,
        "The data name no patients": not facts.given_groups,
        "Nothing was added": facts.arm == "real",
        "had seen neither it nor a near-duplicate": facts.cross_validated,
        "Its figures come out too good": False,
        "have no test set of their own": facts.cross_validated,
        "held out of their training": not facts.cross_validated,
        "no figure here carries over to real scans": facts.simulated,
        "Nobody was imaged": facts.simulated,
        "Consent and ethical approval are to be filled in": not facts.simulated,
        "networks are averaged": facts.config["classifier.ensemble_size"] > 1,
        "Each was distilled from": bool(facts.config["classifier.teachers"]),
        "Questions behind the label": "malignant" in facts.classes,
        "half of the images": not facts.cross_validated and facts.figures.get("folds", 1) == 1,
    }


def check_card(card: str, facts: CardFacts) -> None:
    headings = re.findall(r"^## (.*)$", card, re.MULTILINE)
    assert [name for name in headings if name != "Files"] == SECTIONS  # the gate's table is tested with it
    assert [figure for figure in figures_of(facts) if figure not in card] == []
    expected = conditions(facts)
    assert {phrase: phrase in card for phrase in expected} == expected


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two classes of 10 and 14, two of them with a brighter copy."""
    root = write_set(tmp_path_factory.mktemp("data") / "cells", {"round": 9, "long": 13})
    for name, seed in (("round", 0), ("long", 9)):
        save(root / name / "copy.png", (draw_scan(seed) * 0.8 + 20).astype(np.uint8))
    return root


def small(weights: object) -> list[object]:
    return [
        "--weights",
        weights,
        *CLASSIFIER[2:],
        *words("--epochs 1 --set classifier.ensemble_size=1 --device cpu"),
    ]


def trained(folder: Path, data: Path | str, arm: str, weights: object, cache: Path) -> tuple[str, CardFacts]:
    """Train one classifier, and render its card without an export."""
    done = succeed("train", "--data", data, "--arm", arm, "--set", "train.holdout=0.3", "--set", "phantom.images=60",
                   *small(weights),
                   "--out", folder, "--set", f"cache.folder={cache}")  # fmt: skip
    run = Path(done.json["run"])
    root = next(cache.glob("phantom-60-0-*")) if data == "phantom" else Path(data)
    return classifier_card(load_model(run / "model")[1]), read_facts(run, root, arm, done.json)


def test_run_sealed_on_phantoms(small_run: SmallRun) -> None:
    card = (small_run.folder / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    check_card(
        card, read_facts(small_run.folder, next(small_run.cache.glob("phantom-60-0-*")), "real", small_run.result)
    )


def test_no_figure_of_weights_that_may_have_seen_the_images_is_called_sealed(small_run: SmallRun) -> None:
    _, record, _ = load_model(small_run.folder / "model")
    assert "sealed" in classifier_card(record)
    record.training["weights"] = f"tuned.safetensors (sha256 0, {UNKNOWN})"
    card = classifier_card(record).replace("BUSI's sealed folds", "")  # on which the budget was chosen
    assert "sealed" not in card and "had seen neither" not in card
    assert card.index("may have seen the test images") < card.index("## Intended use")


def test_a_card_of_figures_that_leaked_says_so(small_run: SmallRun) -> None:
    _, record, _ = load_model(small_run.folder / "model")
    record.evaluation.update(
        protocol="thesis", near_duplicates=7, generator_reads=33, seed_accuracy={"0": 0.5, "1": 0.625}
    )
    record.training["about"] = {"Rio": "one hospital; CC BY 4.0"}
    card = classifier_card(record)
    assert "\n- **Rio**: one hospital; CC BY 4.0\n" in card
    for figure in ("7 of 60 test images", "33 of the 60 test images", "50.0% with seed 0, 62.5% with seed 1"):
        assert figure in card
    assert "Its figures come out too good" in card and "had seen neither" not in card


@pytest.mark.slow
def test_train_on_own_data_from_imagenet_and_from_nothing(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial_weights, "download_weights", lambda *_: Weights({}, "0" * 64))
    monkeypatch.setattr(initial_weights, "_below_head", lambda state, *_: state)
    card, facts = trained(tmp_path, cells, "real", "imagenet", tmp_path / "cache")
    check_card(card, facts)
    record = facts.folder / "model" / "model.json"
    record.write_text(record.read_text().replace('"near_duplicates"', '"other"'))
    with pytest.raises(SonoforgeError, match="near_duplicates"):
        load_model(record.parent)
    rows = [f"{(name := path.relative_to(cells).as_posix())},of {name}" for path in sorted(cells.rglob("*.png"))]
    (cells / "groups.csv").write_text("\n".join(["file,group", *rows]) + "\n")
    try:
        check_card(*trained(tmp_path, cells, "duplicates", "none", tmp_path / "cache"))
    finally:
        (cells / "groups.csv").unlink()
