"""The settings of ``sonoforge data fetch``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, option

EXAMPLES = """
sonoforge data fetch s3://bucket/herlev-generated herlev-generated/     what gan sample --out has written there
sonoforge data fetch s3://bucket/herlev herlev/ --size-limit 20         again: only what is missing is copied

Credentials are given as the file system's own tools take them, such as AWS_PROFILE; none belong in the URL.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data fetch``."""

    url: str = argument(help="folder at a URL, such as s3://bucket/folder")
    out: str = argument(help="folder to copy into")
    size_limit: float = option(10.0, help="gigabytes at most, in all", limits=(0.001, None))
