"""Clips: near-equal frames skipped, probabilities pooled, the best frame named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_files import PLANTED, data_set, plant, region, save
from program import rows_of, sonoforge
from sonoforge.runtime import Classifier
from sonoforge.runtime.inference.clips import classify_clip, distinct_frames


def drawn(seed: int, height: int = 200, width: int = 240) -> np.ndarray:
    """Blobs of random brightness, as coarse as tissue."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 10)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def test_near_equal_frames_are_skipped_and_a_slow_movement_is_not() -> None:
    still = drawn(0)
    noise = np.random.default_rng(1).integers(-3, 4, (5, *still.shape))
    frozen = [Image.fromarray((still + one).clip(0, 255).astype(np.uint8)) for one in noise]
    assert [number for number, _ in distinct_frames(frozen)] == [1]
    moving = [Image.fromarray(np.roll(drawn(0, 200, 600), -shift, axis=1)[:, :240]) for shift in range(40)]
    numbers = [number for number, _ in distinct_frames(moving)]
    assert numbers[0] == 1 and 3 < len(numbers) < 40
    assert [number for number, _ in distinct_frames([*frozen, Image.fromarray(drawn(9)), *frozen])] == [1, 6, 7]


def test_a_clip_of_one_picture_is_answered_as_the_picture(classifier: Classifier) -> None:
    image = Image.fromarray(drawn(3))
    clip, still = classify_clip(classifier, [image] * 7), classifier.classify(image)
    assert (clip.frames, clip.distinct, clip.agreeing, clip.best_frame) == (7, 1, 1, 1)
    assert clip.pooled.probabilities == pytest.approx(still.probabilities) and clip.pooled.set == still.set


def test_distinct_frames_are_pooled_with_equal_weight(classifier: Classifier) -> None:
    images = [Image.fromarray(drawn(seed)) for seed in range(6)]
    alone = [classifier.classify(image) for image in images]
    clip = classify_clip(classifier, [image for image in images for _ in range(3)])
    assert (clip.frames, clip.distinct) == (18, 6)
    shares = np.array([*classifier.bundle.manifest.default.values()])  # frames are pooled as if classes were alike
    equal = np.array([[*result.probabilities.values()] for result in alone]) / shares
    pooled = (equal / equal.sum(axis=1, keepdims=True)).mean(axis=0) * shares
    assert [*clip.pooled.probabilities.values()] == pytest.approx(pooled / pooled.sum())
    assert clip.agreeing == sum(result.label == clip.pooled.label for result in alone) > 0
    best = alone[(clip.best_frame - 1) // 3]
    assert best.label == clip.pooled.label and best.probabilities == clip.best.probabilities
    rivals = [result for result in alone if result.label == clip.pooled.label]
    flags = [
        len(result.quality.flags) for result in rivals if result.trust.in_distribution == best.trust.in_distribution
    ]
    assert len(best.quality.flags) == min(flags)
    with pytest.raises(ValueError, match="at least one frame"):
        classify_clip(classifier, [])


def test_classify_answers_clips_and_stills_of_a_study(tmp_path: Path) -> None:
    frames = np.stack([drawn(seed) for seed in (1, 1, 2)])
    framed = np.pad(frames, ((0, 0), (20, 0), (30, 0)), constant_values=255)
    banner = region((30, 20, 269, 219), delta=0.01)
    clip = plant(data_set(framed, SequenceOfUltrasoundRegions=[banner], FrameTime=50))
    save(clip, tmp_path / "CLIP")  # type: ignore[arg-type]
    save(data_set(framed[:1], SequenceOfUltrasoundRegions=[banner]), tmp_path / "STILL")
    Image.fromarray(frames[0]).save(tmp_path / "still.png")
    done = sonoforge("classify", tmp_path, "--json", "--overlay", tmp_path / "looked-at")
    assert done.code == 0, done.err
    answers = {Path(answer["file"]).name: answer for answer in done.json["results"]}
    assert answers["STILL"]["probabilities"] == answers["still.png"]["probabilities"]  # cut to the scan
    assert answers["CLIP"]["clip"] == {**answers["CLIP"]["clip"], "frames": 3, "distinct": 2}
    assert answers["CLIP"]["dicom"] == {
        **{"frames": 3, "region": [30, 20, 270, 220], "regions": 1, "spacing_mm": [0.2, 0.1]},
        **{"spacing_from": "region", "frame_time_ms": 50, "passed_over": []},
    }
    for answer in answers.values():
        with Image.open(answer["overlay"]) as picture:
            assert PLANTED not in str(picture.info)
            assert min(picture.size) > 200
    assert PLANTED not in done.out + done.err


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_clip_has_one_answer_whatever_file_holds_it(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="films are an extra: pip install 'sonoforge[video]'")
    frames = np.stack([drawn(seed) for seed in (1, 1, 2, 3)])
    frames[1, 0, 0] ^= 1  # Pillow would write one frame for two
    save(data_set(frames), tmp_path / "clip.dcm")
    first, *others = map(Image.fromarray, frames)
    for name in ("clip.tif", "clip.webp", "clip.png", "clip.gif"):
        first.save(tmp_path / name, save_all=True, append_images=others, lossless=True, duration=100)
    raw = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "240x200", "-r", "10", "-i", "-"]
    for name, codec in {"clip.avi": "ffv1", "clip.mov": "png", "clip.mkv": "ffv1"}.items():
        subprocess.run([*raw, "-c:v", codec, tmp_path / name], input=frames.tobytes(), check=True, timeout=300)
    (tmp_path / "text.mp4").write_text("a list of patients", encoding="utf-8")
    done = sonoforge("classify", tmp_path, "--json", "--overlay", tmp_path / "looked-at", "--html", tmp_path / "a.html")
    assert done.code == 2 and "text.mp4: not an image" in done.out + done.err
    answers = {Path(answer["file"]).name: answer for answer in done.json["results"]}
    assert answers.pop("text.mp4")["error"]["code"] == "not_an_image"
    own = {"file", "ms", "dicom", "copy_of", "seems_copy_of", "series", "overlay"}
    said = {name: {key: answer[key] for key in answer.keys() - own} for name, answer in answers.items()}
    assert len(said) == 8 and said["clip.dcm"]["clip"]["distinct"] == 3
    for name, answer in said.items():
        assert answer == said["clip.dcm"], name
    pictures = [Path(answer["overlay"]).read_bytes() for answer in answers.values()]
    assert len(set(pictures)) == 1
    with (tmp_path / "clip.avi").open("rb") as film:
        command = [sys.executable, "-m", "sonoforge.runtime.cli.main", "classify", "-", "--json"]
        sent = json.loads(subprocess.run(command, stdin=film, capture_output=True, check=True, timeout=300).stdout)
    assert sent["results"][0]["probabilities"] == answers["clip.avi"]["probabilities"]


def test_a_clip_says_that_it_moves_too_fast_or_not_at_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grain = Image.fromarray(rng.integers(0, 256, (120, 450), dtype=np.uint8))
    wide = np.asarray(grain.resize((900, 240), Image.Resampling.BICUBIC))
    swept = {"fast": 15, "slow": 2, "frozen": 0}
    for name, shift in swept.items():
        save(data_set(np.stack([wide[:, n * shift : n * shift + 320] for n in range(4)])), tmp_path / f"{name}.dcm")
    pages = ("--csv", tmp_path / "a.csv", "--html", tmp_path / "a.html")
    done = sonoforge("classify", tmp_path, "--json", *pages)
    assert done.code == 0, done.err
    motions = {Path(answer["file"]).stem: answer["clip"]["motion"] for answer in done.json["results"]}
    for name, shift in swept.items():
        assert motions[name]["per_frame"] == pytest.approx(100 * shift / 240, rel=0.05)
    assert {name: motion["flags"] for name, motion in motions.items()} == {
        **{"fast": ["motion_high"], "slow": [], "frozen": ["frozen"]}
    }
    rows = {Path(row["file"]).stem: row for row in rows_of(tmp_path / "a.csv")}
    page, text = (tmp_path / "a.html").read_text(), " ".join(sonoforge("classify", tmp_path).out.split())
    for name, motion in motions.items():
        assert float(rows[name]["motion_per_frame"]) == motion["per_frame"]
        assert rows[name]["motion_flags"] == "|".join(motion["flags"])
        for sentence in motion["advice"]:
            assert sentence in page and sentence.rstrip(".") in text
    assert "moves by 6.2 % of the shorter side per frame" in page
