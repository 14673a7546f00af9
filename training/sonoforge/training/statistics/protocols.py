"""The protocols by which images are dealt to folds, see `data.splits.make_plan`."""

LEAVE_ONE_OUT = "leave-one-collection-out"
OFFICIAL = "official"
"""One fold: the test images that a set's authors chose."""
PROTOCOLS = ("sealed", "plain", "thesis", "single", LEAVE_ONE_OUT, OFFICIAL)
ONE_SPLIT = ("single", OFFICIAL)
"""Those with one fold, whose other images are trained on and never tested."""
SEALED = ("sealed", LEAVE_ONE_OUT, OFFICIAL)
"""Those under which no training sees anything of its test images."""
