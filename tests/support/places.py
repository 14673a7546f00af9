"""Where the checkout is, and what lies beside it."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SHARED = CHECKOUT.parent / "shared"
SUPPORT = Path(__file__).parent
