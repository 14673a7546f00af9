"""A reading sheet is blind: the pixels alone tell a generated image from a real one; and its key cannot be changed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from readings import NONCE, image_set, noise, small_sheet, write_answers, write_folder
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.reader_study.scores import read_readers
from sonoforge.training.reader_study.sheet import KEY, Pair, Sheet, commitment, make_sheet, read_key
from sonoforge.training.reports.reading import PAGE, read_pictures


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Name and content of each chunk, by the PNG specification, section 5."""
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def smooth_and_noisy() -> Sheet:
    """Real images are noise, generated ones are even: as files of any compressing format they would differ in size."""
    grey = np.repeat(np.arange(20, dtype=np.uint8), 16 * 16).reshape(20, 16, 16, 1)
    return make_sheet([Pair(image_set("r", noise(20, 0)), image_set("f", grey))], 20, (), NONCE)


def test_files_of_both_kinds_are_equal_but_for_their_pixels() -> None:
    sheet = smooth_and_noisy()
    told = {
        (len(picture), tuple((name, len(data) if name == b"IDAT" else data) for name, data in chunks(picture)))
        for picture in sheet.pictures
    }
    assert len(told) == 1
    (about,) = told
    assert {name for name, _ in about[1]} == {b"IHDR", b"IDAT", b"IEND"}  # no text, time, colour profile or resolution
    # The same images in an ordinary PNG: the size alone tells them apart.
    sizes: dict[str, set[int]] = {"real": set(), "generated": set()}
    for entry, picture in zip(sheet.key.entries, sheet.pictures, strict=True):
        stream = io.BytesIO()
        Image.open(io.BytesIO(picture)).save(stream, "PNG")
        sizes[entry.kind].add(stream.tell())
    assert max(sizes["generated"]) < min(sizes["real"])


def test_a_classifier_of_bytes_and_place_is_at_chance_where_pixels_are_alike() -> None:
    pair = Pair(image_set("r", noise(150, 0)), image_set("f", noise(150, 1)))
    sheet = make_sheet([pair], 150, (), NONCE)
    features = np.array(
        [
            [place, len(picture), sum(picture) / len(picture), *np.frombuffer(picture[-16:], np.uint8)]
            for place, picture in enumerate(sheet.pictures)
        ],
        np.float64,
    )
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    generated = np.array([entry.kind == "generated" for entry in sheet.key.entries])
    distances = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = generated[distances.argsort(axis=1)[:, :5]].mean(axis=1) > 0.5
    assert stats.binomtest(int((nearest == generated).sum()), len(generated)).pvalue > 0.01


def test_any_order_and_any_choice_is_as_likely() -> None:
    pair = Pair(image_set("r", noise(8, 0)), image_set("f", noise(8, 1)))
    places, files = np.zeros(8), Counter[str]()
    for i in range(160):
        entries = make_sheet([pair], 4, (), hashlib.sha256(bytes([i % 256, i // 256])).digest()).key.entries
        places += [entry.kind == "generated" for entry in entries]
        files.update(entry.kind + entry.file for entry in entries)
    assert stats.chisquare(np.stack([places, 160 - places]).ravel()).pvalue > 0.001
    assert len(files) == 16
    assert stats.chisquare(list(files.values())).pvalue > 0.001


def test_no_real_scan_is_shown_twice_and_both_kinds_come_as_often() -> None:
    groups = [f"patient {i // 4}" for i in range(24)]
    real = image_set("real", noise(24, 0), groups, "benign")
    sheet = make_sheet([Pair(real, image_set("fake", noise(9, 1), class_name="benign"))], 6, (), NONCE)
    shown = [groups[int(entry.file[:-4])] for entry in sheet.key.entries if entry.kind == "real"]
    assert sorted(shown) == sorted(set(groups))
    assert Counter(entry.kind for entry in sheet.key.entries) == {"real": 6, "generated": 6}
    with pytest.raises(SonoforgeError, match="real: only 6 groups of near-duplicates"):
        make_sheet([Pair(real, image_set("fake", noise(9, 1)))], 7, (), NONCE)
    with pytest.raises(SonoforgeError, match="fake: only 5 images"):
        make_sheet([Pair(real, image_set("fake", noise(5, 1)))], 6, (), NONCE)


def test_each_picture_is_the_image_that_the_key_names() -> None:
    reals, fakes = noise(6, 0), noise(6, 1)
    sheet = make_sheet([Pair(image_set("r", reals), image_set("f", fakes))], 6, (), NONCE)
    for entry, picture in zip(sheet.key.entries, sheet.pictures, strict=True):
        own = (reals if entry.kind == "real" else fakes)[int(entry.file[:-4]), ..., 0]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture))), own)
        assert entry.picture == hashlib.sha256(picture).hexdigest()


def test_classes_must_be_answers_and_sizes_equal() -> None:
    pair = Pair(image_set("r", noise(6, 0)), image_set("f", noise(6, 1), class_name="benign"))
    with pytest.raises(SonoforgeError, match="f shows benign, not one of normal, malignant; add it"):
        make_sheet([pair], 6, ("normal", "malignant"), NONCE)
    with pytest.raises(SonoforgeError, match=r"different sizes \(f 16x16x1, g 32x32x1\)"):
        make_sheet([pair, Pair(image_set("r", noise(6, 0, 32)), image_set("g", noise(6, 1, 32)))], 6, (), NONCE)


# The seal.


def test_the_page_hides_the_key_and_shows_its_hash(tmp_path: Path) -> None:
    sheet = small_sheet()
    seal = write_folder(tmp_path / "sheet", sheet)
    assert seal == hashlib.sha256((tmp_path / "sheet" / KEY).read_bytes()).hexdigest()
    page = (tmp_path / "sheet" / PAGE).read_text()
    assert page.count(seal) >= 2
    for entry in sheet.key.entries:
        assert entry.content not in page
        assert entry.picture not in page
    assert sheet.key.nonce not in page
    assert read_pictures(tmp_path / "sheet" / PAGE, sheet.key, seal) == sheet.pictures


def test_a_key_changed_afterwards_is_noticed(tmp_path: Path) -> None:
    sheet = small_sheet()
    seal = write_folder(tmp_path / "sheet", sheet)
    answers = write_answers(tmp_path / "a.json", seal, sheet.key.entries, lambda entry: {"kind": entry.kind})
    assert len(read_readers([answers], sheet.key, seal)[0].answers) == 12
    path = tmp_path / "sheet" / KEY
    first = sheet.key.entries[0]
    other = dataclasses.replace(first, kind="real" if first.kind == "generated" else "generated")
    path.write_bytes(dataclasses.replace(sheet.key, entries=(other, *sheet.key.entries[1:])).encoded())
    key, now = read_key(path)
    with pytest.raises(GateError, match="it is for another sheet, or the key changed after the page was made"):
        read_readers([answers], key, now)
    with pytest.raises(GateError, match="one was changed after the page was made"):
        read_pictures(tmp_path / "sheet" / PAGE, key, now)


def test_two_sheets_of_the_same_images_have_other_commitments() -> None:
    key = small_sheet().key
    assert commitment(key.encoded()) != commitment(dataclasses.replace(key, nonce="11" * 32).encoded())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "another"}, "not the key of a reading sheet"),
        ({"entries": []}, None),
        ({"entries": [{"number": 1}]}, "not the key of a reading sheet"),
        ({"classes": None}, "not the key of a reading sheet"),
    ],
)
def test_a_damaged_key_is_refused_in_one_line(tmp_path: Path, change: dict[str, object], said: str | None) -> None:
    path = tmp_path / KEY
    path.write_text(json.dumps({**json.loads(small_sheet().key.encoded()), **change}))
    if said is None:
        assert read_key(path)[0].entries == ()
        return
    with pytest.raises(SonoforgeError, match=said):
        read_key(path)
