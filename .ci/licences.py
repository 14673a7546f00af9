"""Print the licence of each installed package, and refuse a base install of anything but permissive ones.

    pip-licenses --python ENVIRONMENT/bin/python --from=all --format=json | python .ci/licences.py [--base]

Licences are those that packages state: as an SPDX expression, else in their classifiers, else as text.  What a wheel
holds of other people's binaries counts as far as its maker states it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence

STATED = ("License-Expression", "License-Classifier", "License-Metadata")  # the more exact first
NOTHING = "UNKNOWN"
PERMISSIVE = re.compile(
    r"\b(MIT|MIT-CMU|0?BSD|Apache|ISC|ISCL|Zlib|HPND|CC0|Unlicense|PSF|Python Software Foundation)\b", re.IGNORECASE
)
COPYLEFT = re.compile(
    r"GPL|General Public|MPL|Mozilla|EUPL|European Union|CDDL|\bEPL|Eclipse|CeCILL|\bOSL|SSPL|CC-BY-SA|Share.?Alike",
    re.IGNORECASE,
)


def licence_of(package: Mapping[str, str]) -> str:
    """Return what a package of pip-licenses' JSON states, or nothing; a whole text by its beginning."""
    for key in STATED:
        stated = package.get(key, NOTHING).strip()
        if stated and stated != NOTHING:
            return " ".join(stated.split())[:70]
    return ""


def is_permissive(licence: str) -> bool:
    """Whether all parts of one of a licence's alternatives are permissive; of one with parentheses, all parts."""
    ways = [licence] if "(" in licence else re.split(r"\bOR\b", licence)
    parts = [re.split(r"\bAND\b|\bOR\b|;", way) for way in ways]
    return any(all(PERMISSIVE.search(part) and not COPYLEFT.search(part) for part in way) for way in parts)


def refused(packages: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the packages that a base install must not bring, each with its licence."""
    stated = {package["Name"]: licence_of(package) for package in packages}
    return [f"{name}: {own or 'no licence stated'}" for name, own in stated.items() if not is_permissive(own)]


def main(arguments: Sequence[str]) -> int:
    """Read the packages from standard input; return 1 where a base install has one that it must not."""
    packages = json.load(sys.stdin)
    for package in packages:
        print(f"{package['Name']:32} {package['Version']:16} {licence_of(package) or 'not stated'}")
    wrong = refused(packages)
    if wrong:
        print(f"not permissive: {'; '.join(wrong)}")
    return int("--base" in arguments and bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
