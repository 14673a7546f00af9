"""The app's own files: in the checkout beside this package, in an installed wheel inside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parents[1] / name


WWW = _folder("www")
"""Page, style, scripts and words."""

PWA = _folder("pwa")
"""Web manifest, service worker and icons."""

ANDROID = _folder("android")
"""Manifest, resources and Java of the Android app."""
