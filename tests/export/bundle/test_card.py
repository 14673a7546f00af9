"""Every sentence of a model card follows from facts of its run: none that no check knows passes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from card_facts import CardFacts, read_facts
from program import succeed
from scans import draw_scan, save, write_set
from small_run import CLASSIFIER, GENERATOR, SIDE, SmallRun
from sonoforge.export.card.classifier import classifier_card
from sonoforge.export.gate import images
from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier import network
from sonoforge.training.classifier.model_folder import load_model
from sonoforge.training.pretrained import Weights
from sonoforge.training.verbs import train

SENTENCES = re.compile(r"(?<=[.]) (?=[A-Z0-9`])")
HEADINGS = [
    "Intended use",
    "Model",
    "Data",
    "Evaluation",
    "What it answers",
    "Other scanners",
    "Calibration and trust",
    "Files",
]
HEADINGS += ["Factors and ethics", "Limits"]


class Card(NamedTuple):
    """A card and the facts of its run."""

    text: str
    facts: CardFacts


class Check(NamedTuple):
    """One kind of sentence: when it must stand in a card, and what it must then say."""

    when: Callable[[CardFacts], bool]
    said: Callable[[CardFacts], str]


def always(facts: CardFacts) -> bool:
    return True


def named(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def share(interval: dict[str, float]) -> str:
    return f"{interval['value']:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"


def title(facts: CardFacts) -> str:
    return {"real": "real images (System 1)", "gan": "real + generated images (System 2)",
            "duplicates": "placebo: real + duplicated images"}[facts.arm]  # fmt: skip


def departures(facts: CardFacts) -> str:
    asked = {name: facts.config[name] for name in ("frozen_blocks", "epochs", "ensemble_size", "image_size")}
    own = {"frozen_blocks": 11, "epochs": 5, "ensemble_size": 3, "image_size": 224}
    changed = [f"{name.replace('_', ' ')} {asked[name]} instead of {own[name]}" for name in own]
    return ", ".join(text for text, name in zip(changed, own, strict=True) if asked[name] != own[name])


def leak_words(facts: CardFacts) -> str:
    count = f"{facts.near_duplicates} of {facts.judged} test images"
    return f"{count} have a near-duplicate or an identical image in their own training set"


def groups_of(facts: CardFacts) -> str:
    given = f" and the {facts.given_groups} groups given with the data" if facts.given_groups else ""
    return f"near-duplicates, equal contents{given}" if given else "near-duplicates and equal contents"


def judged_by_class(facts: CardFacts) -> dict[str, int]:
    return dict(zip(facts.classes, np.array(facts.figures["confusion"]).sum(axis=1).tolist(), strict=True))


def most(facts: CardFacts) -> str:
    counts = judged_by_class(facts)
    return max(counts, key=counts.__getitem__)


def doubtful(facts: CardFacts) -> bool:
    guessing = facts.figures["guessing"]
    return guessing["gain"]["low"] <= 0 or facts.figures["macro_auc"]["low"] <= 0.5


def missed(facts: CardFacts) -> bool:
    record = json.loads((facts.folder / "model" / "model.json").read_text())
    return any(own["high"] < 0.9 for own in record["evaluation"]["decision"]["all images"]["coverage"].values())


CHECKS = [
    # what it takes to err less
    Check(always, lambda f: re.escape(
        "Share of these scans on which to abstain, the least probable labels first, so that few of the others are "
        "wrong: " + "; ".join(f"{share(own['abstained'])} for at most {own['error']:.0%} wrong"
                              for own in f.figures["risk_coverage"]["targets"]) + " (95 % intervals by group).")),
    # what it answers
    Check(doubtful, lambda f: r"\*\*Not shown to be better than guessing\.\*\* " + re.escape(
        f"Accuracy {share(f.figures['accuracy'])}; calling every image {most(f)} would be right for "
        f"{max(judged_by_class(f).values()) / f.judged:.1%}, a difference of ") + r"[+−]\d+\.\d points \[.*\]\."),
    Check(doubtful, lambda f: re.escape(
        f"Macro-AUC {f.figures['macro_auc']['value']:.3f} [{f.figures['macro_auc']['low']:.3f}, "
        f"{f.figures['macro_auc']['high']:.3f}]; guessing has 0.5.")),
    Check(always, lambda f: "Labels, probabilities and sets in tables other than those of the next section are the "
          "network's own, at the class shares that it takes for granted."),
    Check(always, lambda f: "Unless `--prevalence` names a clinic's class shares, all classes count as equally "
          "frequent."),
    Check(always, lambda f: "The network itself takes these shares for granted, and its probabilities are divided by "
          r"them: " + ", ".join(rf"{name} \d+\.\d%" for name in f.classes) + r"\."),
    Check(always, lambda f: "Class shares change probabilities and labels; prediction sets and questions hold within "
          "each class, however frequent it is."),
    Check(always, lambda f: f"Measured on the {f.judged} held-out images of the section above."),
    Check(always, lambda f: "Nothing of " + (
        "a fold was used for the answers to it: temperature, class shares and thresholds are those of the other folds."
        if (f.cross_validated or f.figures.get("folds", 1) > 1)
        else "one half of them was used for the answers to it: temperature, class shares and "
        "thresholds are those of the other half.")),
    Check(always, lambda f: "The last two columns are told the class shares of the row's own images."),
    Check(always, lambda f: r"`--abstain` withholds labels less probable than [01]\.\d+: chosen on these images so "
          r"that of those kept at most \d+% are wrong, each class counting alike\."),
    Check(missed, lambda f: r"\*\*Prediction sets hold less than the 90% promised\.\*\* The set holds .* images\."),
    Check(lambda f: "malignant" in f.classes, lambda f: re.escape(
        "Questions behind the label, each asked at a sensitivity (`--sensitivity`), on the same images; thresholds are "
        "from the others, as above.")),
    Check(always, lambda f: r"\*\*Research use, not a medical device.\*\*"),
    # intended use
    Check(always, lambda f: re.escape(
        f"Research on computer-aided reading of {'simulated breast ultrasound' if f.simulated else 'cells'} images: "
        f"sorting single still images into {' / '.join(f.classes)}.")),
    Check(always, lambda f: "Not for diagnosis, triage or any decision about a patient; not cleared by any authority."),
    # model
    Check(always, lambda f: re.escape(f"MobileNetV2 (torchvision), {SIDE} x {SIDE}, classes: {', '.join(f.classes)}.")),
    Check(always, lambda f: re.escape(f"First weights: {f.weights}.")),
    Check(always, lambda f: re.escape(
        f"Training: {title(f)}; budget `{f.config['budget']}` ({f.config['epochs']} epochs, "
        f"{f.config['frozen_blocks']} of 19 blocks frozen), seed {f.config['seed']}.")),
    Check(lambda f: bool(f.config["teachers"]), lambda f: f"Each was distilled from {f.config['teachers']} networks."),
    Check(lambda f: f.config["ensemble_size"] > 1, lambda f: f"{f.config['ensemble_size']} networks are averaged."),
    Check(always, lambda f: "It answers on the mean embedding of the image and its mirror image."),  # of budget quick
    # data
    Check(always, lambda f: rf"\S+: {sum(f.trained.values())} of {sum(f.images.values())} images "
          rf"\({named(f.trained)}\), in \d+ groups \(joined: {groups_of(f)}\)."),
    Check(lambda f: f.arm == "gan", lambda f: re.escape(
        f"To these, {sum(f.added.values())} generated images were added ({named(f.added)}), each drawn by a generator "
        "that was trained on these images of its class (recipe ") + r"`[\w-]+`\)."),
    Check(lambda f: f.arm == "duplicates", lambda f: re.escape(
        f"To these, {sum(f.added.values())} copies of themselves were added ({named(f.added)}).")),
    Check(lambda f: f.arm == "real", lambda f: "Nothing was added to them."),
    Check(always, lambda f: "Fingerprint of the whole set `[0-9a-f]{16}`."),
    # what the figures were measured on
    Check(lambda f: not f.cross_validated, lambda f:
          rf"These weights were judged on {f.judged} images of \d+ groups, which were held out of their training."),
    Check(lambda f: not f.cross_validated, lambda f: f"{leak_words(f)}."),
    Check(lambda f: f.cross_validated and not f.thesis, lambda f: re.escape(
        "Each image was judged once, by a model that had seen neither it nor a near-duplicate of it in training "
        f"(protocol sealed, {f.config['folds']} folds).")),
    Check(lambda f: f.thesis, lambda f: f"Protocol thesis, {f.config['folds']} folds, as published: {leak_words(f)}" + (
        f", and the generators read {f.generator_reads} of the {f.judged} test images." if f.generator_reads else ".")),
    Check(lambda f: bool(f.near_duplicates or f.generator_reads), lambda f:
          "Its figures come out too good: they do not tell how well new images would be classified."),
    Check(lambda f: f.thesis and not (f.near_duplicates or f.generator_reads), lambda f:
          "Nothing of a test fold was found in its training here, though the protocol does not prevent it."),
    Check(lambda f: f.cross_validated, lambda f:
          f"The weights in this bundle were then trained on all {sum(f.images.values())} images with the same settings "
          "and have no test set of their own."),
    # choice
    Check(always, lambda f: r"The settings of budget quick \(.*\) were chosen on BUSI's sealed folds with seed 0."),
    Check(always, lambda f: "None of these images is among them, so that choice does not flatter these figures."),
    Check(always, lambda f: re.escape(
        f"This run departs from the budget ({departures(f)}); how that was chosen is not recorded.")),
    # figures
    Check(always, lambda f: re.escape(
        f"Accuracy {share(f.figures['accuracy'])}, macro-AUC {f.figures['macro_auc']['value']:.3f} "
        f"[{f.figures['macro_auc']['low']:.3f}, {f.figures['macro_auc']['high']:.3f}] (95 % intervals by "
        "group; accuracy of the weights in this bundle on their own training images ") + r"\d+\.\d%\)."),
    Check(lambda f: f.config.get("seeds", 1) > 1, lambda f: "These figures are of seed 0; accuracy was " + ", ".join(
        f"{f.accuracy(seed):.1%} with seed {seed}" for seed in range(f.config["seeds"])) + "."),
    Check(always, lambda f: re.escape(
        f"Calibration error (ECE) {f.figures['ece']:.3f} before and {f.figures['ece_calibrated']:.3f} after "
        f"temperature scaling; Brier score {f.figures['brier']:.3f} and {f.figures['brier_calibrated']:.3f}.")),
    Check(always, lambda f: f"Temperature {f.figures['temperature']:.3f}, fitted on " + (
        f"out-of-fold predictions of {f.judged} images." if f.cross_validated else f"the {f.judged} held-out images.")),
    Check(always, lambda f: "Prediction sets at 90% of each class, of equally frequent classes: measured coverage " +
          ", ".join(rf"{name} \d+\.\d%" for name in f.classes) + r"; mean size \d\.\d\d\."),
    Check(always, lambda f: "An image farther from the training images than 95 % of these images were is reported as "
          "out of distribution."),
    Check(always, lambda f: re.escape(
        "Held-out images with each flag that may be shown beside an answer, limits from those of other folds; a ratio "
        "below 1.5 is no reason to doubt the label.")),
    Check(always, lambda f: "How the recipe does on collections that it was not trained on was not recorded."),
    Check(always, lambda f: "How it does on scans with more shadow, other gain, haze and the like was not recorded."),
    # what no run can know
    Check(lambda f: f.simulated, lambda f:
          "Nobody was imaged: there are no groups of people, no consent and no ethical approval to report."),
    Check(lambda f: not f.simulated, lambda f: "Age, sex, origin and other attributes of the people imaged, and the "
          "machines used, are not recorded: no figure is known for any such group."),
    Check(lambda f: not f.simulated, lambda f:
          "Consent and ethical approval are to be filled in by those who hold the data."),
    Check(always, lambda f: "Licence, contact and how to cite this model are to be filled in by those who share it."),
    # limits
    Check(lambda f: f.simulated, lambda f:
          "The images are simulated ultrasound: no figure here carries over to real scans."),
    Check(lambda f: not f.simulated, lambda f: "Trained on cells alone: images from other places and machines must be "
          "expected to be judged worse."),
    Check(lambda f: not f.given_groups, lambda f:
          "**The data name no patients**: images of one patient may lie on both sides of the split. If a patient has "
          "several images, every figure here is optimistic and every interval too narrow."),
    Check(always, lambda f: "The class-activation map shows where the evidence lies, not why."),
]  # fmt: skip


def check_card(card: Card) -> None:
    """Every sentence is what exactly one check expects, and every check that applies finds its sentence."""
    facts, found = card.facts, []
    expected = [check.said(facts) for check in CHECKS if check.when(facts)]
    # The table of files and the words above it are the gate's, and tested with it.
    text = re.sub(r"^## Files\n.*?(?=^## )", "", card.text, flags=re.MULTILINE | re.DOTALL)
    for line in filter(None, text.splitlines()):
        if line.startswith("#"):
            assert line.lstrip("# ") in [*HEADINGS, *re.findall(r"^# (mobilenetv2-\S+ 1\.0\.0)$", line)]
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if cells[0] in facts.classes:
                figures = facts.figures
                assert cells[1:] == [share(figures[kind][cells[0]]) for kind in ("sensitivity", "specificity")]
        else:
            for sentence in SENTENCES.split(line.removeprefix("- ")):
                matching = [pattern for pattern in expected if re.fullmatch(pattern, sentence)]
                assert len(matching) == 1, f"no check expects this of the card: {sentence!r}"
                found += matching
    assert sorted(found) == sorted(expected)


# ---- the kinds of runs


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two classes of 10 and 14, two of them with a brighter copy."""
    root = write_set(tmp_path_factory.mktemp("data") / "cells", {"round": 9, "long": 13})
    for name, seed in (("round", 0), ("long", 9)):
        save(root / name / "copy.png", (draw_scan(seed) * 0.8 + 20).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(mobilenet_v2(1).state_dict(), path)
    return path


def small(weights_choice: object) -> list[object]:
    return ["--weights", weights_choice, *CLASSIFIER[2:], "--epochs", "1", "--ensemble-size", "1", "--device", "cpu"]


def trained(folder: Path, data: Path | str, arm: str, weights_choice: object, cache: Path) -> Card:
    """Train one classifier, and render its card without an export."""
    done = succeed("train", "--data", data, "--arm", arm, "--holdout", "0.3", "--images", "60", *small(weights_choice),
                   "--out", folder, "--cache", cache)  # fmt: skip
    run = Path(done.json["run"])
    root = next(cache.glob("phantom-60-0-*")) if data == "phantom" else Path(data)
    _, record, _ = load_model(run / "model")
    return Card(classifier_card(record), read_facts(run, root, arm, done.json))


def test_run_sealed_on_phantoms(small_run: SmallRun) -> None:
    card = (small_run.folder / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    root = next(small_run.cache.glob("phantom-60-0-*"))
    facts = read_facts(small_run.folder, root, "real", small_run.result)
    check_card(Card(card, facts))
    for planted in ("It detects cancer.", "The weights were checked by a radiologist."):
        with pytest.raises(AssertionError, match="no check expects"):
            check_card(Card(card.replace("## Limits\n", f"## Limits\n\n{planted}\n"), facts))
    with pytest.raises(AssertionError):  # a sentence that is missing
        check_card(Card(card.replace("Nothing was added to them. ", ""), facts))


def test_a_card_of_figures_that_leaked_says_so(small_run: SmallRun) -> None:
    _, record, _ = load_model(small_run.folder / "model")
    record.evaluation.update(
        protocol="thesis", near_duplicates=7, generator_reads=33, seed_accuracy={"0": 0.5, "1": 0.625}
    )
    card = classifier_card(record)
    assert "7 of 60 test images have a near-duplicate or an identical image in their own training set" in card
    assert "the generators read 33 of the 60 test images" in card and "Its figures come out too good" in card
    assert "These figures are of seed 0; accuracy was 50.0% with seed 0, 62.5% with seed 1." in card
    assert "had seen neither" not in card


@pytest.mark.slow  # half a minute: a whole run, with its export
def test_run_thesis_on_own_data_with_generated_images_and_two_seeds(
    cells: Path, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FEWEST", 20)  # else the bundle's files are checked on many phantoms
    done = succeed("run", "--data", cells, "--protocol", "thesis", "--arms", "gan", "--final-arm", "gan",
                   "--folds", "2", "--seeds", "2", "--jobs", "1", *small(weights_file), *GENERATOR, "--out", tmp_path,
                   "--cache", tmp_path / "cache")  # fmt: skip
    run = Path(done.json["run"])
    facts = read_facts(run, cells, "gan", done.json)
    assert facts.generator_reads == 10  # all images of the smaller class
    check_card(Card((run / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8"), facts))


@pytest.mark.slow
def test_train_on_phantoms_with_generated_images_from_shipped_weights(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(train.GENERATOR_BUDGETS, "quick", {"image_size": 16, "steps": 2, "batch": 4})
    card = trained(tmp_path, "phantom", "gan", "shipped", small_run.cache)
    assert "shipped bundle mobilenetv2-breast-ultrasound 1.0.0 (trained on BUSI+BUS-BRA+BrEaST)" in card.text
    check_card(card)


@pytest.mark.slow
def test_train_on_own_data_from_imagenet_and_from_nothing(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "download_weights", lambda *_: Weights({}, "0" * 64))
    monkeypatch.setattr(network, "_features_only", lambda state, _: state)
    card = trained(tmp_path, cells, "real", "imagenet", tmp_path / "cache")
    check_card(card)
    record = card.facts.folder / "model" / "model.json"
    record.write_text(record.read_text().replace('"near_duplicates"', '"other"'))
    with pytest.raises(SonoforgeError, match="lacks near_duplicates"):
        load_model(record.parent)
    rows = [f"{(name := path.relative_to(cells).as_posix())},of {name}" for path in sorted(cells.rglob("*.png"))]
    (cells / "groups.csv").write_text("\n".join(["file,group", *rows]) + "\n")
    try:
        check_card(trained(tmp_path, cells, "duplicates", "none", tmp_path / "cache"))
    finally:
        (cells / "groups.csv").unlink()
