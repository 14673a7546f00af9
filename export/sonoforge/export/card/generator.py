"""MODEL_CARD.md of a generator's bundle, from its manifest alone: no figure is written by hand."""

from collections.abc import Sequence

from sonoforge.export.card.files import page, table
from sonoforge.export.gate.tolerance import ManifestJson


def generator_card(record: ManifestJson) -> str:
    """Render a generator's card from its manifest, without its files."""
    image, latents, training = record["image"], record["latents"], record["training"]
    colour = "grey" if image["channels"] == 1 else "RGB"
    shown = ", ".join(record["classes"]) or record["class_name"] or "not named"
    maps = (
        f"{training['label_maps']} label maps of its training images, which its files hold: outlines of real patients."
    )
    kept_maps = [f"It draws into {maps}"] if training["label_maps"] else []
    limits = [
        "A generator may repeat itself, leave out what is rare, and copy training images. `sonoforge evaluate` "
        "measures all three" + ("." if training["measured"] else "; its figures are not part of this bundle."),
        "The weights may allow conclusions about training images: share them as you may share the data.",
        *kept_maps,
        "Images must keep the note that they are synthetic, which `sonoforge gan sample` writes into each file.",
    ]
    sources = [f"- {own['name']}: {own['licence']}. {own['citation']}." for own in training["sources"]]
    return page(
        [
            f"# {record['name']} {record['version']}",
            "**Research use, not a medical device. Every image it makes is synthetic and shows no patient.**",
            "## Intended use",
            record["intended_use"],
            "## Model",
            f"Recipe `{record['recipe']}`, {image['size']} x {image['size']}, {colour}"
            + _masks_in_words(image["masks"], image["structures"])
            + f". Class: {shown}. Latents: {latents['size']} {latents['distribution']} numbers, drawn by "
            f"`{latents['recipe']}`." + (" Takes psi, the truncation of styles." if record["psi"]["accepted"] else ""),
            "## Data",
            f"Trained on {training['data'] or 'a data set whose name is not recorded'}, to step {training['step']}. "
            f"Fingerprint of the training images `{training['fingerprint'][:16]}`, of the weights "
            f"`{training['generator_sha256'][:16]}`"
            + (f", here {training['weights']}." if training["weights"] else ".")
            + (
                f" `reference.npz` records each training image as {reference['dimension']} features of the classifier "
                f"{reference['model']['name']} {reference['model']['version']}, to measure KID with; it may allow "
                "conclusions about training images, as the weights may."
                if (reference := record["reference"])
                else ""
            ),
            *(["\n".join(sources)] if sources else []),
            *(_measured(training["measured"]) if training["measured"] else []),
            "## Limits",
            "\n".join(f"- {limit}" for limit in limits),
        ]
    )


def _measured(measured: ManifestJson) -> list[str]:
    """Say what `sonoforge evaluate` found of these weights."""
    rows = [
        (row["title"], row["space"], f"{row['matched']:.3g}", f"{row['floor']:.3g}", f"{row['ratio']:.2g}")
        for row in measured["metrics"]
    ]
    found = "Copies were not searched for."
    if copies := measured["copies"]:
        recall = "; ".join(f"{kind} {share:.0%}" for kind, share in copies["recall"].items())
        found = (
            f"Of {copies['images']} generated images {copies['copies']} match a training image better than the limit, "
            f"which {copies['false_alarm']:.1%} of real images that were not trained on pass. Of planted copies it "
            f"finds: {recall}."
        )
    return [
        "## Evaluation",
        f"{measured['images']} generated images against {measured['real_images']} real ones ({measured['real']}), "
        f"before any rounding of the weights; protocol `{measured['protocol_id']}`. Each figure is the mean over draws "
        f"of {measured['per_set']} images a side, the floor that of real images against real ones; up to a ratio of 1, "
        "generated images are within it.",
        table(("figure", "measured in", "generated", "floor", "ratio"), rows),
        "\n".join([found, *measured["warnings"]]),
    ]


def _masks_in_words(masks: int, structures: Sequence[str]) -> str:
    if not masks:
        return ""
    if masks == 1:
        return ", each image with its mask as one more channel"
    return f", each image with masks of {', '.join(structures)} as further channels"
