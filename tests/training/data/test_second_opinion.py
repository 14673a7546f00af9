"""All ways in: copies planted on two sides of a split stop the run and are named, whatever the split believed."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from corners import corners
from program import Finished, sonoforge, words
from scans import draw_scan, save, write_set
from small_run import CLASSIFIER, GENERATOR
from sonoforge.runtime.errors import GateError
from sonoforge.training.copies import near_duplicates, second_search
from sonoforge.training.copies.near_duplicates import NearDuplicates, find_near_duplicates
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.copies.second_search import SecondSearch
from sonoforge.training.crossval import folds, preparation
from sonoforge.training.crossval.fold_task import FoldTask
from sonoforge.training.data import second_opinion
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.second_opinion import check_plans, find_second_views
from sonoforge.training.data.split_plan import SplitPlan, read_plan
from sonoforge.training.data.splits import make_plan
from sonoforge.training.jobs import training

ORIGINAL, PLANTED = "a/scan (1).png", "b/planted.png"


def zoomed(scan: NDArray[np.uint8]) -> NDArray[np.uint8]:
    edge = len(scan) // 8
    return np.asarray(Image.fromarray(scan[edge:-edge, edge:-edge]).resize(scan.shape, Image.Resampling.BICUBIC))


COPIES = {"zoomed": zoomed, "equal": lambda scan: scan, "mirrored": lambda scan: scan[:, ::-1]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of six scans, and an enlarged copy of one scan in the other class."""
    root = write_set(tmp_path / "set", {"a": 6, "b": 6})
    save(root / PLANTED, zoomed(draw_scan(0)))
    return root


def blind_plan(cache: ImageCache, protocol: str, folds: int = 2, seed: int = 0, _: object = ()) -> SplitPlan:
    """Split as if nothing looked alike: the copy is apart from its original, and no group says otherwise."""
    names = tuple(item.path for item in cache.dataset.items)
    fold_of = [index % folds for index in range(len(names))]
    fold_of[names.index(ORIGINAL)], fold_of[names.index(PLANTED)] = 0, 1
    labels, groups = tuple(cache.dataset.labels.tolist()), tuple(range(len(names)))
    return SplitPlan(protocol, seed, folds, cache.fingerprint, names, cache.hashes, labels, groups, tuple(fold_of))


@pytest.fixture
def blind_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first search find nothing."""

    def nothing_alike(pictures: Sequence[Picture], *_: object) -> NearDuplicates:
        none = find_near_duplicates(pictures[:1])
        return dataclasses.replace(none, groups=np.arange(len(pictures)))

    monkeypatch.setattr(near_duplicates, "find_near_duplicates", nothing_alike)


@pytest.fixture
def blind(blind_search: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first search find nothing, and the folds part the copy from its original."""
    monkeypatch.setattr(preparation, "make_plan", blind_plan)
    monkeypatch.setattr(training, "make_plan", blind_plan)


def crossval(data: Path, *arguments: object) -> Finished:
    runs, cache = data.parent / "runs", data.parent / "cache"
    settings = [*words("--folds 2 --device cpu --jobs 1"), *CLASSIFIER, *GENERATOR, "--out", runs]
    settings += ["--set", f"cache.folder={cache}"]
    return sonoforge("crossval", "--data", data, *settings, *arguments)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("kind", corners(COPIES, "zoomed", "mirrored"))
def test_a_copy_that_the_split_does_not_see_stops_the_run(data: Path, kind: str) -> None:
    save(data / PLANTED, COPIES[kind](draw_scan(0)))
    foretold = crossval(data, "--dry-run")
    assert foretold.code == 0 and "the run will stop before any training" in foretold.err
    assert f"{ORIGINAL} (fold 0)" in foretold.err and f"{PLANTED} (fold 1)" in foretold.err
    assert not (data.parent / "runs").exists()
    stopped = crossval(data)
    assert stopped.code == 1
    (line,) = [line for line in stopped.err.splitlines() if "error" in line]
    assert f"{ORIGINAL} (fold 0)" in line and f"{PLANTED} (fold 1)" in line
    assert ("mirrored" in line) == (kind == "mirrored")
    assert "distinct.csv" in line and "groups.csv" in line
    (run,) = (data.parent / "runs").iterdir()
    assert str(run / "second-opinion.png") in line
    assert not (run / "folds").exists()  # nothing was trained
    with Image.open(run / "second-opinion.png") as sheet:  # one row of four pictures, the aligned ones alike
        pixels = np.asarray(sheet)[18:, : sheet.width // 4 * 4].astype(float)
    _, _, first, second = np.split(pixels, 4, axis=1)
    seen = second > 0
    assert np.corrcoef(first[seen], second[seen])[0, 1] > 0.9
    header, pair = (run / "second-opinion-distinct.csv").read_text().splitlines()
    assert header == "file,other" and set(pair.split(",")) == {ORIGINAL, PLANTED}


@pytest.mark.usefixtures("blind")
def test_train_refuses_what_its_held_out_images_give_away(data: Path) -> None:
    folder = data.parent
    settings = [*words("--set train.holdout=0.5 --device cpu"), *CLASSIFIER, "--out", folder / "runs"]
    settings += ["--set", f"cache.folder={folder / 'cache'}"]
    stopped = sonoforge("train", "--data", data, *settings)
    assert stopped.code == 1
    assert ORIGINAL in stopped.err and PLANTED in stopped.err


def test_a_generator_that_would_read_the_test_fold_is_stopped(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / PLANTED).unlink()
    (data / "b" / "scan (6).png").unlink()  # so that class b is filled up

    def leaking(task: FoldTask) -> NDArray[np.int64]:
        return np.arange(len(task.plan.files))

    monkeypatch.setattr(folds, "seen_by_generators", leaking)
    stopped = crossval(data, "--arms", "gan")
    assert stopped.code == 1
    assert "stage generator of b would train on its test fold" in stopped.err
    assert "the same file" in stopped.err


@pytest.mark.slow
@pytest.mark.usefixtures("blind")
def test_pairs_declared_distinct_pass_and_are_recorded(data: Path) -> None:
    (data / "distinct.csv").write_text(f"file,other\n{PLANTED},{ORIGINAL}\n")
    finished = crossval(data, "--arms", "real", "--json")
    assert finished.code == 0, finished.err
    results = finished.json
    opinion = results["split"]["second_opinion"]
    assert opinion["leaks"] == []
    (pair,) = opinion["distinct_by_hand"]
    assert {pair["file"], pair["other"]} == {ORIGINAL, PLANTED}
    assert pair["correlation"] > 0.8
    assert opinion == json.loads((Path(results["run"]) / "second-opinion.json").read_text())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one,two\n", "'file', 'other'"),
        ("file,other\na/scan (1).png,a/none.png\n", "line 2 names 'a/none.png'"),
        ("file,other\na/scan (1).png,a/scan (1).png\n", "twice"),
    ],
)
def test_a_wrong_distinct_csv_is_refused(data: Path, text: str, expected: str) -> None:
    (data / "distinct.csv").write_text(text)
    stopped = crossval(data, "--arms", "real")
    assert stopped.code == 2
    assert expected in stopped.err


def test_the_proposed_groups_are_the_remedy(data: Path) -> None:
    beside = "b/planted beside.png"  # a copy in its original's fold, which another split would part
    save(data / beside, zoomed(draw_scan(3)))
    names = [item.path for item in read_dataset(data).items]
    given = {"a/scan (2).png": "p1", "a/scan (1).png": "p2", "b/scan (3).png": "p2"}
    (data / "groups.csv").write_text("file,group\n" + "".join(f"{name},{given.get(name, '')}\n" for name in names))
    run, cache = data.parent / "run", open_cache(read_dataset(data), 32, data.parent / "cache")
    with pytest.raises(GateError, match="show one scan"):
        check_plans(run, cache, [blind_plan(cache, "sealed")], [])
    shutil.copy(run / "second-opinion-groups.csv", data / "groups.csv")
    with (data / "groups.csv").open() as file:
        groups = {row["file"]: row["group"] for row in csv.DictReader(file)}
    like = dict.fromkeys(("a/scan (4).png", beside), "like a/scan (4).png")
    assert groups == dict.fromkeys(names, "") | given | {PLANTED: "p2"} | like
    again = open_cache(read_dataset(data), 32, data.parent / "cache")
    opinion = check_plans(run, again, [make_plan(again, "sealed", 3)], [])
    assert opinion["leaks"] == []


@pytest.mark.usefixtures("blind_search")
def test_possible_second_views_are_shown_and_kept_in_one_fold(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_opinion, "ONE_SCAN", 0.999)  # the copy, enlarged, agrees a little less
    finished = crossval(data, "--arms", "real", "--json")
    assert finished.code == 0, finished.err
    run = Path(finished.json["run"])
    (line,) = [line for line in finished.err.splitlines() if "second views" in line]
    assert "1 pair" in line and "stay in one fold" in line and str(run / "second-opinion.png") in line
    opinion, groups = finished.json["split"]["second_opinion"], finished.json["split"]["groups"]
    assert groups == 12  # of 13 images
    for path in run.glob("splits*.json"):
        plan = read_plan(path)
        assert len({plan.fold_of[plan.files.index(name)] for name in (ORIGINAL, PLANTED)}) == 1
    assert opinion["leaks"] == [] == opinion["distinct_by_hand"]
    (pair,) = opinion["possible_second_views"]
    assert {pair["file"], pair["other"]} == {ORIGINAL, PLANTED} and 0.6 < pair["correlation"] < 0.999
    with Image.open(run / "second-opinion.png") as sheet:
        assert sheet.height < 300  # one row
    shutil.copy(run / "second-opinion-distinct.csv", data / "distinct.csv")
    assert find_second_views(open_cache(read_dataset(data), 32, data.parent / "cache")) == []


def test_thesis_says_what_leaks_and_goes_on(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = open_cache(read_dataset(data), 32, data.parent / "cache")
    opinion = check_plans(data.parent, cache, [blind_plan(cache, "thesis")], [])
    assert [{pair["file"], pair["other"]} for pair in opinion["leaks"]] == [{ORIGINAL, PLANTED}]
    assert "show one scan" in caplog.text


def recall(cache: ImageCache, groups: NDArray[np.int64]) -> SecondSearch:
    return second_search.search_again(cache.pictures, cache.hashes, cache.store, groups)


def test_what_was_found_is_remembered_until_groups_come_apart(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = open_cache(read_dataset(data), 32, data.parent / "cache")
    apart = np.arange(len(cache.hashes))
    joined = apart.copy()
    joined[1] = joined[0]
    first = recall(cache, joined)

    def no_search(*_: object) -> None:
        raise AssertionError("searched again")

    with monkeypatch.context() as patched:
        patched.setattr(second_search, "find_repeated", no_search)
        again = recall(cache, joined)
        for kept, found in zip(again.matches, first.matches, strict=True):
            for one, other in zip(kept, found, strict=True):
                np.testing.assert_array_equal(one, other)  # also nan
        assert recall(cache, np.zeros_like(apart)).matches == []  # coarser groups
        with pytest.raises(AssertionError, match="searched again"):
            recall(cache, apart)
        other = dataclasses.replace(cache, hashes=cache.hashes[::-1])
        with pytest.raises(AssertionError, match="searched again"):
            recall(other, joined)
    assert cache.store is not None
    (file,) = cache.store.glob("second-search*/*")
    file.write_bytes(file.read_bytes()[:-20])
    assert len(recall(cache, joined).matches) == len(first.matches)
