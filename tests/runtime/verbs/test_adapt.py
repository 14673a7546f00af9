"""``sonoforge adapt``: a site bundle there and back, what it refuses, and what it says."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundle_factory as factory
from program import refused, sonoforge, succeed
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic
from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.jobs import adapting

SCANS = 90


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, classifier: Classifier) -> dict[str, dict[str, float]]:
    """Scans, and the probabilities of equally frequent classes for each."""
    folder = factory.write_scans(tmp_path_factory.mktemp("scans"), range(SCANS))
    files = [str(folder / f"{seed}.png") for seed in range(SCANS)]
    return {file: classifier.classify(file).probabilities for file in files}


def called(answered: dict[str, dict[str, float]]) -> dict[str, str]:
    """The label of each scan where all classes are equally frequent."""
    return {file: max(row, key=row.__getitem__) for file, row in answered.items()}


def write_csv(path: Path, labels: dict[str, str], groups: dict[str, str] | None = None) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "label", "group"])
        rows.writerows([file, label, (groups or {}).get(file, "")] for file, label in labels.items())
    return path


@pytest.fixture(scope="module")
def gained(answered: dict[str, dict[str, float]]) -> dict[str, str]:
    """A clinic that counting shares helps: five scans in six are normal, and the network calls few of them that."""
    said = called(answered)
    assert list(said.values()).count("normal") < SCANS / 4
    return {file: "normal" if i % 6 else label for i, (file, label) in enumerate(said.items())}


def test_a_site_bundle_answers_as_was_measured_and_keeps_the_network(
    bundle: Path, answered: dict[str, dict[str, float]], gained: dict[str, str], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    said = succeed("adapt", bundle, "--data", write_csv(tmp_path / "ours.csv", gained), "--out", site).json
    assert said["site_bundle"] == str(site) and sum(said["scans"].values()) == SCANS
    before, after = open_bundle(bundle), open_bundle(site)
    for name in before.manifest.files:
        assert ((site / name).read_bytes() == (bundle / name).read_bytes()) is (name != "MODEL_CARD.md")
    assert after.manifest.site
    counts = {name: list(gained.values()).count(name) for name in factory.CLASSES}
    assert after.manifest.site.scans == counts == said["scans"]
    assert after.manifest.site.prevalence == pytest.approx(
        {name: (count + 0.5) / (SCANS + 1.5) for name, count in counts.items()}
    )
    raw = after.manifest.raw["site"]
    assert raw["manifest_sha256"] == before.manifest_sha256
    assert raw["original"]["thresholds"] == before.manifest.raw["conformal"]["thresholds"]
    accuracy = {
        path: np.mean([Classifier(path).classify(file).label == gained[file] for file in gained])
        for path in (bundle, site)
    }
    assert accuracy[bundle] == pytest.approx(said["figures"]["accuracy"]["before"], abs=1e-4)
    assert accuracy[site] > accuracy[bundle] and said["verdict"] == "better"
    here, thresholds = Classifier(site), after.manifest.thresholds
    for file in list(gained)[:20]:  # sets do not depend on the prevalence asked for, but on the site's
        own, other = here.classify(file), Classifier(site, asked=AtClinic("screening")).classify(file)
        fitting = {name for name, p in own.probabilities.items() if p >= thresholds[name]}
        for found in (own, other):
            more = set(found.set) - fitting - {found.label}  # a lesion that is not ruled out
            assert fitting <= set(found.set) and (
                not more or (fitting | {found.label} == {"normal"} and len(more) == 1)
            )
    assert sonoforge("verify", site).code == 0
    one = next(iter(answered))
    there = succeed("classify", one, "--bundle", site).json
    assert there["clinic"]["prevalence"] == pytest.approx(said["prevalence"])
    as_before = succeed("classify", one, "--bundle", site, "--prevalence", "normal=.34,benign=.33,malignant=.33").json
    assert as_before["clinic"]["prevalence"]["normal"] == pytest.approx(0.34)
    assert "original" in refused("adapt", site, "--data", tmp_path / "ours.csv", "--out", tmp_path / "again")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory, bundle: Path, gained: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("adapted")
    succeed("adapt", bundle, "--data", write_csv(folder / "ours.csv", gained), "--out", folder / "site")
    return folder / "site"


def test_a_golden_label_that_differs_is_noticed(adapted: Path, tmp_path: Path) -> None:
    site = Path(shutil.copytree(adapted, tmp_path / "site"))

    def other(manifest: dict[str, dict[str, list[str]]]) -> None:
        golden = manifest["site"]["golden"]
        golden[0] = next(name for name in factory.CLASSES if name != golden[0])

    factory.edit_manifest(site, other)
    done = sonoforge("verify", site, "--json")
    assert done.code == 1 and any("site" in problem for problem in done.json["problems"])


def test_nothing_is_written_where_it_would_do_harm(
    bundle: Path, answered: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    """All labels are as the bundle says, and the few of one class nearly were of the other: counting loses them."""
    said, site = called(answered), tmp_path / "site"
    normal, others = ([file for file in said if (said[file] == "normal") is own] for own in (True, False))
    said = {file: said[file] for file in normal + others[: 7 * len(normal)]}
    assert 5 <= len(normal) <= len(said) / 8
    done = sonoforge("adapt", bundle, "--data", write_csv(tmp_path / "a.csv", said), "--out", site, "--json")
    assert done.code == 1 and done.json["verdict"] == "worse" and done.json["site_bundle"] is None
    assert done.json["figures"]["accuracy"]["change"][2] < 0
    assert not site.exists()


def test_class_folders_and_copies_and_scans_without_a_class(
    bundle: Path, gained: dict[str, str], tmp_path: Path
) -> None:
    ours = tmp_path / "ours"
    for name in (*factory.CLASSES, "unlabelled"):
        (ours / name).mkdir(parents=True)
    for number, (file, label) in enumerate(gained.items()):
        shutil.copy(file, ours / label / f"{number}.png")
    shutil.copy(file, ours / "unlabelled" / "x.png")
    shutil.copy(file, ours / label / "copy.png")
    done = succeed("adapt", bundle, "--data", ours, "--out", tmp_path / "site")
    assert sum(done.json["scans"].values()) == SCANS + 1
    assert done.json["groups"] == SCANS and done.json["unlabelled"] == 1
    assert len(done.out.splitlines()) <= 40
    assert "Research use, not a medical device" in done.said and "change, 95 % by patient" in done.said


def test_the_card_says_what_was_adapted_on_which_scans(bundle: Path, gained: dict[str, str], tmp_path: Path) -> None:
    original, site = Path(shutil.copytree(bundle, tmp_path / "original")), tmp_path / "site"
    card = b"# A model\n\nFor tests.\n\n## Data\n\nNone.\n\n## Limits\n\nMany.\n"
    factory.replace_file(original, "MODEL_CARD.md", card)
    groups = {file: f"patient {i // 3}" for i, file in enumerate(gained)}
    said = succeed("adapt", original, "--data", write_csv(tmp_path / "a.csv", gained, groups), "--out", site).json
    first, section, *rest = (site / "MODEL_CARD.md").read_text(encoding="utf-8").split("\n## ")
    assert first.strip() == "# A model\n\nFor tests." and [part.split("\n")[0] for part in rest] == ["Data", "Limits"]
    assert section.startswith("Adapted to one site") and "not a medical device" in section
    assert f"{SCANS} labelled scans" in section and f"{SCANS // 3} patients" in section
    for name, row in said["figures"].items():
        figures = [row["before"], row["after"], *row["change"]]
        if None not in figures:
            before, after, change, low, high = figures
            assert f"| {name} | {before:.2f} | {after:.2f} | {change:+.2f} [{low:+.2f}, {high:+.2f}] |" in section
    assert sonoforge("verify", site).code == 0


def test_scans_with_and_without_a_class_tell_how_far_out_the_clinic_s_lie(
    bundle: Path, gained: dict[str, str], tmp_path: Path
) -> None:
    """A third of the scans lies beyond the training's limit; of the same kind, half have no label."""
    original = tmp_path / "original"
    shutil.copytree(bundle, original)
    own = Classifier(bundle)
    distances = {file: own.classify(file).trust.distance for file in gained}
    limit = float(np.quantile(list(distances.values()), 2 / 3))

    def nearer(manifest: dict[str, Any]) -> None:
        manifest["trust"] |= {"median": 0.5 * limit, "threshold": limit}
        manifest["trust"]["checks"]["neighbours"]["threshold"] = 1e3

    factory.edit_manifest(original, nearer)
    labels = {file: label if i < SCANS // 2 else "" for i, (file, label) in enumerate(gained.items())}
    data = write_csv(tmp_path / "ours.csv", labels)
    said = succeed("adapt", original, "--data", data, "--out", tmp_path / "site").json
    assert sum(said["scans"].values()) == said["unlabelled"] == SCANS // 2
    fit = [file for file in gained if not {Cause.POOR_SCAN, Cause.NOT_ONE_SCAN} & set(own.classify(file).trust.causes)]
    times = sorted(distances[file] / limit for file in fit)
    expected = times[min(len(fit), math.ceil(0.95 * (len(fit) + 1))) - 1]
    assert said["trust"] == {
        "limit": pytest.approx(min(expected, 1.5)),
        "scans": len(fit),
        "before": pytest.approx(np.mean([time > 1 for time in times])),
        "after": pytest.approx(0.05, abs=0.03),
    }
    unlike = {
        path: [Cause.UNLIKE_TRAINING in Classifier(path).classify(file).trust.causes for file in fit]
        for path in (original, tmp_path / "site")
    }
    assert np.mean(unlike[original]) == pytest.approx(said["trust"]["before"])
    assert np.mean(unlike[tmp_path / "site"]) <= 0.05 < 0.2 < said["trust"]["before"]


def test_what_became_of_each_scan_is_said_by_name(bundle: Path, gained: dict[str, str], tmp_path: Path) -> None:
    """Of 41 files, one cannot be read and one repeats another, brighter; one class has a folder, but no scan."""
    ours = tmp_path / "ours"
    for name in factory.CLASSES:
        (ours / name).mkdir(parents=True)
    for number, file in enumerate(list(gained)[:39]):
        shutil.copy(file, ours / ("benign", "normal")[number % 2] / f"{number}.png")
    shutil.copy(ours / "benign" / "0.png", ours / "benign" / "again.png")
    (ours / "normal" / "cut.png").write_bytes((ours / "normal" / "1.png").read_bytes()[:99])
    (ours / "normal" / "notes.txt").write_text("none")
    done = sonoforge("adapt", bundle, "--data", ours, "--out", tmp_path / "site", "--json")
    said = done.json
    assert said["scans"] == {"normal": 19, "benign": 21, "malignant": 0} and said["groups"] == 39
    assert [entry["file"] for entry in said["failed"]] == [str(ours / "normal" / "cut.png")]
    assert said["repeats"] == {str(ours / "benign" / "again.png"): str(ours / "benign" / "0.png")}
    assert said["missing"] == ["malignant"] and said["skipped"] == {"text": 1}
    told = " ".join(done.said.split())
    for words in (
        "1 cannot be read",
        "cut.png: ",
        "benign/again.png as benign/0.png",
        "1 text",
        "NO SCAN IS malignant",
    ):
        assert words in told
    assert f"{said['prevalence']['malignant']:.1%}" in told


Row = tuple[float, float, float, float]  # before, after, and the ends of the change


@pytest.mark.parametrize(
    ("accuracy", "single", "sets", "better", "worse", "expected"),
    [
        ((0.825, 0.8, -0.1, 0.05), (0.17, 0.7, 0.3, 0.7), (0.97, 0.9, -0.15, 0), [], [], "LOSS trade open"),
        ((0.8, 0.7, -0.2, -0.01), (0.5, 0.4, -0.2, 0), (0.9, 0.95, 0, 0.1), [], ["accuracy"], "LOSS trade none"),
        ((0.6, 0.8, 0.1, 0.3), (0.5, 0.6, 0, 0.2), (0.9, 0.95, 0, 0.1), ["accuracy"], [], "gain new"),
        ((0.8, 0.8, -0.1, 0.1), (0.5, 0.5, 0, 0), (0.9, 0.9, 0, 0), ["a"], ["b"], "both"),
        ((0.8, 0.825, -0.1, 0.1), (0.5, 0.5, 0, 0), (0.9, 0.8, -0.2, -0.1), [], ["b"], "gain old"),
    ],
)
def test_a_loss_and_a_trade_are_called_so_and_the_advice_follows(
    accuracy: Row, single: Row, sets: Row, better: list[str], worse: list[str], expected: str
) -> None:
    def row(before: float, after: float, low: float, high: float) -> dict[str, Any]:
        return {"before": before, "after": after, "change": [after - before, low, high]}

    answers = {
        "scans": {"normal": 0, "benign": 20, "malignant": 20},
        **{"missing": [], "trained_files": [], "better": better, "worse": worse},
        "figures": {"accuracy": row(*accuracy), "sets of one class": row(*single), "coverage of sets": row(*sets)},
        "site_bundle": None if "none" in expected else "site",
    }
    said = " ".join(adapting.meaning_in_words(answers))
    assert f"{round(40 * accuracy[0])} of 40 scans before, {round(40 * accuracy[1])} after" in said
    assert ("LOSS" in said, "a gain" in said) == ("LOSS" in expected, "gain" in expected)
    assert ("may be chance" in said) == (accuracy[2] <= 0 <= accuracy[3])
    assert ("THE TRADE" in said) == ("trade" in expected)
    advice = {"open": "KEEP", "none": "KEEP", "old": "KEEP", "new": "USE THE NEW BUNDLE:", "both": "ONLY if"}
    assert advice[expected.rsplit(maxsplit=1)[-1]] in said
    seen = " ".join(adapting.meaning_in_words({**answers, "trained_files": ["x"] * 30, "site_bundle": "site"}))
    assert "KEEP THE ORIGINAL: most of these scans trained the network" in seen


def test_labels_count_in_any_spelling_and_where_there_are_any(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cells = ("benign", "BENIGN ", "ｎｏｒｍａｌ", "NA", "nan", "", "None")
    data = write_csv(tmp_path / "a.csv", {f"{i}.png": cell for i, cell in enumerate(cells)})
    labels, _, _ = adapting.read_scans(data, ("normal", "benign"))
    assert [*labels.values()] == ["benign", "benign", "normal", "", "", "", ""]
    assert "'NA' or 'nan' or 'None' counts as no label (rows: 3)" in caplog.text
    data = write_csv(tmp_path / "b.csv", {"a.png": "0.0", "b.png": "1", "c.png": "01"})
    assert [*adapting.read_scans(data, ("0", "1.0"))[0].values()] == ["0", "1.0", "1.0"]


def test_a_folder_of_one_class_inside_another_is_refused(bundle: Path, tmp_path: Path) -> None:
    for name in ("benign", "malignant", "benign/normal"):
        factory.write_scans(tmp_path / "ours" / name, [len(name)])
    line = refused("adapt", bundle, "--data", tmp_path / "ours", "--out", tmp_path / "site")
    assert "benign/normal: is the folder of a class inside that of another" in line


def test_what_cannot_be_fitted_is_refused_in_one_line(bundle: Path, gained: dict[str, str], tmp_path: Path) -> None:
    few = write_csv(tmp_path / "few.csv", dict(list(gained.items())[:4]))
    absent = {f"{i}.png": "benign" if i % 2 else "malignant" for i in range(12)}
    (tmp_path / "folders" / "bening").mkdir(parents=True)
    (tmp_path / "headless.csv").write_text("a.png,benign\n", encoding="utf-8")
    (tmp_path / "taken").mkdir()
    command, out = ("adapt", bundle), ("--out", tmp_path / "site")
    assert "--data is missing" in refused(*command, *out)
    assert "another folder" in refused(*command, "--data", few, "--out", tmp_path / "taken")
    for data, words in (
        (tmp_path / "nowhere", "nowhere"),
        (few, "at least 10"),
        (write_csv(tmp_path / "wrong.csv", dict.fromkeys(gained, "beningn")), "benign"),
        (tmp_path / "folders", "benign"),
        (tmp_path / "headless.csv", "file,label"),
    ):
        assert words in refused(*command, "--data", data, *out)
    for data, count in ((few, 4), (write_csv(tmp_path / "absent.csv", absent), 0)):
        said = sonoforge(*command, "--data", data, *out)
        assert f"has {count} labelled scans" in said.err and "answering" not in said.err
        assert ("12 cannot be read" in said.err) == (count == 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prevalence", {"normal": 0.5, "benign": 0.5, "malignant": 0.5}),
        ("scans", {"normal": -1, "benign": 0, "malignant": 3}),
        ("moved", ["cyst"]),
        ("golden", ["cyst"]),
        ("reach", 3.0),
        ("manifest_sha256", "x"),
    ],
)
def test_a_site_that_makes_no_sense_is_refused(adapted: Path, tmp_path: Path, key: str, value: object) -> None:
    site = Path(shutil.copytree(adapted, tmp_path / "site"))
    factory.edit_manifest(site, lambda manifest: manifest["site"].update({key: value}))
    assert f"site.{key}" in refused("classify", tmp_path, "--bundle", site)
