"""Latents from SHA-256: the same as by hand, in JavaScript, and of the right distribution."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from places import CHECKOUT
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.latents import draw_latent

SCRIPT = CHECKOUT / "export" / "docs" / "latents.mjs"


def _by_hand(seed: int, index: int, size: int, distribution: str, limit: float = math.inf) -> list[float]:
    """The recipe's text word by word, one number after the other, without numpy."""

    def draw(attempt: int) -> list[float]:
        numbers: list[float] = []
        block = 0
        while len(numbers) < size + 1:
            text = f"{seed}/{index}/{block}" + (f"/{attempt}" if attempt else "")
            digest = hashlib.sha256(text.encode("ascii")).hexdigest()
            numbers += [(int(digest[8 * k : 8 * k + 8], 16) + 0.5) / 2**32 for k in range(8)]
            block += 1
        if distribution == "uniform":
            return [2 * u - 1 for u in numbers[:size]]
        values = []
        for k in range(size):
            radius = math.sqrt(-2 * math.log(numbers[k - k % 2]))
            angle = 2 * math.pi * numbers[k - k % 2 + 1]
            values.append(radius * (math.sin(angle) if k % 2 else math.cos(angle)))
        return values

    values, attempt = draw(0), 0
    while any(abs(value) > limit for value in values):
        attempt += 1
        values = [again if abs(old) > limit else old for old, again in zip(values, draw(attempt), strict=True)]
    return values


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_latents_are_those_of_the_text(size: int, distribution: str) -> None:
    for seed, index in ((0, 0), (3, 12), (2**63, 10**6)):
        expected = np.array(_by_hand(seed, index, size, distribution), np.float32)
        found = draw_latent(seed, index, size, distribution)
        assert found.dtype == np.float32
        np.testing.assert_array_max_ulp(found, expected, 1)
    limited = draw_latent(5, 6, size, limit=0.5)
    np.testing.assert_array_max_ulp(limited, np.array(_by_hand(5, 6, size, "normal", 0.5), np.float32), 1)


def test_the_first_numbers_stay_what_they_are() -> None:
    # printf 3/0/0 | sha256sum  begins with these two words.
    first, second = ((word + 0.5) / 2**32 for word in (0xF118D36D, 0x7F879452))
    assert draw_latent(3, 0, 1, "uniform")[0] == np.float32(2 * first - 1)
    assert draw_latent(3, 0, 2)[1] == np.float32(math.sqrt(-2 * math.log(first)) * math.sin(2 * math.pi * second))


def test_javascript_draws_the_same_latents(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine: the JavaScript of the page is not run")
    shutil.copy(SCRIPT, tmp_path / "latents.mjs")
    kinds = ("normal", "uniform")
    cases = [[seed, i, size, kind, None] for seed in (0, 3) for i in (0, 9) for size in (7, 512) for kind in kinds]
    cases += [[8, index, 100, "normal", limit] for index in (0, 1) for limit in (0.1, 1, 2.5)]
    (tmp_path / "main.mjs").write_text(
        'import { latent } from "./latents.mjs";\n'
        f"for (const [seed, index, size, kind, limit] of {json.dumps(cases)})\n"
        "  console.log(JSON.stringify(Array.from(await latent(seed, index, size, kind, limit ?? Infinity))));\n"
    )
    done = subprocess.run([node, "main.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    for case, line in zip(cases, done.stdout.splitlines(), strict=True):
        found = np.array(json.loads(line), np.float32)
        expected = draw_latent(*case)
        np.testing.assert_array_max_ulp(found, expected, 0 if case[3] == "uniform" else 1)
        assert (found == expected).mean() > 0.99


def _many(distribution: str, limit: float | None = None) -> NDArray[np.float64]:
    return np.stack([draw_latent(11, index, 64, distribution, limit) for index in range(1000)]).astype(float)


def test_normal_latents_are_standard_normal_and_independent() -> None:
    values = _many("normal")
    count = values.size
    assert abs(values.mean()) < 4 / math.sqrt(count)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / count)
    assert stats.kstest(values.ravel(), "norm").pvalue > 0.001
    correlation = np.corrcoef(values.T)[np.triu_indices(64, 1)]
    assert np.abs(correlation).max() < 5.5 / math.sqrt(len(values)), "no two places of a latent depend on each other"
    squares = np.corrcoef((values**2).T)[np.triu_indices(64, 1)]
    assert np.abs(squares).max() < 6 / math.sqrt(len(values)), "nor do the halves of a pair by their size"


@pytest.mark.parametrize("limit", [0.25, 1.0])
def test_limited_latents_are_those_of_a_truncated_normal(limit: float) -> None:
    free, cut = _many("normal"), _many("normal", limit)
    assert np.abs(cut).max() <= np.float32(limit)
    kept = np.abs(free) <= limit
    assert np.array_equal(cut[kept], free[kept])
    assert stats.kstest(cut.ravel(), stats.truncnorm(-limit, limit).cdf).pvalue > 0.001


def test_each_image_has_its_own_latent_whatever_the_size() -> None:
    assert np.array_equal(draw_latent(1, 2, 9), draw_latent(1, 2, 100)[:9])
    drawn = [draw_latent(seed, index, 8).tobytes() for seed in (0, 1, 11) for index in (0, 1, 11, 111)]
    assert len(set(drawn)) == len(drawn), "1/11 is not 11/1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 4), "-1 and 0"),
        ((0, -1, 4), "0 and -1"),
        ((0, 0, 4, "cauchy"), "normal, uniform"),
        ((0, 0, 4, "uniform", 1.0), "0.01 or more, with normal latents"),
        ((0, 0, 4, "normal", 0.0), "0.01 or more"),
        ((0, 0, 4, "normal", math.nan), "0.01 or more"),
    ],
)
def test_what_is_not_defined_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(SonoforgeError, match=message):
        draw_latent(*arguments)  # type: ignore[arg-type]
