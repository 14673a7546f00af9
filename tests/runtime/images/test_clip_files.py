"""Animated files and those of several pages are clips: their frames are those written, or it is said why not."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import refused
from scans_in_frames import COLOUR, GREY, clip_refused, frames_of
from sonoforge.runtime.images import limits
from sonoforge.runtime.images.clip_files import clip_frames, is_clip


def save(path: Path, frames: np.ndarray, **options: object) -> Path:
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("frames", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.webp", {"lossless": True}), ("a.png", {}), ("a.tif", {}), ("b.tif", {"compression": "tiff_lzw"})],
)
def test_frames_are_those_that_were_written(
    tmp_path: Path, frames: np.ndarray, name: str, options: dict[str, object]
) -> None:
    path = save(tmp_path / name, frames, **options)
    for found in (frames_of(path), frames_of("-", path.read_bytes())):
        assert np.array_equal(found, frames if frames.ndim == 4 else frames[..., None].repeat(3, 3))
    assert is_clip(path)
    assert refused(path)[0] == "animated"  # where one picture is expected


def test_a_grey_gif_has_the_frames_that_were_written(tmp_path: Path) -> None:
    assert np.array_equal(frames_of(save(tmp_path / "a.gif", GREY))[..., 0], GREY)


def test_an_avif_has_nearly_the_frames_that_were_written(tmp_path: Path) -> None:
    smooth = np.stack(
        [np.linspace((0, shift, 200), (200, 100, shift), 60 * 80).reshape(60, 80, 3) for shift in (0, 90)]
    )
    path = save(tmp_path / "a.avif", smooth.astype(np.uint8), quality=95, subsampling="4:4:4")
    assert np.abs(frames_of(path) - smooth).mean() < 3


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_frames_that_hold_changes_alone_are_put_together_as_ffmpeg_does(tmp_path: Path, suffix: str) -> None:
    """Discs that move over a palette of 16 colours: each frame stores the part that changed."""
    rows, columns = np.mgrid[:60, :80]
    discs = [np.where((rows - 30) ** 2 + (columns - 15 - 12 * n) ** 2 < 90, 40 * n + 55, 20) for n in range(5)]
    path = save(tmp_path / f"a.{suffix}", np.stack(discs).astype(np.uint8), disposal=2 if suffix == "gif" else 0)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    done = subprocess.run([*command, "-"], check=True, capture_output=True, timeout=300)
    theirs = np.frombuffer(done.stdout, np.uint8).reshape(-1, 60, 80, 3)
    assert np.array_equal(frames_of(path), theirs)


def test_the_picture_for_programs_without_animation_is_no_frame(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", COLOUR, default_image=True)
    assert np.array_equal(frames_of(path), COLOUR[1:])


def test_16_bits_are_spread_over_those_that_all_pages_fill(tmp_path: Path) -> None:
    deep = np.stack([np.full((40, 60), value, np.uint16) for value in (100, 2000, 4095)])
    found = frames_of(save(tmp_path / "a.tif", deep))
    assert [int(frame.max()) for frame in found] == [round(255 * value / 4095) for value in (100, 2000, 4095)]


def test_a_file_of_one_picture_is_no_clip(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    (tmp_path / "b.gif").write_text("GIF89a, it says")
    assert not is_clip(tmp_path / "a.png") and not is_clip(tmp_path / "b.gif") and not is_clip(tmp_path / "absent.tif")


def test_pages_of_different_sizes_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(
        tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(GREY[1]).resize((30, 20))]
    )
    code, message = clip_refused(tmp_path / "a.tif")
    assert code == "unsupported" and "64x48 and 30x20" in message


def test_a_gif_with_a_frame_beyond_its_screen_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    data = bytearray(save(tmp_path / "a.gif", GREY).read_bytes())
    last = data.rindex(b"\x2c\0\0\0\0" + struct.pack("<HH", 64, 48))
    data[last + 5 : last + 9] = struct.pack("<HH", 65535, 65535)
    (tmp_path / "a.gif").write_bytes(data)
    code, message = clip_refused(tmp_path / "a.gif")
    assert code == "truncated" and "65535x65535" in message


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_clip_that_is_cut_off_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = save(tmp_path / f"a.{suffix}", GREY)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert clip_refused(path)[0] in ("truncated", "not_an_image")


def test_clips_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.tif", GREY)
    monkeypatch.setattr(limits, "MAX_FRAMES", 2)
    code, message = clip_refused(path)
    assert code == "too_large" and "3 frames of 64x48" in message
    monkeypatch.setattr(limits, "MAX_FRAMES", 3)
    monkeypatch.setattr("sonoforge.runtime.images.clip_files.MAX_CLIP_SECONDS", 0)
    assert clip_refused(path)[0] == "too_slow"


def test_frames_are_taken_one_at_a_time(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", GREY)
    frames = clip_frames(path)
    assert np.array_equal(np.asarray(next(frames)), GREY[0])
    first, second = next(frames), next(frames)
    assert np.array_equal(np.asarray(first), GREY[1])  # a later frame does not change it
    assert np.array_equal(np.asarray(second), GREY[2])
