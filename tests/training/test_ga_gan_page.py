"""Measured figures of the page on GA-GAN follow from the tables and answers that are kept beside it."""

from __future__ import annotations

import csv
from statistics import median

from places import CHECKOUT
from program import succeed

DOCS = CHECKOUT / "training" / "docs"
PAGE = " ".join((DOCS / "ga-gan.md").read_text(encoding="utf-8").replace("\\\n", " ").split())
NAMES = {"dcgan": "DCGAN", "wgan": "WGAN", "wgan-gp": "WGAN-GP", "bgan": "BGAN", "began": "BEGAN", "ga-gan": "GA-GAN"}
ARMS = {"real": "real images", "weighted": "real images, weighted loss", "gan-all": "real and generated images"}


def read(name: str) -> list[dict[str, str]]:
    with (DOCS / "measured" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_search_found_what_its_children_show() -> None:
    rows = read("cytology-search.csv")
    given_up = sum(row["state"] == "pruned" for row in rows)
    assert len(rows) == 48 and f"{given_up} of the 48 trainings were given up early" in PAGE
    ended = {
        stage: {int(row["child"]): (float(row["kid"]), row["code"]) for row in rows if row["stage"] == stage}
        for stage in ("generator", "discriminator")
    }
    best, beside = (min(children.values()) for children in ended.values())
    assert f"fell from {ended['generator'][0][0]:.0f} (the first code) to {best[0]:.0f} with the best generator" in PAGE
    assert f"the best had {beside[0]:.0f}" in PAGE and beside[0] > best[0]
    assert f'--generator-cell "{best[1]}" --discriminator-cell "{beside[1]}"' in PAGE
    pairs = {
        (row["generator_cell"], row["discriminator_cell"]): row["pair"] for row in read("cytology-search-afresh.csv")
    }
    first = {(ended["generator"][child][1], ended["discriminator"][child][1]) for child in range(8)}
    assert {pair for pair, kind in pairs.items() if kind == "random"} == first
    assert {pair for pair, kind in pairs.items() if kind == "best"} == {(best[1], beside[1])}


def test_its_pair_beats_the_median_random_pair_as_stated() -> None:
    rows = read("cytology-search-afresh.csv")
    best, others = (sorted(float(row["kid"]) for row in rows if row["pair"] == pair) for pair in ("best", "random"))
    assert f"| best pair, three seeds | {', '.join(f'{kid:.0f}' for kid in best)} | **{median(best):.0f}** |" in PAGE
    listed = ", ".join(f"{kid:.0f}" for kid in others)
    assert f"| random pairs, a seed each | {listed} | {median(others):.0f} |" in PAGE
    better = sum(kid < median(best) for kid in others)
    assert (better, len(others)) == (3, 8) and "three of the eight beat it" in PAGE


def test_the_table_of_six_is_that_of_its_run() -> None:
    rows = [row for row in read("cytology-six-32.csv") if row["source"] == "ours" and row["milestone"] == "1.0"]
    assert {row["recipe"] for row in rows} == NAMES.keys()
    for row in rows:
        kid, fid, diversity = (float(row[name]) for name in ("kid", "fid", "diversity"))
        ratios = [float(row[f"{name}_ratio"]) for name in ("kid", "fid")]
        seconds = float(row["seconds_per_kimg"])
        assert (
            f"| {NAMES[row['recipe']]} | {kid:.0f} ({ratios[0]:.1f}) | {fid:.0f} ({ratios[1]:.1f}) | {diversity:.2f} | "
            f"{seconds:.2f} |"
        ) in PAGE
    own = next(float(row["seconds_per_kimg"]) for row in rows if row["recipe"] == "ga-gan")
    times = sorted(own / float(row["seconds_per_kimg"]) for row in rows if row["recipe"] != "ga-gan")
    assert f"takes {times[0]:.0f} to {times[-1]:.0f} times as long" in PAGE


def test_the_table_of_their_use_comes_from_the_answers_again() -> None:
    done = succeed("crossval", "--from", DOCS / "predictions" / "cytology-use.csv.gz").json
    minus_real = {row["second"]: row["accuracy_difference"] for row in done["comparisons"]}
    for arm, name in ARMS.items():
        found, area = done["arms"][arm]["accuracy"], done["arms"][arm]["macro_auc"]["value"]
        apart = "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**minus_real[arm]) if arm in minus_real else "-"
        line = "| {} | {value:.3f} [{low:.3f}, {high:.3f}] | {:.3f} | {} |".format(name, area, apart, **found)
        assert line in PAGE
    assert minus_real["gan-all"]["low"] < 0 < minus_real["gan-all"]["high"] and "The images did not help" in PAGE
