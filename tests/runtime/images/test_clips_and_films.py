"""Clips: frames of films, animations and pages are those written, or FFmpeg's, and it is said why not."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import COLOUR_FRAMES as COLOUR
from image_files import GREY_FRAMES as GREY
from image_files import clip_refused, frames_of, refused
from sonoforge.runtime.errors import install_extra
from sonoforge.runtime.images import clip_files, limits
from sonoforge.runtime.images.clip_files import clip_frames, is_clip

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def save(path: Path, frames: np.ndarray, **options: object) -> Path:
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others, **options)  # type: ignore[arg-type]
    return path


def ffmpeg(*arguments: object, given: bytes = b"") -> bytes:
    command = ["ffmpeg", "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, input=given, check=True, capture_output=True, timeout=300).stdout


def theirs(path: Path, height: int = 120, width: int = 160) -> np.ndarray:
    """All frames as ffmpeg shows them, (N, H, W, 3)."""
    raw = ffmpeg("-i", path, "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


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


@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_frames_that_hold_changes_alone_are_put_together_as_ffmpeg_does(tmp_path: Path, suffix: str) -> None:
    """Discs that move over a palette of 16 colours: each frame stores the part that changed."""
    rows, columns = np.mgrid[:60, :80]
    discs = [np.where((rows - 30) ** 2 + (columns - 15 - 12 * n) ** 2 < 90, 40 * n + 55, 20) for n in range(5)]
    path = save(tmp_path / f"a.{suffix}", np.stack(discs).astype(np.uint8), disposal=2 if suffix == "gif" else 0)
    assert np.array_equal(frames_of(path), theirs(path, 60, 80))


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
    small = Image.fromarray(GREY[1]).resize((30, 20))
    Image.fromarray(GREY[0]).save(tmp_path / "a.tif", save_all=True, append_images=[small])
    code, message = clip_refused(tmp_path / "a.tif")
    assert code == "unsupported" and "64x48 and 30x20" in message


def test_a_gif_with_a_frame_beyond_its_screen_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    data = bytearray(save(tmp_path / "a.gif", GREY).read_bytes())
    last = data.rindex(b"\x2c\0\0\0\0" + struct.pack("<HH", 64, 48))
    data[last + 5 : last + 9] = struct.pack("<HH", 65535, 65535)
    (tmp_path / "a.gif").write_bytes(data)
    code, message = clip_refused(tmp_path / "a.gif")
    assert code == "truncated" and "65535x65535" in message


def film(path: Path, frames: np.ndarray, *codec: str) -> Path:
    """Let ffmpeg make a film of frames (N, H, W) or (N, H, W, 3)."""
    height, width = frames.shape[1:3]
    raw = ("-f", "rawvideo", "-pix_fmt", "gray" if frames.ndim == 3 else "rgb24", "-s", f"{width}x{height}", "-r", 10)
    ffmpeg(*raw, "-i", "-", *codec, path, given=frames.tobytes())
    return path


def scene(path: Path, *codec: str, seconds: float = 2) -> Path:
    """Let ffmpeg make a film of its moving test picture, 25 frames a second."""
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=160x120:r=25:d={seconds}", *codec, path)
    return path


@pytest.mark.parametrize("frames", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", ["ffv1.avi", "png.mov", "ffv1.mkv", "png.avi"])
def test_frames_of_a_film_without_loss_are_those_that_were_written(
    tmp_path: Path, frames: np.ndarray, name: str
) -> None:
    codec = Path(name).stem
    layout = {"ffv1": "bgr0", "png": "rgb24"}[codec] if frames.ndim == 4 else "gray"
    path = film(tmp_path / name, frames, "-c:v", codec, "-pix_fmt", layout)
    wanted = frames if frames.ndim == 4 else frames[..., None].repeat(3, 3)
    assert np.array_equal(frames_of(path), wanted)
    assert np.array_equal(frames_of("upload", path.read_bytes()), wanted)
    assert {frame.mode for frame in clip_frames(path)} == {"L" if frames.ndim == 3 else "RGB"}


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("h264.mp4", ("-c:v", "libx264", "-bf", "3")),
        ("h264.mov", ("-c:v", "libx264", "-movflags", "+faststart")),
        ("xvid.avi", ("-c:v", "mpeg4", "-vtag", "xvid", "-bf", "2")),
        ("jpeg.avi", ("-c:v", "mjpeg", "-q:v", "3")),
        ("wmv2.wmv", ("-c:v", "wmv2")),
        ("vp8.webm", ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8")),
        ("h265.mp4", ("-c:v", "libx265", "-x265-params", "log-level=none")),
    ],
)
def test_frames_are_those_that_ffmpeg_shows(tmp_path: Path, name: str, codec: tuple[str, ...]) -> None:
    path = scene(tmp_path / name, *codec)
    ours = frames_of(path)
    assert ours.shape == (50, 120, 160, 3)
    # Both convert from YCbCr, ffmpeg by other routines for chroma of half the size.
    assert np.abs(ours - theirs(path).astype(int)).mean() < 2


def test_frames_that_an_mp4_hides_are_not_shown(tmp_path: Path) -> None:
    whole = scene(tmp_path / "whole.mp4", "-c:v", "libx264", "-g", "12")
    ffmpeg("-ss", 0.3, "-i", whole, "-c", "copy", tmp_path / "cut.mp4")
    assert len(frames_of(tmp_path / "cut.mp4")) == len(theirs(tmp_path / "cut.mp4")) < 50


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene(tmp_path / "a.mp4", seconds=0.2)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert clip_refused(path) == ("unsupported", f"{path}: a video: cv2 is not installed; run {install_extra('video')}")


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *((f"a.{suffix}", ()) for suffix in ("gif", "webp", "png", "tif")),
        ("end.mp4", ("-c:v", "libx264")),
        ("start.mp4", ("-c:v", "libx264", "-movflags", "+faststart")),
        ("png.mov", ("-c:v", "png", "-movflags", "+faststart")),
        ("a.avi", ("-c:v", "ffv1")),
        ("jpeg.avi", ("-c:v", "mjpeg")),
        ("a.mkv", ("-c:v", "ffv1")),
        ("a.webm", ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8")),
        ("a.wmv", ("-c:v", "wmv2")),
    ],
)
def test_a_clip_that_is_cut_off_is_refused(tmp_path: Path, name: str, codec: tuple[str, ...]) -> None:
    path = scene(tmp_path / name, *codec, seconds=1) if codec else save(tmp_path / name, GREY)
    data = path.read_bytes()
    for kept in (0.0005, 0.7) if codec else (0.5, 0.9):
        path.write_bytes(data[: 40 * bool(codec) + int(kept * len(data))])
        assert clip_refused(path)[0] in ("truncated", "not_an_image")


def test_what_is_no_film(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", tmp_path / "sound.mp4")
    assert clip_refused(tmp_path / "sound.mp4")[0] == "not_an_image"
    for text in ("a list of patients\n" * 20, "the free list", "\0\0\0\x18ftyp"):
        (tmp_path / "text.mp4").write_text(text, encoding="utf-8")
        assert clip_refused(tmp_path / "text.mp4")[0] in ("not_an_image", "truncated")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert clip_refused(tmp_path / "empty.mp4")[0] == "empty"


def test_a_playlist_reads_no_other_file(tmp_path: Path) -> None:
    """FFmpeg would follow these to other files and to the network."""
    scene(tmp_path / "a.mp4", seconds=0.2)
    for text in ("ffconcat version 1.0\nfile a.mp4\n", "#EXTM3U\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n"):
        (tmp_path / "list.mp4").write_text(text, encoding="utf-8")
        assert clip_refused(tmp_path / "list.mp4")[0] == "not_an_image"


def test_a_film_that_states_a_huge_size_is_refused(tmp_path: Path) -> None:
    avi = bytearray(scene(tmp_path / "a.avi", "-c:v", "rawvideo", seconds=0.2).read_bytes())
    at = avi.index(b"strf") + 12
    avi[at : at + 8] = 2 * (100_000).to_bytes(4, "little")
    mov = bytearray(scene(tmp_path / "a.mov", "-c:v", "png", seconds=0.2).read_bytes())
    at = mov.index(b"png ") + 28
    mov[at : at + 4] = b"\xff\xff\xff\xff"
    for found in re.finditer(b"IHDR", bytes(mov)):
        mov[found.end() : found.end() + 8] = 2 * (100_000).to_bytes(4, "big")
    for path, data in ((tmp_path / "a.avi", avi), (tmp_path / "a.mov", mov)):
        path.write_bytes(data)
        code, message = clip_refused(path)
        assert code == "truncated" and "is invalid" in message


def test_large_frames_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=4000x3000:r=1:d=1", "-c:v", "mjpeg", tmp_path / "a.avi")
    code, message = clip_refused(tmp_path / "a.avi")
    assert code == "too_large" and "4000x3000" in message and "9 million" in message


def test_limits_of_time_memory_and_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages, path = save(tmp_path / "a.tif", GREY), scene(tmp_path / "a.avi", "-c:v", "ffv1")
    for file, module, name, value, code in (
        (pages, limits, "MAX_FRAMES", 2, "too_large"),
        (pages, clip_files, "MAX_CLIP_SECONDS", 0, "too_slow"),
        (path, limits, "MAX_FRAMES", 49, "too_large"),
        (path, clip_files, "MAX_CLIP_SECONDS", 0, "too_slow"),
        (path, limits, "MAX_CLIP_FILE_BYTES", 1000, "too_large"),
        (path, clip_files, "_MEMORY", 60_000_000, "truncated"),  # less than Python and OpenCV take
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            assert clip_refused(file)[0] == code, name
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_FRAMES", 2)
        assert "3 frames of 64x48" in clip_refused(pages)[1]


def test_a_film_that_is_left_early_leaves_no_process_and_no_thread(tmp_path: Path) -> None:
    path = scene(tmp_path / "a.avi", "-c:v", "ffv1")
    before = threading.active_count()
    frames = clip_frames(path)
    next(frames)
    process = frames.gi_frame.f_locals["process"]  # type: ignore[attr-defined]
    assert process.poll() is None or process.returncode == 0
    frames.close()  # type: ignore[attr-defined]
    assert process.returncode is not None and threading.active_count() == before
