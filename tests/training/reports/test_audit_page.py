"""A data audit's page shows every cluster of repeated scans, those with mixed labels first."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pages import Page, check_page, plain
from report_factory import make_cache
from sonoforge.training.data.audit import audit
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.reports.audit import audit_page


@pytest.fixture(scope="module")
def cache() -> ImageCache:
    """Three clusters: one of both classes, and a brighter copy in each class; all images are 400 x 300 pixels."""
    cache = make_cache(("a", "b<i>"), (8, 9))
    dataset = dataclasses.replace(cache.dataset, root=Path("/invented/set <b>"))
    sizes = np.broadcast_to([400, 300], cache.sizes.shape)
    return dataclasses.replace(cache, dataset=dataset, sizes=sizes, unreadable={"x.png": "b/broken.png: no image"})


@pytest.fixture(scope="module")
def page(cache: ImageCache, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(
        audit_page(audit(cache), cache)
        .write(tmp_path_factory.mktemp("audit") / "audit.html")
        .read_text(encoding="utf-8")
    )


def test_the_page_is_whole_accessible_and_loads_nothing(page: Page) -> None:
    check_page(page)
    assert "set <b>" in page.text
    assert "b/broken.png" in page.text


def test_it_says_which_gain_the_set_can_show(cache: ImageCache, page: Page) -> None:
    found = audit(cache)["smallest_gain"]
    assert (found["groups"], found["images"]) == (audit(cache)["duplicates"]["groups"], 17)
    assert plain(found["says"]) in page.text and "Is the set large enough?" in page.text


def test_every_cluster_is_shown_mixed_first(cache: ImageCache, page: Page) -> None:
    clusters = audit(cache)["clusters"]
    assert [cluster["mixed"] for cluster in clusters] == [True, False, False]
    files = [file.rsplit("/", 1)[-1] for cluster in clusters for file in cluster["files"]]
    assert [image["alt"] for image in page.attributes("img")] == files
    assert page.text.index("One scan, different labels (1)") < page.text.index("One scan, one label (2)")


def test_pictures_keep_their_proportions(page: Page) -> None:
    for image in page.attributes("img"):
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (200, 150)
