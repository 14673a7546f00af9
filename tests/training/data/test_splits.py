"""Split plans: balanced, grouped, bound to their data; and the guard that nothing planted gets past."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from scans import draw_scan, save, write_set
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.load import read_collections
from sonoforge.training.data.selection import draw_share
from sonoforge.training.data.split_plan import SplitPlan, read_plan, save_plan
from sonoforge.training.data.splits import check_sealed, leaked_images, make_plan
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, OFFICIAL

FOLDS = 4


def opened(root: Path) -> ImageCache:
    return open_cache(read_dataset(root), 32, root.parent / "cache")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    """24 + 16 + 12 images; some repeated, some grouped by patient, one repeated across classes."""
    root = write_set(tmp_path_factory.mktemp("splits") / "set", {"a": 20, "b": 14, "c": 11})
    for number in range(1, 5):
        scan = draw_scan(number - 1)
        save(root / "a" / f"copy ({number}).png", (scan * 0.8 + 20).astype(np.uint8))
    save(root / "b" / "copy (1).png", draw_scan(20)[:, ::-1])
    save(root / "b" / "copy (2).png", draw_scan(34))  # the first scan of class c
    save(root / "c" / "copy (1).png", draw_scan(35))
    names = [item.path for item in read_dataset(root).items]
    groups = {"a/scan (19).png": "p1", "a/scan (20).png": "p1", "b/scan (14).png": "p1", "c/scan (11).png": "p2"}
    (root / "groups.csv").write_text("file,group\n" + "".join(f"{name},{groups.get(name, '')}\n" for name in names))
    return opened(root)


def by_name(cache: ImageCache, name: str) -> int:
    return [item.path for item in cache.dataset.items].index(name)


@pytest.mark.parametrize("protocol", ["sealed", "thesis"])
def test_every_image_is_tested_once_and_never_trained_on_in_its_fold(cache: ImageCache, protocol: str) -> None:
    plan = make_plan(cache, protocol, FOLDS, seed=3)
    tested = np.concatenate([plan.test(fold) for fold in range(FOLDS)])
    assert sorted(tested.tolist()) == list(range(len(cache.hashes)))
    for fold in range(FOLDS):
        assert not set(plan.test(fold).tolist()) & set(plan.train(fold).tolist())
        assert len(plan.test(fold)) + len(plan.train(fold)) == len(cache.hashes)
        shares = np.bincount(cache.dataset.labels[plan.test(fold)], minlength=3) / np.bincount(cache.dataset.labels)
        assert np.abs(shares - 1 / FOLDS).max() < 0.17


def test_a_single_split_tests_a_fifth_of_each_class_and_seeds_repeat_it(cache: ImageCache, tmp_path: Path) -> None:
    plans = [make_plan(cache, "single", 1, seed) for seed in (0, 1)]
    for plan in plans:
        assert sorted([*plan.test(0), *plan.train(0)]) == list(range(len(cache.hashes)))
        assert plan.tested.tolist() == plan.test(0).tolist()
        counts = np.bincount(cache.dataset.labels[plan.test(0)])
        assert np.abs(counts - 0.2 * np.bincount(cache.dataset.labels)).max() <= 1
        save_plan(tmp_path / "splits.json", plan)
        assert read_plan(tmp_path / "splits.json") == plan
    assert set(plans[0].test(0).tolist()) != set(plans[1].test(0).tolist())
    untested_in_folds = dataclasses.replace(plans[0], protocol="thesis")
    save_plan(tmp_path / "splits.json", untested_in_folds)
    with pytest.raises(SonoforgeError, match="is in fold -1"):
        read_plan(tmp_path / "splits.json")
    for protocol, folds in (("single", 5), ("official", 2), ("sealed", 1), ("thesis", 0)):
        with pytest.raises(SonoforgeError, match=f"folds: {protocol} cannot have {folds}"):
            make_plan(cache, protocol, folds)


@pytest.mark.slow
def test_a_single_split_of_busi_tests_as_many_images_as_the_existing_app(shared: Path, tmp_path: Path) -> None:
    cache = open_cache(read_dataset(shared / "data" / "BUSI"), 32, tmp_path)
    assert len(make_plan(cache, "single", 1).tested) == 156  # figure 12c of the MSc thesis


def test_the_published_split_of_a_set_is_tested_as_one_fold_wherever_it_is_written(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", {"benign": 6, "malignant": 4})
    names = [item.path for item in read_dataset(root).items]
    tested = set(names[::3])
    with pytest.raises(SonoforgeError, match=r"column split .*nothing"):
        make_plan(opened(root), OFFICIAL)
    for table in ("metadata.csv", "groups.csv"):
        lines = [f"{name},{name},{'test' if name in tested else 'train'}\n" for name in names]
        (root / table).write_text("file,group,split\n" + "".join(lines))
        plan = make_plan(opened(root), OFFICIAL)
        assert {plan.files[index] for index in plan.test(0)} == tested and plan.folds == 1
        assert {plan.files[index] for index in plan.train(0)} == set(names) - tested
        (root / table).unlink()
    lines = [f"{name},{'test' if name.startswith('benign') else 'train'}\n" for name in names]
    (root / "metadata.csv").write_text("file,split\n" + "".join(lines))
    with pytest.raises(SonoforgeError, match=r"class benign: .*test part"):
        make_plan(opened(root), OFFICIAL)


def test_sealed_folds_never_split_copies_patients_or_chains_of_both(cache: ImageCache) -> None:
    together = [
        ["a/scan (1).png", "a/copy (1).png"],
        ["b/scan (1).png", "b/copy (1).png"],
        ["c/scan (1).png", "b/copy (2).png"],
        ["a/scan (19).png", "a/scan (20).png", "b/scan (14).png"],
    ]
    for seed in range(5):
        plan = make_plan(cache, "sealed", FOLDS, seed)
        for names in together:
            indices = [by_name(cache, name) for name in names]
            assert len({plan.fold_of[i] for i in indices}) == 1
            assert len({plan.groups[i] for i in indices}) == 1
        assert all(len(leaked_images(plan, fold, cache)) == 0 for fold in range(FOLDS))
        assert len(set(plan.groups)) == 52 - 7 - 2


def test_thesis_folds_split_copies_and_the_leak_is_counted(cache: ImageCache) -> None:
    plan = make_plan(cache, "thesis", FOLDS, seed=0)
    copies = [(f"a/scan ({n}).png", f"a/copy ({n}).png") for n in range(1, 5)]
    copies += [("b/scan (1).png", "b/copy (1).png"), ("c/scan (1).png", "b/copy (2).png")]
    copies += [("c/scan (2).png", "c/copy (1).png")]
    pairs = [(by_name(cache, a), by_name(cache, b)) for a, b in copies]
    expected = {i for pair in pairs for i in pair if plan.fold_of[pair[0]] != plan.fold_of[pair[1]]}
    counted = {int(i) for fold in range(FOLDS) for i in leaked_images(plan, fold, cache)}
    assert counted == expected
    assert counted


def test_each_collection_is_left_out_with_all_that_it_shares(cache: ImageCache, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    for index, name in enumerate(("a", "b", "c")):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            save(folder / name / f"{number}.png", draw_scan(100 + 3 * index + number))
    shutil.copy(cache.dataset.file("b/scan (2).png"), folder / "b" / "again.png")
    pooled = open_cache(read_collections([cache.dataset.root, folder]), 32, tmp_path / "cache")
    plan = make_plan(pooled, LEAVE_ONE_OUT)
    assert plan.folds == 2 and plan.tested.tolist() == list(range(len(pooled.hashes)))
    assert {plan.files[i].split("/")[0] for i in plan.test(1)} == {"other"}
    read = {plan.files[i] for i in plan.train(1)}
    assert all(not file.startswith("other/") for file in read)
    shared = {plan.groups[i] for i in plan.test(1)}
    left_out = {file for file, group in zip(plan.files, plan.groups, strict=True) if group in shared}
    assert f"{cache.dataset.name}/b/scan (2).png" in left_out and not left_out & read
    for fold in range(2):
        check_sealed(plan, fold, "classifier", plan.train(fold), pooled)
        assert len(leaked_images(plan, fold, pooled)) == 0
    with pytest.raises(GateError, match="leave-one-collection-out: fold 1, stage classifier would train on its test"):
        check_sealed(plan, 1, "classifier", [plan.files.index(f"{cache.dataset.name}/b/scan (2).png")], pooled)
    with pytest.raises(SonoforgeError, match="one collection"):
        make_plan(cache, LEAVE_ONE_OUT)
    with pytest.raises(SonoforgeError, match=r"folds: leave-one-collection-out .*2 collections, not 3"):
        make_plan(pooled, LEAVE_ONE_OUT, 3)


def test_plans_depend_on_the_seed_alone(cache: ImageCache) -> None:
    assert make_plan(cache, "sealed", FOLDS, 1) == make_plan(cache, "sealed", FOLDS, 1)
    assert make_plan(cache, "sealed", FOLDS, 1).fold_of != make_plan(cache, "sealed", FOLDS, 2).fold_of


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"protocol": "open"}, "protocol: .*sealed or plain or thesis or single or leave-one-collection-out"),
        ({"folds": 1}, "folds: sealed cannot have 1"),
        ({"folds": 13}, r"class c has too few images .12 in 11 groups. for 13 folds.*use 11 folds"),
    ],
)
def test_impossible_plans_are_refused(cache: ImageCache, change: dict[str, object], expected: str) -> None:
    with pytest.raises(SonoforgeError, match=expected):
        make_plan(cache, **({"protocol": "sealed", "folds": FOLDS} | change))  # type: ignore[arg-type]


def test_a_fold_that_is_not_there_is_refused(cache: ImageCache) -> None:
    plan = make_plan(cache, "sealed", FOLDS)
    for fold in (-1, FOLDS):
        with pytest.raises(SonoforgeError, match=f"0 to {FOLDS - 1}"):
            plan.test(fold)


# ---- the guard, against plans that somebody has spoiled


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", {"a": 8, "b": 8})


def plant(root: Path, kind: str) -> None:
    """Put an altered copy of a/scan (1).png into class b."""
    scan = draw_scan(0)
    target = root / "b" / "planted.png"
    if kind == "byte-identical":
        target.write_bytes((root / "a" / "scan (1).png").read_bytes())
    elif kind == "brightness":
        save(target, (scan * 0.8 + 20).astype(np.uint8))
    elif kind == "mirrored":
        save(target, scan[:, ::-1])
    elif kind == "shifted":
        save(target, np.roll(scan, (6, 4), (0, 1)))


def spoiled_plan(cache: ImageCache, protocol: str) -> tuple[SplitPlan, int, int]:
    """Return a plan whose file was edited: the planted image is its own group, in another fold than its original."""
    plan = make_plan(cache, protocol, 2)
    planted, original = by_name(cache, "b/planted.png"), by_name(cache, "a/scan (1).png")
    groups, fold_of = list(plan.groups), list(plan.fold_of)
    groups[planted] = max(groups) + 1
    fold_of[original], fold_of[planted] = 0, 1
    return dataclasses.replace(plan, groups=tuple(groups), fold_of=tuple(fold_of)), planted, original


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("byte-identical", "same pixels"),
        ("brightness", "near-duplicate, r=1.00"),
        ("mirrored", ", mirrored)"),
        ("shifted", "near-duplicate, r=1.00"),
    ],
)
def test_sealed_refuses_a_planted_copy_of_a_test_image_and_names_both(clean: Path, kind: str, reason: str) -> None:
    plant(clean, kind)
    cache = opened(clean)
    plan, planted, original = spoiled_plan(cache, "sealed")
    with pytest.raises(GateError) as caught:
        check_sealed(plan, 0, "generator of b", plan.train(0), cache)
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "fold 0, stage generator of b" in message
    assert "b/planted.png matches test image a/scan (1).png" in message
    assert reason in message
    assert "\n" not in message
    with pytest.raises(GateError):  # and the other way round
        check_sealed(plan, 1, "classifier", plan.train(1), cache)
    innocent = plan.train(0)[plan.train(0) != planted]
    check_sealed(plan, 0, "classifier", innocent, cache)
    # An honest plan of the same images passes, and thesis only counts what leaks.
    honest = make_plan(cache, "sealed", 3)
    for fold in range(3):
        check_sealed(honest, fold, "classifier", honest.train(fold), cache)
    plan, planted, original = spoiled_plan(cache, "thesis")
    check_sealed(plan, 0, "classifier", np.arange(len(plan.files)), cache)
    assert (leaked_images(plan, 0, cache).tolist(), leaked_images(plan, 1, cache).tolist()) == ([original], [planted])


def test_sealed_refuses_the_test_images_themselves(clean: Path) -> None:
    cache = opened(clean)
    plan = make_plan(cache, "sealed", 2)
    test = plan.test(0)
    with pytest.raises(GateError, match=r"the same file.*and \d+ more"):
        check_sealed(plan, 0, "generator of a", np.arange(len(plan.files)), cache)
    with pytest.raises(GateError, match="the same file"):
        check_sealed(plan, 0, "generator of a", [*plan.train(0), test[0]], cache)


def test_sealed_refuses_one_patient_on_both_sides_even_if_the_plan_forgot_him(clean: Path) -> None:
    names = [item.path for item in read_dataset(clean).items]
    groups = {"a/scan (1).png": "p1", "b/scan (3).png": "p1"}
    (clean / "groups.csv").write_text("file,group\n" + "".join(f"{n},{groups.get(n, '')}\n" for n in names))
    cache = opened(clean)
    plan = make_plan(cache, "sealed", 2)
    first, second = by_name(cache, "a/scan (1).png"), by_name(cache, "b/scan (3).png")
    fold_of, singles = list(plan.fold_of), tuple(range(len(plan.files)))
    fold_of[first], fold_of[second] = 0, 1
    edited = dataclasses.replace(plan, fold_of=tuple(fold_of), groups=singles)
    with pytest.raises(GateError, match=r"b/scan \(3\).png matches test image a/scan \(1\).png \(same given group"):
        check_sealed(edited, 0, "classifier", edited.train(0), cache)


def test_sealed_refuses_images_that_only_the_plan_groups(clean: Path) -> None:
    cache = opened(clean)
    plan = make_plan(cache, "sealed", 2)
    a, b = int(plan.test(0)[0]), int(plan.train(0)[0])
    groups = list(plan.groups)
    groups[b] = groups[a]
    with pytest.raises(GateError, match="same group"):
        check_sealed(dataclasses.replace(plan, groups=tuple(groups)), 0, "classifier", plan.train(0), cache)


def test_the_guard_refuses_a_plan_of_other_images(clean: Path, cache: ImageCache) -> None:
    with pytest.raises(SonoforgeError, match="made for other images"):
        check_sealed(make_plan(cache, "sealed", FOLDS), 0, "classifier", [0], opened(clean))


# ---- images that all share an outline


def outline_set(root: Path, with_groups: bool) -> Path:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = (x**2 + y**2 < 0.8) * 150
    lines = ["file,group"]
    for number in range(40):
        name = f"{'ab'[number % 2]}/{number}.png"
        save(root / name, np.clip(disc + (disc > 0) * draw_scan(number, 64) * 0.1, 0, 255).astype(np.uint8))
        lines.append(f"{name},p{number // 4}")
    if with_groups:
        (root / "groups.csv").write_text("\n".join(lines) + "\n")
    return root


def test_pictures_that_share_an_outline_are_told_apart(tmp_path: Path) -> None:
    assert len(set(make_plan(opened(outline_set(tmp_path / "bare", False)), "sealed", 3).groups)) == 40
    cache = opened(outline_set(tmp_path / "grouped", True))
    plan = make_plan(cache, "sealed", 3)
    assert len(set(plan.groups)) == 10
    for fold in range(3):
        check_sealed(plan, fold, "classifier", plan.train(fold), cache)


@pytest.mark.slow
def test_real_busi_sealed_leaks_nothing_and_thesis_leaks_much(busi: ImageCache) -> None:
    cache, sealed, thesis = busi, make_plan(busi, "sealed"), make_plan(busi, "thesis")
    for fold in range(10):
        check_sealed(sealed, fold, "classifier", sealed.train(fold), cache)
        assert len(leaked_images(sealed, fold, cache)) == 0
        assert 60 <= len(sealed.test(fold)) <= 96
    assert sum(len(leaked_images(thesis, fold, cache)) for fold in range(10)) > 200


# ---- a part of some images, drawn by whole groups


def scans() -> tuple[np.ndarray, np.ndarray]:
    """Three classes in groups of one to five, two of them of mixed classes."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), rng.integers(1, 6, 200))
    labels = np.array([0] * 120 + [1] * 50 + [2] * 30)[groups]
    labels[np.flatnonzero(groups == 5)[:1]] = 1
    labels[np.flatnonzero(groups == 180)[:1]] = 0
    order = rng.permutation(len(groups))
    return labels[order], groups[order]


def test_shares_are_whole_groups_nested_and_stratified() -> None:
    labels, groups = scans()
    for seed in range(5):
        inner: set[int] = set()
        for share in (0.1, 0.25, 0.5, 0.75, 1.0):
            drawn = draw_share(labels, groups, share, seed)
            assert np.array_equal(drawn, np.unique(drawn)) and inner <= set(drawn.tolist())
            inner = set(drawn.tolist())
            outside = np.setdiff1d(np.arange(len(labels)), drawn)
            assert not set(groups[drawn]) & set(groups[outside])
            found = np.bincount(labels[drawn], minlength=3)
            # To within half of the largest group, and an image of a mixed one.
            assert np.all(np.abs(found - share * np.bincount(labels)) <= 3.5)
    assert len(inner) == len(labels)
    assert not np.array_equal(draw_share(labels, groups, 0.5, 0), draw_share(labels, groups, 0.5, 1))


def test_the_smallest_share_has_a_group_of_every_class() -> None:
    labels, groups = scans()
    drawn = draw_share(labels, groups, 0.001, 0)
    assert set(labels[drawn]) == {0, 1, 2} and len(np.unique(groups[drawn])) == 3
