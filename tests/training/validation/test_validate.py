"""External validation: figures of a bundle on labelled images, against scikit-learn on what ``classify`` says."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, roc_auc_score

from pages import Page, check_page
from program import base_install, refused, rows_of, succeed
from scans import write_set
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.phantom.dataset import write_phantom_set
from sonoforge.training.validation.figures import Answers, at_own_shares, read_meanings

CLASSES = ("normal", "benign", "malignant")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_set(tmp_path_factory.mktemp("elsewhere") / "scans", {"Benign": 12, "Malignant": 10})
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    groups = "".join(f"{name},{index // 2}\n" for index, name in enumerate(names))
    (root / "groups.csv").write_text("file,group\n" + groups)
    devices = "".join(f"{name},{'A' if index % 3 else 'B'}\n" for index, name in enumerate(names))
    (root / "metadata.csv").write_text("file,device\n" + devices)
    return root


def table(scans: Path, path: Path) -> Path:
    """The same images as a table with two labels of its own."""
    rows = []
    for file in sorted(scans.rglob("*.png")):
        rows.append((file.relative_to(path.parent), "sick" if "Malignant" in str(file) else "healthy", file.stem, ""))
    with path.open("w", newline="") as out:
        csv.writer(out).writerows([("file", "label", "patient", "device"), *rows])
    return path


def test_every_figure_follows_from_what_classify_says(scans: Path, tmp_path: Path) -> None:
    done = succeed("validate", "--external", f"Rio:{scans}", "--out", tmp_path)
    (found,) = done.json["collections"]
    said = {row["file"]: row for row in succeed("classify", scans, "--recursive").json["results"]}
    with (Path(done.json["run"]) / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 22 and found["images"] == {"Benign": 12, "Malignant": 10} and found["groups"] == 11
    for row in rows:
        own = said[str(scans / row["file"])]
        assert {name: float(row[f"p_{name}"]) for name in CLASSES} == pytest.approx(own["probabilities"])
        assert row["set"].split("; ") == own["set"] or (row["set"], own["set"]) == ("", [])
        assert row["causes"] == "; ".join(own["trust"]["causes"])
    p = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])
    truth = np.array([row["label"] == "Malignant" for row in rows])
    pair = found["auc"]["Malignant against Benign"]
    assert pair["value"] == pytest.approx(roc_auc_score(truth, p[:, 2] / (p[:, 1] + p[:, 2])))
    answers = np.array(["normal", "Benign", "Malignant"])[p.argmax(axis=1)]
    expected = confusion_matrix(np.where(truth, "Malignant", "Benign"), answers, labels=found["answers"])
    assert found["answers"] == ["Benign", "Malignant", "normal"]
    assert found["confusion"] == expected[:2].tolist()
    assert found["accuracy"]["value"] == pytest.approx(np.mean(answers == np.where(truth, "Malignant", "Benign")))
    caused = np.array([bool(row["causes"]) for row in rows])
    flags = {row["flag"]: row for row in found["flags"]}
    assert flags["any cause"]["images"] == caused.sum() if 0 < caused.sum() < 22 else "any cause" not in flags
    assert [place["name"] for place in found["devices"]] == ["A", "B"]
    assert "Rio: 12 Benign, 10 Malignant; 11 groups" in done.said


def test_labels_of_its_own_are_given_a_meaning(scans: Path, tmp_path: Path) -> None:
    path = table(scans, scans.parent / "labels.csv")
    given = ("--classes", "sick=malignant,healthy=normal+benign", "--out", tmp_path)
    done = succeed("validate", "--data", f"clinic:{path}", *given)
    (found,) = done.json["collections"]
    assert found["labels"] == {"healthy": ["normal", "benign"], "sick": ["malignant"]}
    with (Path(done.json["run"]) / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["p_malignant"]) for row in rows]
    area = roc_auc_score([row["label"] == "sick" for row in rows], scores)
    assert found["auc"]["sick against healthy"]["value"] == pytest.approx(area)
    assert found["answers"] == ["healthy", "sick"]
    assert "12 healthy = normal or benign, 10 sick = malignant" in done.said


def test_a_figure_without_images_has_no_interval(scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans / "Benign", tmp_path / "one" / "Benign")
    done = succeed("validate", "--data", f"one:{tmp_path / 'one'}", "--out", tmp_path / "runs")
    page = (Path(done.json["run"]) / "report.html").read_text(encoding="utf-8")
    assert "n/a" in page and not re.search(r"\[0\.0,\s100\.0\]", page)


def test_what_the_model_was_trained_on_is_left_out(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "BUSI" / "Dataset_BUSI_with_GT"
    root = write_set(tmp_path / "set", {"benign": 3, "malignant": 3})
    for name in ("benign", "malignant"):
        (root / name / "known.png").write_bytes((source / name / f"{name} (1).png").read_bytes())
    done = succeed("validate", "--data", root, "--out", tmp_path)
    (found,) = done.json["collections"]
    assert sorted(found["trained_on"]) == ["benign/known.png", "malignant/known.png"]
    assert sum(found["images"].values()) == 6 and (found["name"], found["search"]) == ("set", "thorough")
    assert "LEFT OUT: 2 images trained this network" in done.said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--data is missing: labelled images"),
        (("--data", "SCANS", "--data", "scans:SCANS"), "two collections are named 'scans'"),
        (("--external", "a:SCANS", "--data", "a:SCANS"), "two collections are named 'a'"),
        (("--external", "a:SCANS", "--classes", "x"), "'x' is not LABEL=CLASS"),
        (("--external", "a:SCANS", "--classes", "x=cyst"), "'cyst' is not one of normal, benign, malignant"),
        (("--external", "a:SCANS", "--classes", "Benign=malignant"), "'Malignant' and 'Benign' both mean malignant"),
        (("--external", "a:TABLE"), "the label 'healthy'"),
        (("--external", "a:EMPTY"), "none of its columns (nothing) names the image files"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    scans: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "EMPTY.csv").touch()
    places = {"EMPTY": tmp_path / "EMPTY.csv", "SCANS": scans, "TABLE": table(scans, scans.parent / "labels.csv")}
    given = list(arguments)
    for name, place in places.items():
        given = [text.replace(name, str(place)) for text in given]
    assert message in refused("validate", *given, "--out", tmp_path / "runs")


def test_meanings_come_in_the_order_of_the_classes() -> None:
    meanings = read_meanings(("lesion=benign+malignant",), ("lesion", "Normal"), CLASSES)
    assert list(meanings.items()) == [("Normal", ("normal",)), ("lesion", ("benign", "malignant"))]
    with pytest.raises(SonoforgeError, match="'tumour' and 'Benign' both mean benign"):
        read_meanings(("tumour=benign+malignant",), ("Benign", "tumour"), CLASSES)


def test_labels_mean_the_class_that_they_spell() -> None:
    assert read_meanings((), ("1.0", "0"), ("0.0", "1")) == {"0": ("0.0",), "1.0": ("1",)}
    assert read_meanings(("2=1+0.0",), ("2.0",), ("0.0", "1")) == {"2.0": ("1", "0.0")}
    with pytest.raises(SonoforgeError, match="'3' is none of the bundle's classes"):
        read_meanings((), ("3",), ("0.0", "1"))


def test_calibration_is_judged_at_the_collection_s_own_shares() -> None:
    """Answers that are right at equal shares and, by Bayes' theorem, at 9 to 1; merged classes add up first."""
    given = Answers(
        arm="bundle", protocol="single", seed=0, files=tuple("abcdefghij"), groups=np.arange(10),
        folds=np.zeros(10, int),
        labels=np.array([0] * 9 + [1]), probabilities=np.tile([0.5, 0.25, 0.25], (10, 1)), name="x",
        sets=np.ones((10, 3), bool), causes=((),) * 10,
    )  # fmt: skip
    merged = np.array([[1.0, 0], [0, 1], [0, 1]])  # the second label means two classes: 2/3 of equal shares
    odds = (0.5 / 0.5) * (0.9 / 0.1) * ((2 / 3) / (1 / 3))
    assert at_own_shares(given, merged)[:, 0] == pytest.approx(odds / (1 + odds))
    told = dataclasses.replace(given, prevalence=(0.9, 0.05, 0.05))
    assert at_own_shares(told, merged)[:, 0] == pytest.approx(0.5), "the answers were for these shares already"


# ---- without the packages of the extra


def _figures(found: Any) -> Any:
    """A collection's figures, rounded to nine decimals, without how it was searched."""
    kept = {key: value for key, value in found.items() if key not in ("search", "trained_on")}
    return json.loads(json.dumps(kept), parse_float=lambda text: round(float(text), 9))


@pytest.fixture(scope="module")
def both_ways(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Path]]:
    """Validate with all packages and with the base install; return what ``--json`` prints, and the run, of each."""
    folder = tmp_path_factory.mktemp("both")
    known = folder / "known"
    write_phantom_set(known, 40, 3)
    save_brighter(known / "benign" / "benign (1).png", known / "benign" / "again.png")
    with (known / "groups.csv").open("a") as file:
        file.write("benign/again.png,\n")
    given = ["--data", f"Rio:{scans}", "--data", known, "--out", folder / "runs", "--json"]
    whole, base = succeed("validate", *given).json, json.loads(base_install("validate", *given))
    return [(own, Path(own["run"])) for own in (whole, base)]


def save_brighter(source: Path, target: Path) -> None:
    """The same scan with another gain: other pixels."""
    pixels = np.asarray(Image.open(source)).astype(float)
    Image.fromarray(np.clip(1.1 * pixels, 0, 255).astype(np.uint8)).save(target)


def test_the_base_install_gives_the_same_answers_and_figures(both_ways: list[tuple[Any, Path]]) -> None:
    (whole, of_whole), (base, of_base) = both_ways
    assert rows_of(of_whole / "answers.csv") == rows_of(of_base / "answers.csv")
    for one, other in zip(whole["collections"], base["collections"], strict=True):
        assert (one["search"], other["search"]) == ("thorough", "at once")
        assert _figures(one) == _figures(other)
    known = {row["file"]: row["group"] for row in rows_of(of_base / "answers.csv") if row["collection"] == "known"}
    assert len(known) == 41 and known["benign/again.png"] == known["benign/benign (1).png"]
    written = json.loads((of_base / "results.json").read_text(encoding="utf-8"))
    assert written["collections"] == base["collections"]
    assert json.loads((of_base / "config.yaml").read_text(encoding="utf-8"))["data"][1].endswith("known")


def test_the_base_install_writes_the_page_and_says_what_it_left_out(both_ways: list[tuple[Any, Path]]) -> None:
    (_, of_whole), (_, of_base) = both_ways
    pages = [Page((run / "report.html").read_text(encoding="utf-8")) for run in (of_whole, of_base)]
    for page in pages:
        check_page(page)
    assert pages[0].tables == pages[1].tables
    assert [len(page.attributes("svg")) for page in pages] == [4, 0]
    log = (of_base / "log.txt").read_text(encoding="utf-8")
    for told in (pages[1].text, " ".join(log.split())):
        assert told.count("NOT THOROUGH") == told.count("[train]") == 2
    assert sum("install" in line and line.endswith("[train]'") for line in log.splitlines()) == 2
    assert "NOT THOROUGH" not in pages[0].text


def test_training_images_are_left_out_in_the_base_install_too(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "BUSI" / "Dataset_BUSI_with_GT"
    root = write_set(tmp_path / "set", {"benign": 3, "malignant": 3})
    for name in ("benign", "malignant"):
        (root / name / "known.png").write_bytes((source / name / f"{name} (1).png").read_bytes())
    said = json.loads(base_install("validate", "--data", root, "--out", tmp_path, "--json"))
    (found,) = said["collections"]
    assert sorted(found["trained_on"]) == ["benign/known.png", "malignant/known.png"]
    assert sum(found["images"].values()) == 6
