"""Training images are recognised by their sketches, changed ones too, and said to be; other scans are not."""

from __future__ import annotations

import functools
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dctn

import bundle_factory as factory
from program import refused, rows_of, succeed
from scans import draw_scan
from sonoforge.runtime import Classifier
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images.repeats import detail_of
from sonoforge.runtime.images.sketches import ACROSS, ALIKE, DOWN, EVENS, SIGNS, Sketches, amplitudes
from sonoforge.runtime.notice import TRAINED_THIS, trained_on_in_words

KNOWN = range(12)


def seen(picture: Image.Image, side: int = 256) -> NDArray[np.float32]:
    """The detail of what a network sees of a picture."""
    return detail_of(np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR)))


def sketches_of(pictures: list[Image.Image], side: int = 256) -> Sketches:
    return Sketches.of(np.stack([amplitudes(seen(picture, side)) for picture in pictures]))


@functools.cache
def scan(seed: int) -> Image.Image:
    return Image.fromarray(draw_scan(seed, 300))


def jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=30)
    return Image.open(file)


def cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((round(0.02 * width), round(0.01 * height), width, round(0.98 * height)))


CHANGES = {
    "nothing": lambda picture: picture,
    "jpeg": jpeg,
    "half": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "gain": lambda picture: picture.point([min(255, round(1.3 * level)) for level in range(256)]),
    "mirrored": ImageOps.mirror,
    "negative": ImageOps.invert,
    "cropped, mirrored and compressed": lambda picture: jpeg(ImageOps.mirror(cropped(picture))),
}


def test_the_amplitudes_are_the_lowest_of_scipys_cosine_transform() -> None:
    detail = seen(scan(1))
    whole = dctn(detail.reshape(32, 32), norm="ortho")
    assert np.allclose(amplitudes(detail), whole[DOWN, ACROSS], atol=1e-5)
    radius = DOWN**2 + ACROSS**2
    assert len({*zip(DOWN.tolist(), ACROSS.tolist(), strict=True)}) == SIGNS and radius.min() == 1
    rows, columns = np.mgrid[:32, :32]
    assert ((rows**2 + columns**2) < radius.max()).sum() <= SIGNS  # none below the highest is left out, but the mean
    assert (ACROSS[:EVENS] % 2 == 0).all() and (ACROSS[EVENS:] % 2 == 1).all()


@pytest.mark.parametrize("kind", CHANGES)
def test_changed_copies_are_held_and_other_scans_are_not(kind: str) -> None:
    known = sketches_of([scan(seed) for seed in KNOWN])
    assert known.signs.nbytes == 24 * len(KNOWN)
    likeness = [known.likeness(seen(CHANGES[kind](scan(seed)))) for seed in (0, 7, 50, 51)]
    assert min(likeness[:2]) >= ALIKE > max(likeness[2:])


def test_the_likeness_is_the_cosine_with_the_best_of_both_mirror_images() -> None:
    known, rng = sketches_of([scan(seed) for seed in KNOWN]), np.random.default_rng(0)
    signs = np.unpackbits(known.signs, axis=1).astype(float) * 2 - 1
    for share in (0.0, 0.5, 0.9, 1.0):  # of noise
        detail = ((1 - share) * seen(scan(5)) + share * rng.normal(size=1024) / 32).astype(np.float32)
        own = dctn(detail.reshape(32, 32), norm="ortho")[DOWN, ACROSS] / known.usual
        both = [np.abs(signs @ one).max() for one in (own, np.where(ACROSS % 2, -own, own))]
        expected = max(both) / np.linalg.norm(own) / np.sqrt(SIGNS)
        assert known.likeness(detail) == pytest.approx(expected, abs=1e-5)
    assert known.likeness(np.zeros(1024, np.float32)) == 0


def test_the_shipped_bundle_knows_its_training_images_and_no_other_collection(shared: Path) -> None:
    files = sorted((shared / "data" / "BUSI" / "Dataset_BUSI_with_GT" / "normal").glob("normal (1?).png"))[:3]
    classifier = Classifier()
    assert [classifier.classify(file).trained_on for file in files] == [True] * 3
    others = [np.asarray(scan(seed)) for seed in range(3)]
    assert [classifier.classify(other).trained_on for other in others] == [False] * 3


# ---- what is said


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def knowing(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the patch network, trained on scans 0 to 11."""
    folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("knowing") / "bundle"))
    own = sketches_of([Image.fromarray(factory.scan(seed)) for seed in range(12)], factory.SIZE)
    more = {"trained_usual": own.usual, "trained_signs": own.signs}
    factory.replace_file(folder, "reference.npz", factory.npz(**np.load(folder / "reference.npz"), **more))
    return folder


def test_classify_says_which_scans_trained_the_network(knowing: Path, bundle: Path, tmp_path: Path) -> None:
    folder = factory.write_scans(tmp_path / "scans", range(10, 15))
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    done = succeed("classify", folder, "--bundle", knowing, "--html", page, "--csv", table)
    expected = "2 of these 5 scans trained this network: their answers say nothing about your clinic."
    assert expected in one_line(done.said) and one_line(done.said).count("This scan trained this network") == 2
    assert [entry["trained_on"] for entry in done.json["results"]] == [True] * 2 + [False] * 3
    assert done.json["summary"]["trained_on"] == 2
    assert [row["trained_on"] for row in rows_of(table)] == ["true"] * 2 + ["false"] * 3
    written = page.read_text(encoding="utf-8")
    assert expected in written[: written.index("<table")] and written.count(TRAINED_THIS) == 2
    one = succeed("classify", folder / "10.png", "--bundle", knowing)
    assert TRAINED_THIS in one_line(one.said)
    silent = succeed("classify", folder, "--bundle", bundle)
    assert silent.json["summary"]["trained_on"] is None and "trained this" not in silent.said


@pytest.mark.parametrize(("trained", "scans", "words"), [(34, 34, "34 of these 34 scans"), (1, 1, TRAINED_THIS)])
def test_the_sentence_counts(trained: int, scans: int, words: str) -> None:
    assert words in trained_on_in_words(trained, scans)
    assert trained_on_in_words(0, scans) == trained_on_in_words(None, scans) == ""


def test_adapt_warns_and_records_how_many(knowing: Path, tmp_path: Path) -> None:
    classifier, site = Classifier(knowing), tmp_path / "site"
    scans = factory.write_scans(tmp_path / "scans", range(24))
    rows = [(f"{i}.png", "normal" if i % 6 else classifier.classify(scans / f"{i}.png").label) for i in range(24)]
    (scans / "ours.csv").write_text("file,label\n" + "".join(f"{file},{label}\n" for file, label in rows))
    done = succeed("adapt", knowing, "--data", scans / "ours.csv", "--out", site)
    assert "12 TRAINED THE NETWORK" in one_line(done.said) and done.json["trained_on"] == 12
    assert json.loads((site / "manifest.json").read_text())["site"]["trained_on"] == 12
    assert "12 of these 24 scans" in (site / "MODEL_CARD.md").read_text()
    assert open_bundle(site).manifest.site


def test_sketches_of_another_size_are_refused(knowing: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(knowing, tmp_path / "bundle"))
    arrays = dict(np.load(own / "reference.npz"))
    arrays["trained_signs"] = arrays["trained_signs"][:, 1:]
    factory.replace_file(own, "reference.npz", factory.npz(**arrays))
    assert "trained_signs: it is uint8 (12, 23)" in refused("classify", factory.write_scans(tmp_path), "--bundle", own)
