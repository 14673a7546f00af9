"""Figures that papers claim, as printed and as quoted, and what follows from them."""

from __future__ import annotations

import collections
import csv
import gzip
import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from torch import nn

from gan_trainings import options_of
from golden import printed
from places import CHECKOUT
from sonoforge.training.data.layouts import BUSI_CLASSES
from sonoforge.training.gan.networks import outline_networks
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.gan.settings import compose
from sonoforge.training.segmentation.experiment import settings_of
from sonoforge.training.segmentation.options import BUDGETS, Experiment
from sonoforge.training.segmentation.options import SIX as ALL_SIX
from sonoforge.training.settings.gan import SEARCHES, GanCompareConfig, GanSearchConfig
from sonoforge.training.statistics.published import (
    BUSI_COUNTS,
    GPU_GB,
    PAPERS,
    PUBLISHED,
    PUBLISHED_SEGMENTATION,
    PublishedGan,
    accuracy_by_sensitivity,
)
from sonoforge.training.statistics.results import Interval

THESIS, STYLEGAN, LOSSES, SIX = map(printed, ("thesis", "stylegan", "dgan-wp-tl", "six-gans"))
GA_GAN = printed("ga-gan")
ROWS = {row.name.split(" (")[0]: row for row in PUBLISHED}
FIGURES = [name for name, kind in PublishedGan.__annotations__.items() if "float" in str(kind)]
NETWORKS = {"": "Real data", "dcgan": "DCGAN", "lsgan": "LSGAN", "wgan": "WGAN", "biggan": "BigGAN", "spade": "SPADE"}
NETWORKS |= {"stylegan1": "StyleGAN"}


def told(row: PublishedGan) -> dict[str, float]:
    """The figures that a row of ours has."""
    return {name: getattr(row, name) for name in FIGURES if getattr(row, name) is not None}


def figures(columns: dict[str, str]) -> dict[str, float]:
    return {name: float(value) for name, value in columns.items() if name in FIGURES}


@pytest.mark.parametrize("system", THESIS["1"])
def test_systems_of_the_thesis_have_the_figures_of_its_table_1(system: str) -> None:
    row, columns = ROWS[system], {name: float(value) for name, value in THESIS["1"][system].items()}
    assert row.sensitivity is not None and row.specificity is not None and row.train_accuracy is not None
    for name, sensitivity, specificity in zip(BUSI_CLASSES, row.sensitivity, row.specificity, strict=True):
        assert (sensitivity, specificity) == (columns[f"sensitivity, {name}"], columns[f"specificity, {name}"])
    assert 100 * row.accuracy == pytest.approx(columns["accuracy, test"])
    assert 100 * row.train_accuracy == pytest.approx(columns["accuracy, train"])


def test_what_the_thesis_says_beside_its_table_1() -> None:
    in_text = THESIS["section 4"]["System 2"]
    assert ROWS["System 2"].specificity_in_text == [float(in_text[f"specificity, {name}"]) for name in BUSI_CLASSES]
    again = THESIS["section 3.3"]["Existing app, made again"]
    assert 100 * ROWS["Existing app, made again"].accuracy == pytest.approx(float(again["accuracy, test"]))
    for name, columns in THESIS["section 2.1"].items():
        assert 100 * ROWS[name].accuracy == pytest.approx(float(columns["accuracy, test"]))
    matrix = [
        [int(THESIS["figure 12c"][f"predicted {answer}"][f"actual {name}"]) for answer in BUSI_CLASSES]
        for name in BUSI_CLASSES
    ]
    assert ROWS["Existing app"].confusion == matrix
    images = THESIS["section 3.1"]["images"]
    assert list(BUSI_COUNTS) == [int(images[name]) for name in BUSI_CLASSES]
    made = THESIS["section 3.4"]["generated"]
    lacks = {name: max(BUSI_COUNTS) - count for name, count in zip(BUSI_CLASSES, BUSI_COUNTS, strict=True)}
    assert {name: int(count) for name, count in made.items()} == {name: lack for name, lack in lacks.items() if lack}


def test_the_thesiss_generators_are_trained_as_printed() -> None:
    recipe, section = RECIPES["dcgan-thesis"], THESIS["section 3.4"]
    for name in ("malignant", "normal"):
        own = recipe.budget_for(name)
        assert (own.length, own.batch) == (int(section[name]["epochs"]), int(section[name]["batch"]))
    assert recipe.generator_optimiser == recipe.discriminator_optimiser
    assert recipe.generator_optimiser.learning_rate == float(section["both networks"]["learning rate"])
    assert recipe.latent_size == int(section["generator"]["noise"])
    assert recipe.image_size == int(THESIS["section 3.1"]["images"]["side"])


def test_stylegans_as_they_train_have_the_figures_of_tables_1_to_3() -> None:
    rows = PAPERS["stylegan"].rows
    assert len(rows) == len(STYLEGAN["1"]) + len(STYLEGAN["2"])
    for row in rows:
        when = f"{row.network}, epoch {row.epoch}"
        quality = figures(STYLEGAN["1" if row.data == "BUSI" else "2"][when])
        costs = figures(STYLEGAN["3"][f"{row.data}, {row.network}"] | STYLEGAN["3"][f"{row.data}, {when}"])
        assert told(row) == quality | costs, row
        assert row.table == f"tables {'1' if row.data == 'BUSI' else '2'} and 3"


def test_others_beside_the_stylegans_have_the_figures_of_tables_4_and_5() -> None:
    others = PAPERS["stylegan"].others
    theirs = {(number, name) for number in "45" for name in STYLEGAN[number]} - {
        (n, f"StyleGAN{k}") for n in "45" for k in "23"
    }
    assert {(row.table.removeprefix("table "), row.network) for row in others if row.table} == theirs
    for row in others:
        number = row.table.removeprefix("table ")
        if not number:  # quoted from the paper on loss functions
            assert told(row) == figures(LOSSES["abstract"]["WGAN-GP, lambda 5"])
            continue
        columns = STYLEGAN[number][row.network]
        assert (row.data, told(row)) == (columns["data"], figures(columns))
        if row.epoch is not None:
            assert row.epoch == int(STYLEGAN["introduction"][row.network]["epochs"])


def test_the_stylegans_were_trained_as_the_paper_says() -> None:
    said = STYLEGAN["methodology"]["training"]
    assert int(said["GPU memory, GB"]) == GPU_GB
    for name in ("stylegan2", "stylegan3-t"):
        recipe = RECIPES[name]
        assert recipe.generator_optimiser == recipe.discriminator_optimiser
        assert recipe.generator_optimiser.betas == (float(said["beta1"]), float(said["beta2"]))
        assert recipe.generator_optimiser.learning_rate == float(said["learning rate"])
        assert (recipe.budget.length, recipe.budget.batch) == (int(said["epochs"]), int(said["batch"]))
        assert recipe.image_size == int(said["side, BUSI"])
    assert [share * int(said["epochs"]) for share in GanCompareConfig().milestones] == [100, 500, 1000]


def test_the_loss_functions_have_the_figures_of_the_abstract() -> None:
    (row,) = PAPERS["dgan-wp-tl"].rows
    assert told(row) == figures(LOSSES["abstract"]["WGAN-GP, lambda 5"])
    assert (
        str(RECIPES["dgan-wp-tl-wgangp"].perceptual_weight) in LOSSES["abstract"]["perceptual loss"]["lambda"].split()
    )


def test_the_six_gans_have_the_figures_of_table_4_and_no_others() -> None:
    ours = {
        (NETWORKS[row.recipe], f"{what}, {row.data}"): getattr(row, what)
        for row in PUBLISHED_SEGMENTATION
        for what in ("fid", "dice")
        if getattr(row, what) is not None
    }
    theirs = {
        (network, column): float(value) for network, columns in SIX["4"].items() for column, value in columns.items()
    }
    assert ours == theirs


@pytest.mark.parametrize(("network", "classes"), [("StyleGAN", 0), ("BigGAN", 2), ("BigGAN", 8)])
def test_the_six_gans_at_full_budget_have_the_sizes_of_section_5_1(network: str, classes: int) -> None:
    """Table 2 has BigGAN class-conditional, so its weights are counted with classes."""
    said = SIX["section 5.1"][network]
    (name,) = (name for name in ALL_SIX["full"] if NETWORKS[name.partition(":")[0]] == network)
    recipe, _, preset = name.partition(":")
    composed = compose(GanSettings(recipe=recipe, preset=preset))
    assert composed.image_size == int(said["side"])
    options = options_of(composed, composed.image_size, 1, 2, classes)
    assert (options["classes"], composed.conditioning) == (classes, "projection" if classes else "none")
    count = sum(weights.numel() for weights in outline_networks(composed, options)[0].parameters()) / 1e6
    # 30 million are StyleGAN2's at this size; StyleGAN's generator has 26.2 million (Karras et al. 2019, section 2).
    assert count == pytest.approx({"StyleGAN": 26.2, "BigGAN": float(said["million parameters"])}[network], abs=0.5)
    assert BUDGETS["full"]["generator"]["epochs"] == float(SIX["section 4.3"]["training"]["epochs"])


def test_spade_at_full_budget_is_the_one_of_its_paper() -> None:
    """Park 2019, appendix A and the authors' code: 64 channels at the image's side, 1024 at the smallest."""
    experiment = Experiment(budget="full", generator=GanSettings(features="vgg19", **BUDGETS["full"]["generator"]))
    (name,) = (name for name in ALL_SIX["full"] if name.startswith("spade"))
    settings = settings_of(experiment, name)
    composed = compose(settings)
    assert (settings.image_size, settings.batch, composed.budget.batch) == (256, None, 32)
    assert (composed.perceptual_weight, composed.perceptual_network, composed.feature_matching) == (10, "vgg19", 10)
    generator, discriminator = outline_networks(composed, options_of(composed, 256, 1, 3))
    shapes = [module.weight.shape for module in generator.modules() if isinstance(module, nn.Conv2d)]
    assert shapes[-1] == (1, 64, 3, 3) and max(shape[0] for shape in shapes) == 1024
    shapes = [module.weight.shape for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    assert [shape[0] for shape in shapes] == 2 * [64, 128, 256, 512, 1]


def test_all_six_gans_are_those_of_table_4() -> None:
    for names in ALL_SIX.values():
        assert [NETWORKS[name.partition(":")[0]] for name in names] == [
            name for name in SIX["4"] if name != "Real data"
        ]
    assert all(RECIPES[name.partition(":")[0]].growing for name in ALL_SIX["full"] if "stylegan" in name), "section 4.3"


def test_each_row_of_ga_gan_has_the_printed_figures_and_no_others() -> None:
    told = {
        (row.network, name): getattr(row, name)
        for row in PAPERS["ga-gan"].rows
        for name in FIGURES
        if getattr(row, name) is not None
    }
    networks = {network for network, _ in told}
    found = {
        (network, name): float(value)
        for rows in GA_GAN.values()
        for network, columns in rows.items()
        for name, value in columns.items()
        if network in networks
    }
    assert told == found


def test_training_and_search_of_ga_gan_are_as_printed() -> None:
    own, figures = RECIPES["ga-gan"], {name: float(value) for name, value in GA_GAN["section 4"]["search"].items()}
    generator, discriminator = own.generator_optimiser, own.discriminator_optimiser
    assert generator.betas == discriminator.betas == (figures["beta1"], figures["beta2"])
    assert generator.learning_rate == figures["learning rate of the generator"]
    assert discriminator.learning_rate == figures["learning rate of the discriminator"]
    assert own.budget.unit == "iterations" and own.budget.length == figures["iterations of the final training"]
    assert (own.budget.batch, own.image_size) == (figures["batch"], figures["image side"])
    preset = SEARCHES["cells-paper"]
    for name in ("population", "children", "sample"):
        assert preset[name] == figures[{"children": "cycles"}.get(name, name)]
    assert GanSearchConfig().mutation == figures["mutation"]
    assert (preset["gan"]["epochs"], preset["gan"]["image_size"]) == (figures["epochs"], figures["image side"])


def by_specificity(specificities: Sequence[float], counts: Sequence[int]) -> Interval:
    """Every wrong answer is a false alarm of exactly one class; the bounds are from before rounding to two digits."""
    rest = sum(counts) - np.array(counts)
    ends = (np.clip(np.array(specificities) + change, 0, 1) for change in (0, -0.005, 0.005))
    value, low, high = (float(1 - ((1 - shares) * rest).sum() / sum(counts)) for shares in ends)
    return Interval(value=value, low=low, high=high)


def ends(implied: Interval) -> str:
    return f"{100 * implied['low']:.1f} to {100 * implied['high']:.1f} %"


@pytest.mark.parametrize("seed", range(40))
def test_any_answers_that_round_to_the_published_figures_have_an_accuracy_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 500, int(rng.integers(2, 6)))
    quality = rng.dirichlet(np.ones(len(counts)), len(counts)) + rng.uniform(0, 8) * np.eye(len(counts))
    confusion = np.stack([rng.multinomial(n, row / row.sum()) for n, row in zip(counts, quality, strict=True)])
    accuracy = float(np.trace(confusion) / confusion.sum())
    rest = confusion.sum() - counts
    sensitivities = np.round(np.diag(confusion) / counts, 2).tolist()
    specificities = np.round(1 - (confusion.sum(axis=0) - np.diag(confusion)) / rest, 2).tolist()
    for implied in (
        accuracy_by_sensitivity(sensitivities, counts.tolist()),
        by_specificity(specificities, counts.tolist()),
    ):
        assert implied["low"] - 1e-12 <= accuracy <= implied["high"] + 1e-12
        assert implied["low"] <= implied["value"] <= implied["high"]
        assert implied["high"] - implied["low"] < 0.01 * len(counts)


def test_the_thesis_contradicts_itself() -> None:
    first, second = ROWS["System 1"], ROWS["System 2"]
    assert first.by_sensitivity is not None and second.by_sensitivity is not None
    # By hand: 0.89 of 437 + 0.90 of 210 + 0.93 of 133 are 701.62 of 780 images.
    assert first.by_sensitivity["value"] == pytest.approx(701.62 / 780)
    assert second.by_sensitivity["value"] == pytest.approx((0.96 * 437 + 0.94 * 210 + 0.96 * 133) / 780)
    assert second.specificity is not None and second.specificity_in_text is not None
    assert by_specificity(second.specificity_in_text, BUSI_COUNTS)["value"] == pytest.approx(0.94)
    malignant_alone = (*second.specificity[:2], second.specificity_in_text[2])
    assert round(by_specificity(malignant_alone, BUSI_COUNTS)["value"], 3) == 0.948


def test_a_confusion_matrix_goes_before_rounded_sensitivities() -> None:
    app = ROWS["Existing app"]
    assert app.by_sensitivity is not None and app.by_sensitivity["value"] == pytest.approx(130 / 156)
    assert app.contradiction.endswith("has 130 right answers of 156: 83.3 %")
    # Independently of the matrix: its sensitivities, with classes in the proportions of BUSI.
    assert app.sensitivity is not None
    implied = accuracy_by_sensitivity(app.sensitivity, BUSI_COUNTS)
    assert implied["low"] <= 130 / 156 <= implied["high"]


def test_what_is_said_of_contradictions_follows_from_the_figures() -> None:
    assert sum(bool(row.contradiction) for row in PUBLISHED) == 3
    for row in PUBLISHED:
        implied = row.by_sensitivity
        fits = implied is None or implied["low"] <= row.accuracy <= implied["high"]
        assert fits != bool(row.contradiction)
        if fits or row.confusion:
            continue
        assert implied is not None and row.specificity is not None
        expected = f"{row.name}: the paper states {100 * row.accuracy:.1f} %, but its sensitivities (table 1) give "
        expected += f"{ends(implied)}, its specificities {ends(by_specificity(row.specificity, BUSI_COUNTS))}"
        if row.specificity_in_text:
            expected += ", and those of its text (section 4), which are not the table's, "
            expected += ends(by_specificity(row.specificity_in_text, BUSI_COUNTS))
        assert row.contradiction == expected


def test_readme_and_evidence_print_what_is_computed() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    evidence = (CHECKOUT / "training" / "docs" / "evidence.md").read_text(encoding="utf-8")
    for name in ("Existing app", "System 1", "System 2"):
        row = ROWS[name]
        implied = row.by_sensitivity
        assert implied is not None
        if name != "Existing app":
            (line,) = (s for s in readme.splitlines() if s.startswith(f"| {row.name}, "))
            assert f"| {row.accuracy:.3f}, implied {implied['value']:.3f} |" in line
        (line,) = (s for s in evidence.splitlines() if s.startswith(f"| {row.name} |"))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        bounds = "" if row.confusion else f" [{implied['low']:.3f}, {implied['high']:.3f}]"
        assert cells[1:3] == [f"{row.accuracy:.3f}", f"{implied['value']:.3f}{bounds}"]
        tested = [sum(own) for own in row.confusion] if row.confusion else BUSI_COUNTS
        others = by_specificity(row.specificity, tested) if row.specificity else None
        assert cells[3] == (
            "-" if others is None else f"{others['value']:.3f} [{others['low']:.3f}, {others['high']:.3f}]"
        )


# ---- the page of claims, and what kept answers quote


STUDIES = CHECKOUT / "training" / "studies"
ALL = {"thesis": THESIS, "stylegan": STYLEGAN, "dgan-wp-tl": LOSSES, "ga-gan": GA_GAN, "six-gans": SIX}


@pytest.fixture(scope="module")
def study() -> Iterator[ModuleType]:
    """The script that makes the page of claims."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(STUDIES / "papers"), str(STUDIES), *sys.path])
        patch.delitem(sys.modules, "claims", raising=False)
        yield importlib.import_module("claims")


def test_each_printed_figure_is_a_claim_once(study: ModuleType) -> None:
    found = collections.Counter((claim.paper, claim.line) for claim in study.claims() if claim.line)
    printed_once = {
        (paper, (table, row, column)): 1
        for paper, tables in ALL.items()
        for table, rows in tables.items()
        for row, columns in rows.items()
        for column in columns
    }
    assert found == printed_once
    stated = [(claim.paper, claim.where, claim.what) for claim in study.claims() if not claim.line]
    assert len(set(stated)) == len(stated) > 100


def places_of(claim: Any) -> list[str]:
    return re.findall(r"`([^`]+/[^`]+)`", re.sub(r"`[^`]+::[^`]+`", "", claim.ours))


def test_what_is_called_the_same_or_quoted_is(study: ModuleType) -> None:
    """Looked up once more, and compared as numbers or as they are written."""
    compared = 0
    for claim in study.claims():
        places, held = places_of(claim), "::" in claim.ours
        if claim.verdict == "same":
            assert places or held, claim
        if claim.verdict not in ("same", "quoted"):
            continue
        for place in places:
            own = study.find(place)
            values = list(own) if isinstance(own, list | tuple) else [own]
            words = claim.said.split() if len(values) > 1 else [claim.said]
            for word, value in zip(words, values, strict=True):
                assert str(value) == word or float(value) == pytest.approx(float(word), abs=1e-9), claim
            compared += 1
    assert compared > 200


def test_each_test_that_a_claim_names_exists(study: ModuleType) -> None:
    named = {name for claim in study.claims() for name in re.findall(r"`([^`]+)::([^`]+)`", claim.ours)}
    assert len(named) > 50
    for file, name in named:
        assert f"def {name}(" in (CHECKOUT / "tests" / file).read_text(encoding="utf-8"), (file, name)


def test_the_page_is_made_again_and_its_counts_are_those_of_its_rows(study: ModuleType) -> None:
    text = (STUDIES / "papers" / "claims.md").read_text(encoding="utf-8")
    assert importlib.import_module("make").filled(text, study.TABLES) == text
    first, *others = re.split(r'<a id="[^"]+"></a>', text)
    heading, *counted = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in first.splitlines()
        if line.startswith("|") and "---" not in line
    ]
    verdicts = heading[2:-1]
    sums = collections.Counter[str]()
    for cells, part in zip(counted, others, strict=False):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines() if line.startswith("|")][2:]
        own = collections.Counter(row[4].strip() for row in rows)
        own["measured"] = sum(row[5].strip().startswith("measured:") for row in rows)
        assert [int(cell) for cell in cells[1:]] == [len(rows), *(own[name] for name in verdicts), own["measured"]]
        sums += own
    assert len(counted) == len(others) + 1 == len(ALL) + 1
    total = [sum(sums[name] for name in verdicts), *(sums[name] for name in verdicts), sums["measured"]]
    assert [int(cell) for cell in counted[-1][1:]] == total


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"value": "bce", "ours": "recipes.json/ga-gan/loss"}, "departs, and how is not said"),
        ({"value": "hinge", "ours": "recipes.json/ga-gan/loss", "departs": "as it likes"}, "does not depart"),
        ({"value": "hinge", "ours": "recipes.json/ga-gan/lost"}, "nothing lies at recipes.json/ga-gan/lost"),
        ({"value": "hinge", "ours": "recipe/ga-gan/loss"}, "nothing lies at recipe/ga-gan/loss"),
        ({"value": "hinge"}, "nothing shows that it is so"),
        (
            {"value": 3.4, "quoted": "published_gans.json/ga-gan/Zenodo 7890874/GA-GAN/fid", "unmeasured": "-"},
            "another",
        ),
        ({"value": 3.39, "quoted": "published_gans.json/ga-gan/Zenodo 7890874/GA-GAN/fid"}, "either measured or"),
        ({"value": 9.93, "quoted": "page training/docs/ga-gan.md", "unmeasured": "-"}, "another value"),
        ({"verdict": "same"}, "unknown verdict"),
    ],
)
def test_a_verdict_that_does_not_follow_is_refused(study: ModuleType, rule: Mapping[str, Any], said: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(said)):
        list(study.instances("ga-gan", {"where": "4", "claim": "planted", **rule}, {}))


def test_a_rule_of_no_figure_and_a_figure_of_two_rules_are_refused(
    study: ModuleType, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {("4", "Real data", "dice, IDRiD"): "0.82"}
    with pytest.raises(SystemExit, match="no printed figure is as"):
        list(study.instances("six-gans", {"table": "5", "missing": "-"}, figures))
    monkeypatch.setattr(study, "RULES", tmp_path / "claims.yaml")
    rules = study.RULES.parent.joinpath("claims.yaml")
    text = (STUDIES / "papers" / "claims.yaml").read_text(encoding="utf-8")
    for changed, count in (
        (text + '  - {table: "1", missing: twice}\n', 2),
        (text.replace("  - {table: section 4.3, ", "  - {where: x, claim: y, ", 1), 0),
    ):
        rules.write_text(
            changed if count else changed.replace("ours: segment/BUDGETS/full/generator/epochs}", "missing: z}")
        )
        with pytest.raises(SystemExit, match=f"has {count} rules, not one|no printed figure is as"):
            study.claims.__wrapped__()


def claimed_rows() -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of kept answers that quote a paper, as `segment` and `gan compare` write them."""
    for path in sorted(STUDIES.glob("*/answers/*.csv*")):
        kept = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if b"claim of" in kept:
            for row in csv.DictReader(kept.decode().splitlines()):
                if any(cell and cell.startswith("claim of") for cell in row.values()):
                    yield path.name, row


def test_each_quotation_in_kept_answers_is_as_printed() -> None:
    kept = list(claimed_rows())
    assert {file for file, _ in kept} == {"costs-six.csv", "loss-table-busi-64.csv"}
    for file, row in kept:
        found = {name: float(row[name]) for name in (*FIGURES, "dice") if row.get(name)}
        if "perceptual_weight" in row:
            assert (row["recipe"], float(row["perceptual_weight"])) == ("dgan-wp-tl-wgangp", 5), file
            assert found == figures(LOSSES["abstract"]["WGAN-GP, lambda 5"]), file
        else:
            network = NETWORKS[row["recipe"].partition(":")[0]]
            cells = {name.partition(", "): float(value) for name, value in SIX["4"][network].items()}
            assert found == {what: value for (what, _, data), value in cells.items() if data == row["set"]}, row


def test_what_ran_in_the_place_of_stylegan_is_told_from_it() -> None:
    """Both are among our own rows; a row of the paper was never called by the later one's name."""
    with (STUDIES / "segmentation" / "answers" / "costs-six.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ours = {row["recipe"] for row in rows if row["source"] == "this run" and row["set"] != "LiTS-slices256"}
    assert {"stylegan1:small-data", "stylegan2:small-data"} <= ours
    quoted = {row["recipe"] for row in rows if row["source"].startswith("claim of")}
    assert "stylegan1" in quoted and not any(name.startswith("stylegan2") for name in quoted)
