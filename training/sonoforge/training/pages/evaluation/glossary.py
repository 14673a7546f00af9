"""The metrics and terms of an evaluation, one entry each, with the source of every metric."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "feature space, embedding",
        "A network turns each image into a list of numbers, so that images that look alike to it lie close together. "
        "Figures of different networks cannot be compared.",
    ),
    (
        "floor, real against real",
        "What two disjoint halves of the real images score against each other; near-duplicates and images of one group "
        "stay in one half. No generator can be asked to be nearer to the real images than these are to each other.",
    ),
    (
        "matched",
        "Generated against real images at the same number of images as the floor: the mean over many draws, with "
        "the range that holds 95 % of them.",
    ),
    (
        "ratio",
        "How far the matched value lies beyond the limit of the floor: up to 1 it cannot be told from real images at "
        "this number of images.",
    ),
    (
        "KID",
        "Kernel Inception distance: 0 where both sets are alike, at any number of images: the distance to trust "
        "with few (Binkowski 2018, arXiv 1801.01401).",
    ),
    (
        "FID",
        "Frechet Inception distance between the means and spreads of both sets (Heusel 2017, arXiv 1706.08500). "
        "Biased: it is the larger the fewer the images (Chong, Forsyth 2020, arXiv 1911.07023); look at it beside its "
        "floor alone.",
    ),
    (
        "precision, recall",
        "Precision: the share of generated images that lie near some real ones. Recall: the share of real images that "
        "have generated ones near (Kynkäänniemi 2019, arXiv 1904.06991).",
    ),
    (
        "density, coverage",
        "The same two questions, less moved by single stray images (Naeem 2020, arXiv 2002.09797).",
    ),
    (
        "sliced Wasserstein, Laplacian SWD",
        "How far one set must be moved to become the other, along many random directions; on patches of pixels at "
        "several sizes it tells fine texture from coarse shape (Karras 2018, arXiv 1710.10196, section 5).",
    ),
    (
        "MS-SSIM",
        "Structural similarity of pairs of images at several scales: 1 is equal. Generated images that are more alike "
        "than real ones lack variety (Wang 2003; for GANs Odena 2017, arXiv 1610.09585).",
    ),
    (
        "LPIPS",
        "Distance of a pair of images, near to how people judge it, from the feature maps of a network "
        "(Zhang 2018, arXiv 1801.03924).",
    ),
    (
        "linear probe",
        "A simple classifier trained to tell generated from real images, judged on images it has not seen: AUC 0.5 is "
        "guessing, 1 is never wrong (classifier two-sample test: Lopez-Paz, Oquab 2017, arXiv 1610.06545).",
    ),
    (
        "Inception Score",
        "How surely and how evenly a classifier sorts generated images (Salimans 2016, arXiv 1606.03498). It does not "
        "look at real images, and classes of photographs say little about scans; no answer rests on it.",
    ),
    (
        "copy test",
        "Is a generated image closer to a training image than real images that were not trained on are? The threshold "
        "is set on real images, and a binomial test asks whether too many generated ones undercut it.",
    ),
    (
        "data-copying z",
        "Whether generated images as a whole lie closer to training images than held-out real ones do: below zero they "
        "do (Meehan, Chaudhuri, Dasgupta 2020, arXiv 2004.05675).",
    ),
    (
        "PCA",
        "A flat picture along the directions in which the real images differ most. Convex hull: the tightest outline "
        "around a set's points.",
    ),
    (
        "t-SNE, UMAP",
        "Flat pictures that keep near neighbours near (van der Maaten, Hinton 2008; McInnes 2018, arXiv 1802.03426). "
        "Distances between clusters and their sizes mean nothing.",
    ),
)
