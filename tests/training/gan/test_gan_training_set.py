"""What a generator learns from: images of a class or of all, read with their masks, and their fingerprint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_trainings import draw_disc, draw_masked_discs
from scans import draw_scan, save
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.training.architecture_search.trial import Source
from sonoforge.training.data import cache as cache_module
from sonoforge.training.gan import training_set as training_set_module
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training_set import (
    TrainingSet,
    join_masks,
    read_training_set,
    set_aside,
)

SIZE = 32


def _write_busi(root: Path) -> Path:
    """Two normal scans without masks, three benign ones of which the first has two masks."""
    for number in (1, 2):
        save(root / "normal" / f"normal ({number}).png", draw_scan(number, 96)[:64])
    for number in (1, 2, 3):
        save(root / "benign" / f"benign ({number}).png", draw_scan(10 + number, 96)[:64])
        save(root / "benign" / f"benign ({number})_mask.png", draw_disc(96, 20, 25, 12)[:64])
    save(root / "benign" / "benign (1)_mask_1.png", draw_disc(96, 45, 70, 10)[:64])
    return root


@pytest.fixture
def busi(tmp_path: Path) -> Path:
    return _write_busi(tmp_path / "set")


def _read(busi: Path, class_name: str | None = None, size: int = SIZE, masks: bool = True) -> TrainingSet:
    every = {} if class_name else {"conditioning": "projection"}
    settings = GanSettings("dcgan", class_name=class_name or "", image_size=size, masks=masks, **every)
    return read_training_set((str(busi),), settings, cache_folder=busi.parent / "cache")


def test_all_classes_come_with_labels_and_one_class_without(busi: Path) -> None:
    every = _read(busi, masks=False)
    assert every.classes == ("normal", "benign")
    assert every.pixels.shape == (5, SIZE, SIZE, 1)
    assert every.labels is not None
    assert list(every.labels) == [0, 0, 1, 1, 1]
    assert (every.image_channels, every.name) == (1, "set")
    benign = _read(busi, "benign", masks=False)
    assert benign.labels is None
    assert benign.classes == ("benign",)
    assert np.array_equal(benign.pixels, every.pixels[2:])
    with pytest.raises(SonoforgeError, match="did you mean benign"):
        _read(busi, "bening")


def test_the_masks_of_an_image_are_joined_in_its_geometry(busi: Path) -> None:
    size = 64
    images = _read(busi, size=size)
    assert images.pixels.shape == (5, size, size, 2)
    assert np.array_equal(images.pixels[..., :1], _read(busi, size=size, masks=False).pixels)
    masks = images.pixels[..., 1]
    assert not masks[:2].any()  # no normal image has one
    # The union, sampled at the places of the new pixels in the old picture of 64 rows and 96 columns.
    y, x = np.mgrid[:size, :size]
    y, x = (y + 0.5) * 64 / size - 0.5, (x + 0.5) * 96 / size - 0.5
    first, second = (y - 20) ** 2 + (x - 25) ** 2 < 144, (y - 45) ** 2 + (x - 70) ** 2 < 100
    for mask, expected in ((masks[2], first | second), (masks[3], first)):
        assert set(np.unique(mask)) == {0, 255}
        both, either = ((mask > 0) & expected).sum(), ((mask > 0) | expected).sum()
        assert both / either > 0.93
        assert (mask > 0).sum() == pytest.approx(expected.sum(), rel=0.05)


def test_pixels_that_two_masks_cover_together_are_inside(busi: Path) -> None:
    """Each mask covers a third of every new pixel, besides a block of its own; their maximum would be outside."""
    save(busi / "benign" / "benign (1).png", draw_scan(11, 672))
    for part, name in enumerate(("benign (1)_mask.png", "benign (1)_mask_1.png")):
        stripes = np.zeros((672, 672), np.uint8)
        stripes[:, part::3] = 255
        stripes[part * 600 : part * 600 + 60] = 255
        save(busi / "benign" / name, stripes)
    assert (_read(busi, "benign").pixels[0, ..., 1] == 255).all()


def test_masks_are_decoded_once(busi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _read(busi)
    monkeypatch.setattr(cache_module, "read_image", lambda path: pytest.fail(f"decoded {path} again"))
    assert _read(busi, size=16).pixels.shape == (5, 16, 16, 2)
    assert _read(busi).fingerprint == before.fingerprint


def _damage(busi: Path, case: str) -> None:
    mask = busi / "benign" / "benign (3)_mask.png"
    if case == "missing":
        mask.unlink()
    elif case == "another size":
        save(mask, draw_disc(96, 20, 25, 12))
    elif case == "zeros and ones":
        save(mask, draw_disc(96, 20, 25, 12)[:64] // 255)
    else:
        mask.write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", r"benign \(3\).png: .*_mask.png"),
        ("another size", r"benign \(3\)_mask.png: .*96x96 .*benign \(3\).png.*96x64"),
        ("zeros and ones", r"\(3\)_mask.png: its brightest level is 1"),
        ("damaged", r"benign \(3\)_mask.png: not an image"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_and_other_classes_do_not_matter(
    busi: Path, case: str, message: str
) -> None:
    _damage(busi, case)
    with pytest.raises(SonoforgeError, match=message):
        _read(busi)
    assert not _read(busi, "normal").pixels[..., 1].any()


def test_a_data_set_without_masks_is_refused(busi: Path) -> None:
    for path in (busi / "benign").glob("*_mask*.png"):
        path.unlink()
    with pytest.raises(SonoforgeError, match=r"no masks.*or train without"):
        _read(busi, "normal")


def test_colour_masks_of_one_channel_count(busi: Path) -> None:
    plain = _read(busi).pixels
    red = np.zeros((64, 96, 3), np.uint8)
    red[..., 0] = np.asarray(Image.open(busi / "benign" / "benign (3)_mask.png"))
    save(busi / "benign" / "benign (3)_mask.png", red)
    assert np.array_equal(_read(busi).pixels, plain)


def test_the_phantom_set_comes_with_its_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_set_module, "PHANTOM_IMAGES", 8)
    settings = GanSettings("dcgan", conditioning="projection", image_size=SIZE, masks=True)
    images = read_training_set(("phantom",), settings, cache_folder=tmp_path)
    assert images.name == "phantom"
    assert images.labels is not None
    assert list((images.pixels[..., 1] > 0).any(axis=(1, 2))) == list(images.labels > 0)


def test_images_larger_than_the_cache_are_read_at_their_size(busi: Path) -> None:
    images = _read(busi, "benign", size=256)
    assert images.pixels.shape == (3, 256, 256, 2)
    with Image.open(busi / "benign" / "benign (2).png") as scan:
        expected = np.asarray(scan.resize((256, 256), Image.Resampling.BILINEAR))
    assert np.array_equal(images.pixels[1, ..., 0], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_joining_and_splitting_masks_are_inverse(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, channels), dtype=np.uint8)
    masks = np.stack([draw_disc(16, 8, 8, radius) for radius in (0, 3, 5, 20)])
    joint = join_masks(images, masks[:, None])
    back, marked = split_masks(joint, channels)
    assert marked is not None
    assert np.array_equal(back, images)
    assert np.array_equal(marked[..., 0], masks)
    assert split_masks(images, channels)[1] is None


def test_each_pixel_goes_to_what_covers_most_of_it() -> None:
    """Against a loop over pixels that weighs each structure and what they leave."""
    levels = np.random.default_rng(1).dirichlet((1, 1, 1, 1), (2, 9, 9))[..., :3]
    shares = np.floor(levels * 255).astype(np.uint8)
    images = np.zeros((2, 9, 9, 1), np.uint8)
    _, found = split_masks(np.concatenate([images, shares], axis=3), 1)
    assert found is not None
    for place in np.ndindex(2, 9, 9):
        own = [255 - int(shares[place].sum()), *map(int, shares[place])]
        expected = [255 * (own[k] == max(own) and (own[0] < max(own))) for k in (1, 2, 3)]
        if sorted(own)[-1] != sorted(own)[-2]:  # equal levels are another test's
            assert found[place].tolist() == expected
    assert (found > 0).sum(3).max() == 1


def test_of_equal_structures_the_first_takes_the_pixel_and_before_the_background() -> None:
    levels = np.array([[120, 120, 0], [85, 85, 85], [60, 60, 60], [0, 128, 0], [0, 0, 127]], np.uint8)
    _, found = split_masks(np.concatenate([levels[:, :1], levels], axis=1).reshape(1, 5, 1, 4), 1)
    assert found is not None
    assert (found[0, :, 0] > 0).astype(int).tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_generated_masks_are_cut_at_half() -> None:
    soft = np.array([0, 127, 128, 255], np.uint8).reshape(1, 2, 2, 1)
    _, masks = split_masks(np.concatenate([soft, soft], axis=3), 1)
    assert masks is not None
    assert masks.ravel().tolist() == [0, 0, 255, 255]


def test_the_fingerprint_changes_with_whatever_a_training_sees() -> None:
    images = draw_masked_discs()
    assert images.labels is not None
    assert draw_masked_discs().fingerprint == images.fingerprint
    assert dataclasses.replace(images, name="other").fingerprint == images.fingerprint
    others = [
        dataclasses.replace(images, pixels=images.pixels[::-1]),
        dataclasses.replace(images, labels=1 - images.labels),
        dataclasses.replace(images, labels=None),
        dataclasses.replace(images, classes=("a", "c")),
        dataclasses.replace(images, image_channels=2),
    ]
    assert len({images.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_patients_that_names_tell_of_stay_on_one_side(tmp_path: Path) -> None:
    for patient in range(16):
        for view in range(2):
            save(tmp_path / "set" / "benign" / f"p{patient}_{view}.png", draw_scan(100 * patient + view, 96)[:64])
    settings = GanSettings("dcgan", class_name="benign", image_size=SIZE)
    source = Source((str(tmp_path / "set"),), tmp_path / "cache", settings, "cpu", 0.0, "{patient}_*")
    images = source.read()
    assert images.groups is not None
    patient = [int(Path(name).stem.partition("_")[0][1:]) for name in images.sources]
    kept, held_out = set_aside(images, 0.25, seed=0)
    sides = [{patient[index] for index in _places(images, part)} for part in (kept, held_out)]
    assert len(sides[1]) == 4 and not sides[0] & sides[1]


def _places(images: TrainingSet, part: TrainingSet) -> list[int]:
    return [next(i for i, whole in enumerate(images.pixels) if np.array_equal(whole, one)) for one in part.pixels]
