"""Pictures given twice and frames of one sweep are found; movement between frames is that which was planted."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

import planted_marks as plant
from scans import draw_scan
from sonoforge.runtime.images import repeats
from sonoforge.runtime.images.frame_motion import FASTEST, Motion, MotionMeter
from sonoforge.runtime.images.repeats import Fingerprint, Repeats, Sweeps, take_fingerprint

# ---- pictures given twice in a batch are found, and frames of one sweep are joined; other pictures are not.

NOTHING = {"copy_of": None, "seems_copy_of": None}


def print_of(levels: np.ndarray) -> Fingerprint:
    view = np.asarray(Image.fromarray(levels).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR))
    return take_fingerprint(levels, view)


def changed(levels: np.ndarray, kind: str) -> np.ndarray:
    picture = Image.fromarray(levels)
    if kind == "jpeg":
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=50)
        picture = Image.open(stream)
    if kind == "half":
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BILINEAR)
    gains = {"darker": 0.8, "brighter": 1.2}
    return np.clip(np.asarray(picture) * gains.get(kind, 1.0), 0, 255).astype(np.uint8)


def test_the_detail_is_the_view_less_its_surround_by_a_second_computation() -> None:
    levels = draw_scan(1, 224)
    cells = levels.reshape(32, 7, 32, 7).mean(axis=(1, 3))
    detail = np.empty((32, 32))
    for row in range(32):
        for column in range(32):
            near = [
                cells[min(31, max(0, row + i)), min(31, max(0, column + j))] for i in (-1, 0, 1) for j in (-1, 0, 1)
            ]
            detail[row, column] = cells[row, column] - sum(near) / 9
    found = take_fingerprint(levels, np.repeat(levels[..., None], 3, axis=2)).detail
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(found, detail.ravel())[0, 1] > 0.995  # Pillow rounds each cell to a level


@pytest.mark.parametrize("kind", ["jpeg", "half", "darker", "brighter"])
def test_a_changed_copy_is_found_among_others_and_no_other_is(kind: str) -> None:
    seen = Repeats()
    for seed in range(40):
        assert seen.find(f"{seed}", print_of(draw_scan(seed, 256))) == NOTHING
    assert seen.find("new", print_of(changed(draw_scan(7, 256), kind))) == {"copy_of": None, "seems_copy_of": "7"}
    assert seen.find("other", print_of(changed(draw_scan(99, 256), kind))) == NOTHING


def test_the_same_pixels_are_a_copy_of_the_first_file_and_an_empty_picture_is_like_no_other() -> None:
    seen = Repeats()
    for name in ("a", "b"):
        found = seen.find(name, print_of(draw_scan(0)))
    assert found == {"copy_of": "a", "seems_copy_of": None}
    assert seen.find("white", print_of(np.full((90, 120), 255, np.uint8))) == NOTHING
    assert seen.find("grey", print_of(np.full((90, 120), 99, np.uint8))) == NOTHING
    ramp = np.tile(np.linspace(0, 255, 120).astype(np.uint8), (90, 1))
    assert not np.isnan(print_of(ramp).detail).any()


def test_memory_is_bounded_by_forgetting_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_MOST", 5)
    seen = Repeats()
    for seed in range(6):
        seen.find(f"{seed}", print_of(draw_scan(seed)))
    assert seen.find("of 0", print_of(changed(draw_scan(0), "jpeg"))) == NOTHING  # forgotten; now 1 is, too
    assert seen.find("of 5", print_of(changed(draw_scan(5), "jpeg")))["seems_copy_of"] == "5"
    assert seen.find("of 0 again", print_of(changed(draw_scan(0), "half")))["seems_copy_of"] == "of 0"


@pytest.mark.parametrize("grain", [False, True], ids=["scans", "grain, of which no pair is left out"])
def test_no_pair_that_is_alike_is_left_out_unseen(grain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_FEW", 20)
    generator = np.random.default_rng(5)
    details: list[np.ndarray] = []
    for number in range(300):
        detail = generator.normal(size=1024) if grain else print_of(draw_scan(number, 64)).detail.astype(float)
        if number % 3 == 2:  # about as like the one before it as `ALIKE` asks for
            other = details[-1] + generator.uniform(0.6, 0.9) * detail / np.linalg.norm(detail)
            detail = other
        details.append(detail / np.linalg.norm(detail))
    rows = np.array(details, np.float32)
    seen, found, expected = Repeats(), [], []
    for number, own in enumerate(rows):
        found.append(seen.find(f"{number}", Fingerprint(bytes([number // 256, number % 256]), own, None)))
        alike = rows[:number].astype(float) @ own.astype(float)
        best = int(alike.argmax()) if number else 0
        expected.append(f"{best}" if number and alike[best] >= repeats.ALIKE else None)
    assert [row["seems_copy_of"] for row in found] == expected
    assert 20 < sum(name is not None for name in expected) < 100, "pairs on either side of the limit"


# ---- neighbouring frames


def frames(seed: int, count: int, step: int) -> list[np.ndarray]:
    """Windows of one scan, each moved on by so many pixels."""
    whole = draw_scan(seed, 400)
    return [whole[i * step : i * step + 300, 2 * i * step : 2 * i * step + 300] for i in range(count)]


def series(pictures: list[np.ndarray]) -> list[str]:
    sweeps = Sweeps()
    return [sweeps.find(str(i), print_of(picture)) for i, picture in enumerate(pictures)]


@pytest.mark.parametrize("step", [0, 3, 8])
def test_a_sweep_is_joined_to_its_first_frame_and_another_scan_begins_anew(step: int) -> None:
    pictures = [*frames(1, 4, step), *frames(2, 3, step)]
    assert series(pictures) == ["0", "0", "0", "0", "4", "4", "4"]


def test_a_frame_goes_on_with_a_sweep_over_another_picture_between_but_not_over_many() -> None:
    one = frames(1, 3, 4)
    others = [draw_scan(seed, 300) for seed in range(10, 14)]
    assert series([one[0], others[0], one[1]]) == ["0", "1", "0"]
    assert series([one[0], *others, one[1]]) == ["0", "1", "2", "3", "4", "5"]


def test_different_scans_with_the_same_label_in_the_same_place_are_not_joined() -> None:
    pictures = []
    for seed in range(12):
        picture = Image.fromarray(plant.speckle(300, 400, seed))
        draw = ImageDraw.Draw(picture)
        draw.text((120, 250), "MAMA DIR  12 H", fill=250)
        for depth in range(20, 300, 40):
            draw.line((2, depth, 8, depth), fill=230)
        pictures.append(np.asarray(picture))
    assert series(pictures) == [str(i) for i in range(12)]


# ---- movement between the frames of a clip: planted shifts are found, frozen and unrelated frames are named.

HEIGHT, WIDTH = 384, 512  # twice the view, so that a shift by whole pixels is one by halves there


def tissue(seed: int, wide: int = 900) -> np.ndarray:
    """(384, wide) uint8: speckle about two pixels wide on slow differences of brightness."""
    rng = np.random.default_rng(seed)
    grains = np.hypot(*(ndimage.gaussian_filter(rng.normal(size=(HEIGHT, wide)), 2) for _ in range(2)))
    slow = ndimage.gaussian_filter(rng.normal(size=(HEIGHT, wide)), 25)
    return np.clip(60 * grains / grains.mean() * np.exp(0.4 * slow / slow.std()), 0, 255).astype(np.uint8)


def motion_of(*frames: np.ndarray) -> Motion:
    meter = MotionMeter()
    for frame in frames:
        meter.add(Image.fromarray(frame))
    return meter.motion()


@pytest.mark.parametrize("seed", range(3))
def test_a_translation_is_its_length_in_per_cent_of_the_shorter_side(seed: int) -> None:
    scan, found = tissue(seed), []
    for shift in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40):
        # A clip of four frames that moves at a constant speed.
        frames = [scan[:, number * shift : number * shift + WIDTH] for number in range(4)]
        motion = motion_of(*frames)
        assert motion.followed == motion.pairs == 3 and motion.per_frame is not None
        assert motion.per_frame == pytest.approx(100 * shift / HEIGHT, rel=0.03, abs=0.03)
        assert motion.flags == (("frozen",) if not shift else ("motion_high",) if shift > 5 else ())
        found.append(motion.per_frame)
    assert found[0] == 0 and found == sorted(set(found))


def test_an_oblique_movement_has_the_length_of_the_hypotenuse_at_any_size() -> None:
    scan = tissue(3)
    before, after = scan[: HEIGHT - 16, :WIDTH], scan[16:, 12 : 12 + WIDTH]
    assert motion_of(before, after).per_frame == pytest.approx(100 * 20 / (HEIGHT - 16), rel=0.03)
    halves = [np.asarray(Image.fromarray(frame).reduce(2)) for frame in (before, after)]
    assert motion_of(*halves).per_frame == pytest.approx(100 * 20 / (HEIGHT - 16), rel=0.03)


def test_it_holds_under_noise_gain_and_screens_that_stand_still() -> None:
    rng, scan = np.random.default_rng(0), tissue(4)

    def framed(shift: int) -> np.ndarray:
        frame = scan[:, shift : shift + WIDTH] * (0.9 if shift else 1.0) + rng.normal(0, 10, (HEIGHT, WIDTH))
        frame[:60] = 0
        frame[20:30, 20:200:7] = 255  # a banner that does not move with the tissue
        return np.clip(frame, 0, 255).astype(np.uint8)

    assert motion_of(framed(0), framed(10)).per_frame == pytest.approx(1000 / HEIGHT, rel=0.05)


def test_a_frozen_clip_moves_by_nothing_though_its_clock_does() -> None:
    scan, clips = tissue(5)[:, :WIDTH], []
    for number in range(5):
        frame = scan.copy()
        frame[5:20, 5 + 9 * number : 20 + 9 * number] = 255
        clips.append(frame)
    motion = motion_of(*clips)
    assert (motion.per_frame, motion.still, motion.pairs) == (0, 4, 4)
    assert motion.flags == ("frozen",) and "Nothing moves" in motion.advice[0]
    # Held still over living tissue: the picture does not move, but it is no frozen one.
    rng = np.random.default_rng(0)
    living = [np.clip(scan + rng.normal(0, 6, scan.shape), 0, 255).astype(np.uint8) for _ in range(3)]
    held = motion_of(*living)
    assert held.per_frame == pytest.approx(0, abs=0.05) and held.flags == () and held.still == 0


def test_frames_without_anything_in_common_are_not_given_a_number() -> None:
    motion = motion_of(*(tissue(seed, WIDTH) for seed in range(4)))
    assert motion.per_frame is None and motion.followed == 0 and motion.flags == ("motion_lost",)
    sizes = motion_of(tissue(0, WIDTH), tissue(0, 400))
    assert sizes.followed == 0
    assert motion_of(tissue(0)).to_dict() | {"unit": "", "advice": []} == {
        **{"per_frame": None, "pairs": 0, "followed": 0, "still": 0},
        **{"unit": "", "limit": FASTEST, "flags": [], "advice": []},
    }
