"""Movement between the frames of a clip: planted shifts are found, frozen and unrelated frames are named."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from sonoforge.runtime.images.frame_motion import FASTEST, Motion, MotionMeter

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
