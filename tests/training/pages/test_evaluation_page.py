"""The evaluation's page prints the figures it is given, answers by its rules, loads nothing; its pictures draw."""

from __future__ import annotations

import copy
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from test_report import LOADING, Page

from sonoforge.training.evaluation.projections import Projection, hull_overlap
from sonoforge.training.pages.evaluation import page, pictures, words

HOSTILE = "<script>alert(1)</script>&\"'$\\frac{{ 7 * 1111111 }}"


def row(name: str, better: str, question: str, matched: tuple[float, ...], floor: tuple[float, ...]) -> dict[str, Any]:
    """A metric: matched and floor are mean, low, high."""
    return {
        "name": name,
        "title": name.upper(),
        "space": "bundle 1a2b",
        "better": better,
        "question": question,
        "value": matched[0] * 0.97,
        "standard_error": 0.01,
        **dict(zip(("matched", "matched_low", "matched_high"), matched, strict=True)),
        **dict(zip(("floor", "floor_low", "floor_high"), floor, strict=True)),
        "ratio": (floor[1] / matched[0] if matched[0] else None) if better == "high" else matched[0] / floor[2],
        "note": "",
    }


def good() -> dict[str, Any]:
    """Results in which nothing is found against the generator."""
    return {
        "real": {"source": "data/BUSI", "class": "malignant", "images": 210, "groups": 180},
        "fake": {"source": "runs/00001/samples", "class": "malignant", "images": 400, "synthetic": True},
        "n": 105,
        "metrics": [
            row("kid", "low", "realistic", (0.0011, -0.0004, 0.0029), (0.0001, -0.0012, 0.0021)),
            row("linear_probe_auc", "low", "realistic", (0.55, 0.49, 0.63), (0.5, 0.42, 0.61)),
            row("recall", "high", "diverse", (0.71, 0.63, 0.78), (0.72, 0.64, 0.81)),
            row("coverage", "high", "diverse", (0.9, 0.84, 0.95), (0.93, 0.87, 0.98)),
            row("ms_ssim", "near", "diverse", (0.22, 0.2, 0.25), (0.22, 0.19, 0.24)),
            row("lpips_pairs", "near", "diverse", (6.1, 5.8, 6.4), (6.0, 5.7, 6.3)),
        ],
        "copies": {
            "calibration": "held-out",
            "threshold": 2.37,
            "share": 0.02,
            "low": 0.01,
            "high": 0.039,
            "false_alarm": 0.019,
            "memorised": 0.001,
            "p_value": 0.48,
            "data_copying_z": 0.31,
            "images": 400,
            "flagged": ["seed7.png"],
        },
        "protocol": {"size": 128, "features": "bundle 1a2b", "repeats": 100, "kernel": {"degree": 3}},
        "protocol_id": "5f13a1e7c0ffee00",
        "not_measured": [{"name": "LPIPS", "why": "no weights were named"}],
        "projections": {
            "pca": {"protocol": "fitted on 210", "explained": [0.314, 0.159], "iou": 0.72, "fakes_inside": 0.85}
        },
        "seconds": 83.0,
    }


def change(results: dict[str, Any], name: str, **figures: Any) -> dict[str, Any]:
    """The results with some figures of one metric, or of the copy test, replaced."""
    changed = copy.deepcopy(results)
    target = changed["copies"] if name == "copies" else next(r for r in changed["metrics"] if r["name"] == name)
    assert set(figures) <= set(target)
    target.update(figures)
    return changed


def answers(results: dict[str, Any]) -> tuple[str, ...]:
    verdicts = words.judge(results)
    return tuple(verdicts[question]["answer"] for question in page.QUESTIONS)


def png(width: int = 60, height: int = 40) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def drawn(figure: Figure) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(pictures.png_bytes(figure, dpi=60))) as image:
        assert "synthetic" in image.info["Description"] and "not a medical device" in image.info["Description"]
        return np.asarray(image.convert("RGB"))


# ---- the page


def test_page_shows_every_figure_and_every_setting(tmp_path: Path) -> None:
    results = good()
    found = Page(page.write_page(tmp_path, results, {name: png() for name in page.ALTS}).read_text(encoding="utf-8"))
    table = {cells[0]: cells[1:] for cells in found.table("All metrics") if len(cells) > 1}
    assert len(table) == 1 + len(results["metrics"])
    for metric in results["metrics"]:
        cells = table[metric["title"] + metric["space"]]
        for cell, name in zip(cells[1:4], ("value", "matched", "floor"), strict=True):
            assert cell.startswith(words.figure(metric[name]))
        for name in ("matched_low", "matched_high", "floor_low", "floor_high"):
            assert words.figure(metric[name]) in " ".join(cells)
        assert cells[4] == words.times(metric["ratio"])
    copies = {cells[0]: cells[1:] for cells in found.table("Copy test")}
    assert copies["threshold"][0] == "2.37" and copies["p value"][0] == "= 0.480"
    assert copies["generated images too close"] == ["2.0 %", "95 % interval 1.0 % to 3.9 %"]
    settings = dict(found.table("Every setting"))
    assert settings == {"size": "128", "features": "bundle 1a2b", "repeats": "100", "kernel": '{"degree": 3}'}
    for text in ("5f13a1e7c0ffee00", "Not comparable", "not a medical device", "synthetic", "no weights were named"):
        assert text in found.text
    assert "31.4 %, 15.9 %" in found.text.replace("\u00a0", " ") and "seed7.png" in found.text
    for verdict in words.judge(results).values():
        assert all(re.sub(r"\s+", " ", verdict[part]) in found.text for part in ("headline", "value", "text", "figure"))


def test_page_loads_nothing_and_is_accessible(tmp_path: Path) -> None:
    source = page.write_page(tmp_path, good(), {name: png() for name in page.ALTS}).read_text(encoding="utf-8")
    found = Page(source)
    assert not LOADING & {tag for tag, _ in found.tags}
    images = [attributes for tag, attributes in found.tags if tag == "img"]
    assert len(images) == len(page.ALTS) and {image["alt"] for image in images} == set(page.ALTS.values())
    assert all(image["src"].startswith("data:image/") and int(image["width"]) == 60 for image in images)
    assert all(attributes["href"].startswith("#") for tag, attributes in found.tags if tag == "a")
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in found.tags if tag == "a"} <= ids
    assert "url(" not in source and "@import" not in source and "http" not in source.replace("http-equiv", "")
    assert all("scope" in attributes for tag, attributes in found.tags if tag == "th")


def test_page_escapes_names_from_files(tmp_path: Path) -> None:
    results = good()
    for part in ("real", "fake"):
        results[part] |= {"source": HOSTILE, "class": HOSTILE}
    results["metrics"][0] |= {"title": HOSTILE, "space": HOSTILE, "note": HOSTILE}
    results["copies"] |= {"flagged": [HOSTILE, "\udcff.png"]}
    results |= {"warnings": [HOSTILE], "not_measured": [{"name": HOSTILE, "why": HOSTILE}]}
    results |= {"protocol": {HOSTILE: HOSTILE}, "protocol_id": HOSTILE, "projections": {"pca": {"protocol": HOSTILE}}}
    source = page.write_page(tmp_path, results, {}).read_text(encoding="utf-8")
    found = Page(source)
    assert not {tag for tag, _ in found.tags} & LOADING and "<script" not in source and "7777777" not in found.text
    assert found.text.count(HOSTILE) >= 14


def test_page_of_what_is_missing_says_so(tmp_path: Path) -> None:
    results = {name: value for name, value in good().items() if name not in ("not_measured", "projections", "seconds")}
    results |= {"metrics": [], "copies": None, "n": None, "protocol": {}}
    results["real"] |= {"groups": None, "class": ""}
    results["fake"] |= {"class": "", "synthetic": False}
    found = Page(page.write_page(tmp_path, results, {}).read_text(encoding="utf-8"))
    assert answers(results) == ("unknown", "unknown", "unknown")
    assert (
        found.text.count("Not measured") == 3
        and "Not tested." in found.text
        and "not marked as synthetic" in found.text
    )
    results["metrics"] = [
        {**good()["metrics"][0], **dict.fromkeys(("matched", "matched_low", "matched_high", "ratio"))}
    ]
    results["metrics"] += [
        {**good()["metrics"][2], **dict.fromkeys(("floor", "floor_low", "floor_high", "standard_error"))}
    ]
    found = Page(page.write_page(tmp_path, results, {}).read_text(encoding="utf-8"))
    assert answers(results) == ("unknown", "unknown", "unknown") and found.text.count("not compared with real") == 2


def test_page_stays_small_and_takes_no_unknown_picture(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(2200, 1500, 3)).save(stream, "PNG", compress_level=1)
    path = page.write_page(
        tmp_path, good(), dict.fromkeys(page.ALTS, png()) | {"samples": stream.getvalue(), "nearest": stream.getvalue()}
    )
    assert len(stream.getvalue()) > 9_000_000 and path.stat().st_size < 10_000_000
    assert page.write_page(tmp_path, good(), {name: png() for name in page.ALTS}).stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"found \['sample'\]"):
        page.write_page(tmp_path, good(), {"sample": png()})


def test_bad_news_stands_before_the_answers(tmp_path: Path) -> None:
    results = change(good(), "copies", share=0.1, low=0.07, high=0.13, p_value=1e-6)
    results = change(results, "lpips_pairs", matched=2.0, matched_low=1.8, matched_high=2.2)
    results |= {"n": 20, "warnings": ["The feature network was trained on these images."]}
    text = Page(page.write_page(tmp_path, results, {}).read_text(encoding="utf-8")).text.replace("\u00a0", " ")
    warned = text[text.index("Read first") : text.index("Is it realistic?")]
    for said in ("trained on these images", "only 33 % of what real", "Copies found: 40 of 400", "20 images a side"):
        assert said in warned
    assert "Read first" not in Page(page.write_page(tmp_path, good(), {}).read_text(encoding="utf-8")).text


# ---- the answers


def test_nothing_found_against_a_generator_gives_good_answers_with_their_limits() -> None:
    verdicts = words.judge(good())
    assert answers(good()) == ("yes", "yes", "no")
    assert "105 images a side" in verdicts["realistic"]["headline"]
    assert "for a specialist to say" in verdicts["realistic"]["text"]
    assert "up to 3.9" in verdicts["copied"]["text"]
    assert "prove" not in " ".join(part for verdict in verdicts.values() for part in verdict.values())


@pytest.mark.parametrize(
    ("metric", "figures", "expected"),
    [
        ("kid", {"matched": 0.03, "matched_low": 0.02, "matched_high": 0.04}, ("no", "yes", "no")),
        ("kid", {"matched": 0.003, "matched_low": 0.001, "matched_high": 0.005}, ("partly", "yes", "no")),
        ("kid", {"matched": -0.01, "matched_low": -0.02, "matched_high": -0.005}, ("yes", "yes", "no")),
        ("linear_probe_auc", {"matched": 0.9, "matched_low": 0.8, "matched_high": 0.95}, ("partly", "yes", "no")),
        ("recall", {"matched": 0.3, "matched_low": 0.2, "matched_high": 0.4}, ("yes", "partly", "no")),
        ("recall", {"matched": 0.99, "matched_low": 0.98, "matched_high": 1.0}, ("yes", "yes", "no")),
        ("ms_ssim", {"matched": 0.4, "matched_low": 0.35, "matched_high": 0.45}, ("yes", "partly", "no")),
        ("ms_ssim", {"matched": 0.1, "matched_low": 0.05, "matched_high": 0.12}, ("yes", "yes", "no")),
        ("lpips_pairs", {"matched": 4, "matched_low": 3, "matched_high": 5}, ("yes", "partly", "no")),
        ("lpips_pairs", {"matched": 8, "matched_low": 7, "matched_high": 9}, ("yes", "yes", "no")),
        ("copies", {"p_value": 0.001, "share": 0.08}, ("yes", "yes", "yes")),
        ("copies", {"data_copying_z": -4.0}, ("yes", "yes", "partly")),
        ("copies", {"calibration": "training images of other groups", "data_copying_z": -2.0}, ("yes", "yes", "no")),
        ("copies", {"data_copying_z": None}, ("yes", "yes", "no")),
        ("copies", {"images": 49}, ("yes", "yes", "unknown")),
    ],
)
def test_each_answer_follows_its_own_figures(metric: str, figures: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert answers(change(good(), metric, **figures)) == expected


def test_recall_and_coverage_both_below_real_images_is_a_no() -> None:
    results = change(good(), "recall", matched=0.3, matched_low=0.2, matched_high=0.4)
    results = change(results, "coverage", matched=0.5, matched_low=0.4, matched_high=0.6)
    results["metrics"][2]["ratio"], results["metrics"][3]["ratio"] = 0.64 / 0.3, 0.87 / 0.5
    verdict = words.judge(results)["diverse"]
    assert verdict["answer"] == "no" and verdict["value"].replace("\u00a0", " ") == "30 %"
    assert "no more alike than real images" in verdict["text"]


def test_few_images_can_convict_but_not_acquit() -> None:
    few = {**good(), "n": words.FEW - 1}
    assert answers(few) == ("unknown", "unknown", "no")
    bad = change(few, "kid", matched=0.03, matched_low=0.02, matched_high=0.04)
    assert answers(bad) == ("no", "unknown", "no")


def test_two_feature_spaces_that_disagree_give_a_partly() -> None:
    results = good()
    far = change(results, "kid", matched=0.03, matched_low=0.02, matched_high=0.04, ratio=14.3)["metrics"][0]
    results["metrics"].append({**far, "space": "inception"})
    verdict = words.judge(results)["realistic"]
    assert verdict["answer"] == "partly" and "inception" in verdict["figure"] and verdict["value"] == "14.3 times"


def test_a_recall_of_nothing_is_the_worst_of_all() -> None:
    results = good()
    results["metrics"].append(row("recall", "high", "diverse", (0.0, 0.0, 0.0), (0.7, 0.6, 0.8)))
    verdict = words.judge(results)["diverse"]
    assert verdict["value"].replace("\u00a0", " ") == "0 %" and verdict["answer"] == "partly"


def test_numbers_are_printed_with_three_digits() -> None:
    found = [words.figure(value) for value in (0.031249, 58.123, 1234.4, 100.0, -0.0011, 0.0, None, float("nan"))]
    assert found == ["0.0312", "58.1", "1234", "100", "\u22120.00110", "0", "n/a", "n/a"]
    assert [words.times(value) for value in (0.523, 5.68, 143.2, None)] == ["0.52", "5.7", "143", "n/a"]


# ---- the pictures


def test_nearest_sheet_shows_the_closest_first_mirrored_where_mirrored_and_framed_where_flagged() -> None:
    dark, bright = np.full((16, 16, 1), 60, np.uint8), np.full((16, 16, 1), 120, np.uint8)
    half = np.zeros((16, 16, 1), np.uint8)
    half[:, 8:] = 255
    fakes, training = np.stack([dark, half[:, ::-1]]), np.stack([bright, half])
    indices, distances = np.array([[0, 1], [1, 0]]), np.array([[2.0, 3.0], [0.5, 4.0]])
    mirrored = np.array([[False, False], [True, False]])
    figure = pictures.nearest_sheet(fakes, training, indices, distances, mirrored, np.array([False, True]))
    cells = np.array([axes.images[0].get_array() for axes in figure.axes], dtype=np.uint8)[..., 0].reshape(2, 3, 16, 16)
    np.testing.assert_array_equal(cells[0, 0], half[:, ::-1, 0])
    np.testing.assert_array_equal(cells[0, 1], cells[0, 0])
    np.testing.assert_array_equal(cells[1], np.stack([dark, bright, half])[..., 0])
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "generated: too close",
        "0.5, mirrored",
        "4",
        "generated",
        "2",
        "3",
    ]
    assert [axes.spines["left"].get_visible() for axes in figure.axes] == [True, True, False, False, False, False]
    drawn(figure)


def test_nearest_sheet_of_one_neighbour_each_puts_two_pairs_on_a_line() -> None:
    fakes, training = noise(9, 8, 8, 1), noise(4, 8, 8, 1, seed=1)
    order = np.random.default_rng(0).permutation(9)
    indices, none = np.arange(9)[:, None] % 4, np.zeros((9, 1), bool)
    figure = pictures.nearest_sheet(fakes, training, indices, order[:, None] / 10, none, none[:, 0], rows=3)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(figure.axes) == 8 and len(shown) == 6
    for place, fake in enumerate(np.argsort(order)[:3]):
        np.testing.assert_array_equal(np.asarray(shown[2 * place])[..., 0], fakes[fake, ..., 0])
        np.testing.assert_array_equal(np.asarray(shown[2 * place + 1])[..., 0], training[fake % 4, ..., 0])
    drawn(figure)


def test_sample_sheet_puts_every_image_in_its_place_and_colour_stays_colour() -> None:
    real, fake = noise(5, 10, 10, 3), noise(20, 10, 10, 1, seed=1)
    figure = pictures.sample_sheet(real, fake, columns=4, rows=2)
    above, below = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    assert above.shape == below.shape == (22, 46, 3)
    np.testing.assert_array_equal(above[12:22, 0:10], real[4])
    assert (above[12:, 12:] == 255).all()
    np.testing.assert_array_equal(below[12:22, 24:34, 1], fake[16, ..., 0])  # the 7th of 8 spread over 20
    np.testing.assert_array_equal(below[12:22, 36:46, 1], fake[19, ..., 0])
    assert "5 of 5" in figure.axes[0].get_title("left") and "8 of 20" in figure.axes[1].get_title("left")
    drawn(figure)


def test_ratio_marks_stand_right_of_one_where_worse_and_are_full_where_not() -> None:
    rows = good()["metrics"]
    rows.append(row("recall_b", "high", "diverse", (0.32, 0.25, 0.4), (0.72, 0.64, 0.81)))
    rows.append(row("pairs", "near", "diverse", (3.0, 2.8, 3.2), (6.0, 5.7, 6.3)))
    rows.append(row("fid", "low", "realistic", (90.0, 80.0, 99.0), (8.0, 7.0, 9.0)))
    rows.append({**rows[0], "matched": None})
    figure = pictures.draw_ratios(rows)
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(marks) == 9
    placed = [float(mark.get_xdata()[0]) for mark in marks]
    assert placed[0] == pytest.approx(0.0011 / 0.0021)
    assert placed[6:] == pytest.approx([2.0, 5.7 / 3.0, 10.0])
    assert [mark.get_markerfacecolor() != "white" for mark in marks] == [True] * 6 + [False] * 3
    assert figure.axes[0].get_xscale() == "symlog" and pictures.draw_ratios(rows[:6]).axes[0].get_xscale() == "linear"
    drawn(figure)
    beyond = pictures.draw_ratios([row("recall", "high", "diverse", (0.0, 0.0, 0.0), (0.7, 0.6, 0.8))])
    assert [line.get_marker() for line in beyond.axes[0].lines if len(line.get_xdata()) == 1] == [">"]
    drawn(pictures.draw_ratios([]))


def test_projection_draws_two_shapes_their_hulls_and_the_explained_variance() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(40, 2)), rng.normal(size=(30, 2)) + 1
    projection = Projection("pca", real, fake, np.array([0.314, 0.159]), "")
    figure = pictures.draw_projection(projection, HOSTILE, hull_overlap(real, fake))
    axes = figure.axes[0]
    assert "31.4 %" in axes.get_xlabel() and "15.9 %" in axes.get_ylabel() and "0." in axes.get_title("left")
    assert len(axes.lines) == 2 and axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()
    shapes = [collection.get_paths()[0].vertices.shape for collection in axes.collections[:2]]
    assert shapes[0] != shapes[1]
    drawn(figure)
    drawn(
        pictures.draw_projection(
            Projection("tsne", real[:2], fake[:1], None, ""), "t", hull_overlap(real[:2], fake[:1])
        )
    )


def test_distances_and_bias_are_drawn_as_measured() -> None:
    figure = pictures.distance_histogram(np.array([0.1, 2.0, 2.3]), np.array([2.0, 2.5, 3.0, 3.5]), 1.5, "left out")
    heights = [patch.get_xy()[:, 1].max() for patch in figure.axes[0].patches]
    assert heights == pytest.approx([1 / 4, 1 / 3])
    assert figure.axes[0].lines[0].get_xdata()[0] == 1.5
    assert any("left out, 4" in text.get_text() for text in figure.legends[0].get_texts())
    drawn(figure)
    fid, kid = np.array([[30.0, 34.0], [15.0, 17.0]]), np.array([[0.01, -0.01], [0.001, -0.003]])
    figure = pictures.draw_fid_bias([10, 20], fid, kid)
    means = [axes.lines[1].get_ydata() for axes in figure.axes]
    np.testing.assert_allclose(means, [[32, 16], [0, -0.001]], atol=1e-12)
    drawn(figure)


def test_the_same_figure_gives_the_same_bytes() -> None:
    first, second = (pictures.png_bytes(pictures.sample_sheet(noise(2, 8, 8, 1), noise(2, 8, 8, 1))) for _ in range(2))
    assert first == second
