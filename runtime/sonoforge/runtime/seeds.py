"""One seed for each purpose and step, so that any step can be repeated alone.

A run that is resumed at step 500 draws what the uninterrupted run drew at step 500, without
replaying steps 0 to 499 and without saving the state of any random number generator.
"""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, purpose: str, step: int = 0, bits: int = 63) -> int:
    """Return a seed in [0, 2**bits) that depends on its arguments alone.

    Args:
        seed: The run's seed, as the user gave it.
        purpose: What is drawn, for example ``"latent"``; different purposes are independent.
        step: Which draw of this purpose.
        bits: At most 63; fewer for a consumer that takes no larger seeds, such as scikit-learn (32).
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 1) & ((1 << bits) - 1)
