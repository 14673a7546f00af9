"""Tables of GA-GAN on Herlev, which stands in for the paper's cytology."""

from __future__ import annotations

from kept import (
    ANSWERS,
    figures,
    links,
    read,
    table,
    with_placebo,
    with_ratio,
)

HERLEV = "on Herlev (the paper's set, Zenodo 7890874, was not available)"


def cells() -> str:
    search = read(ANSWERS["cytology-search.csv"])
    rows = []
    for stage in dict.fromkeys(row["study"] for row in search):
        own = [row for row in search if row["study"] == stage]
        first = next(row for row in own if row["trial"] == "0")
        best = min((row for row in own if row["state"] == "complete"), key=lambda row: float(row["kid"]))
        kids = (f"{float(row['kid']):.0f}" for row in (first, best))
        rows.append([stage, len(own), *kids, f"`{best['code']}`"])
    given_up = sum(row["state"] == "pruned" for row in search)
    heading = ["stage", "trainings", "KID of the first code", "KID of the best", "its code"]
    parts = [
        f"## The search {HERLEV}\n\nAll figures: {links(['cytology-search.csv'])}\n\n{table(heading, rows)}",
        f"{given_up} of the {len(search)} trainings were given up early.\n",
    ]
    six = [row for row in read(ANSWERS["cytology-six-32.csv"]) if row["milestone"] == "1.0"]
    rows = [
        [
            f"`{row['recipe']}`",
            with_ratio(row, "kid", ".0f", ".1f"),
            with_ratio(row, "fid", ".0f", ".1f"),
            f"{float(row['diversity']):.2f}",
            row["conditioning"],
        ]
        for row in sorted(six, key=lambda row: float(row["kid"]))
    ]
    heading = ["recipe", "KID", "FID", "diversity", "told the class by"]
    parts.append(f"## Six recipes {HERLEV}\n\n{figures('cytology-six-32.csv')}\n{table(heading, rows)}")
    placebo = with_placebo("Three sealed folds", "cells.csv.gz")
    parts.append(f"## A classifier with and without GA-GAN's images {HERLEV}\n\n{placebo}")
    return "\n".join(parts)


TABLES = {"cells": cells}
