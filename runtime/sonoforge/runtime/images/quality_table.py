"""What each metric of image quality is, and what to tell a person when it is out of range: data, no code.

``SCAN`` is measured by `scan_metrics.measure` in the scan's own pixels, ``LESION`` by `lesion_contrast.measure` with a
mask, ``CLIP`` by `frame_motion` between the frames of a clip.  `quality_metrics` has those of the network's view.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Band(Protocol):
    """What a metric is between in nearly all training images."""

    @property
    def low(self) -> float:
        """Its lower end."""

    @property
    def high(self) -> float:
        """Its upper end."""


class Metric(NamedTuple):
    """One metric."""

    title: str  # heading of its column
    unit: str  # of the value
    range: str  # what values there can be
    better: str  # ``higher`` or ``lower``; a value is flagged on the other side of its reference band
    source: str  # paper and section, or that it is our own
    advice: str  # sentence for a flagged scan


SCAN: dict[str, Metric] = {
    "edge_sharpness": Metric(
        "edges",
        "share of the contrast per 4 pixels",
        "0 and above",
        "higher",
        "our own: gradient magnitude (Gonzalez and Woods, Digital Image Processing, 10.2) after averaging speckle away",
        "Edges are less steep than in the training scans: check the focus, and whether the picture was enlarged.",
    ),
    "speckle_snr": Metric(
        "speckle",
        "none",
        "0 to 470",
        "higher",
        "Burckhardt, IEEE Trans. Sonics Ultrason. 25 (1978), section II, here on the display's compressed levels",
        "The scan is grainier than the training scans: check the gain, the frequency and compounding.",
    ),
    "grey_levels": Metric(
        "levels",
        "grey levels",
        "1 to 251",
        "higher",
        "2 to the entropy of Shannon, Bell Syst. Tech. J. 27 (1948), section 6",
        "Few grey levels are used: check the gain and the dynamic range.",
    ),
    "effective_resolution": Metric(
        "grains",
        "grains across the shorter side",
        "0 and above",
        "higher",
        "full width at half maximum of the autocovariance: Wagner et al., IEEE Trans. Sonics Ultrason. 30 (1983)",
        "Detail is coarser than in the training scans: check the depth, the frequency, and the export's size.",
    ),
    "blockiness": Metric(
        "blocks",
        "ratio",
        "1 and above",
        "lower",
        "after Wang, Bovik, Evans, ICIP 2000, and Wang, Sheikh, Bovik, ICIP 2002, section 2, with medians",
        "Blocks of strong JPEG compression show: export as PNG or DICOM.",
    ),
    "coverage": Metric(
        "cover",
        "share of the picture",
        "0 to 1",
        "higher",
        "our own: tiles of 8 x 8 pixels with an echo",
        "Much of the picture holds no echo: check contact and gel, or crop away the ground.",
    ),
}

LESION: dict[str, Metric] = {
    "gcnr": Metric(
        "gCNR",
        "share of pixels",
        "0 to 1",
        "higher",
        "Rodriguez-Molares et al., IEEE Trans. UFFC 67 (2020), section II, equation 5",
        "The lesion's grey levels are mostly those of its surround.",
    ),
}

CLIP: dict[str, Metric] = {
    "motion": Metric(
        "motion",
        "% of the shorter side per frame",
        "0 to about 15",
        "lower",
        "phase correlation: Kuglin and Hines, Proc. IEEE Conf. Cybernetics and Society (1975)",
        "The probe moved so fast that frames are smeared: sweep more slowly.",
    ),
}
