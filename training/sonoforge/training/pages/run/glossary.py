"""The report's terms, one sentence each, for readers new to the field."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("accuracy", "The share of images that are put into the right class."),
    ("arm", "One way to train the classifier; all arms are trained and tested on the same folds and seeds."),
    (
        "balanced accuracy",
        "The mean of the sensitivities of all classes, so that a frequent class does not hide a rare one.",
    ),
    ("Brier score", "The mean squared distance of the stated probabilities from the truth: 0 is perfect, 2 the worst."),
    (
        "95 % interval",
        "The range of values that the data leave plausible; here by Wilson's formula for counts of images, by "
        "resampling whole groups (bootstrap) for the other figures.",
    ),
    (
        "conformal set",
        "The classes that cannot be ruled out for an image, made so that the true one is among them for at least 90 % "
        "of the images of each class.",
    ),
    (
        "cross-validation, fold",
        "The images are dealt into folds; each fold is judged by a model trained on the others, so each image is "
        "tested exactly once.",
    ),
    (
        "diversity, collapse",
        "How different generated images are from each other, as a share of how different real ones are; a generator "
        "that draws nearly the same image again and again has collapsed.",
    ),
    ("ECE", "Expected calibration error: how far stated probabilities lie from observed frequencies, on average."),
    (
        "GAN",
        "A pair of networks, one drawing images, the other telling them from real ones; each learns from the other, "
        "and the first ends up as a generator of new images.",
    ),
    (
        "group",
        "Images that are not independent: near-duplicates of one scan, or one patient's where the data say so.",
    ),
    ("leakage", "Anything of the test images that reaches training and makes figures better than they are."),
    (
        "macro-AUC",
        "The chance that an image of a class is given a higher probability of it than an image of another class, "
        "averaged over the classes: 0.5 is guessing, 1 is perfect.",
    ),
    (
        "macro-F1",
        "The mean over classes of F1, which is high only where few images of the class are missed and few others are "
        "taken for it.",
    ),
    (
        "McNemar's test",
        "Looks only at images that exactly one of two arms got right, and asks how often so uneven a split would come "
        "by chance (the p value).",
    ),
    (
        "minimum detectable difference",
        "The smallest difference that a comparison with this many images finds in four of five tries.",
    ),
    ("parity", "Whether the exported file gives the same answers as the trained network, image by image."),
    (
        "placebo arm",
        "Real images repeated instead of generated ones added: what filling up the classes does without any GAN.",
    ),
    (
        "sealed",
        "The protocol in which no test image, and nothing of its group, reaches any training for its fold, the "
        "generator's included.",
    ),
    ("sensitivity", "Of the images of a class, the share that is recognised as such."),
    ("specificity", "Of the images of all other classes, the share that is rightly not put into this class."),
    ("temperature", "One number that divides the network's raw scores so that its probabilities mean what they say."),
    (
        "thesis protocol",
        "Plain folds and generators trained on all images, as published; it leaks, and is kept to measure how much.",
    ),
)
