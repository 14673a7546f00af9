"""What ``results.json`` of an evaluation holds, key by key."""

from __future__ import annotations

"""One of the two sets; ``groups`` (None: unknown) of the real one, ``synthetic`` of the generated one, and
``generator_sha256`` (of the weights) where a run of ``gan train`` drew it."""
