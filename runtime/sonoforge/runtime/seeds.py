"""Derive one seed for each purpose and step, so that any step can be repeated on its own.

A run resumed at step 500 draws the same numbers as an uninterrupted run, without replaying steps 0 to 499 or saving the
state of any random number generator.
"""

import hashlib


def derive_seed(seed: int, purpose: str, step: int = 0, bits: int = 63) -> int:
    """Return a seed in [0, 2**bits) that depends only on its arguments; different purposes are independent.

    ``bits`` is at most 63; consumers of smaller seeds, such as scikit-learn (32), use fewer.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 1) & ((1 << bits) - 1)
