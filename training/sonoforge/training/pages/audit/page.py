"""The audit as one self-contained page: what the set holds, and every cluster of repeated scans side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonoforge.training.data.cache import ImageCache
from sonoforge.training.pages.clusters import cluster_cards
from sonoforge.training.pages.shell import render


def audit_page_html(audit: Mapping[str, Any], cache: ImageCache) -> str:
    """Render the whole audit as a page that can be sent to whoever knows the data."""
    cards = cluster_cards(audit["clusters"], cache)
    return render("audit/page.html.j2", {"audit": audit, "cards": cards, "classes": cache.dataset.classes})
