"""Maps of real and generated images in the plane, and how far their outlines overlap.

Pictures to look at, not measures: two sets may overlap in the plane and be far apart elsewhere.  The overlap of
convex hulls (PCA on pixels) is printed because published studies of ultrasound GANs judge by that picture;
one stray image can stretch a hull, so no answer here depends on it.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.linalg import eigh
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError
from threadpoolctl import threadpool_limits

from sonoforge.runtime.distances.fid_kid import check_pair
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.evaluation.metrics import EmbeddedSets

PCA_SIDE = 224  # the images' side in the publication: Ryspayeva, Salykova 2025 (PCA of real and generated images)
PERPLEXITY = 30.0  # sklearn's and van der Maaten's default (JMLR 2008: 5 to 50)
UMAP_NEIGHBOURS = 15  # umap-learn's default
_BLOCK = 4096  # pixels at a time
_THIN = 1e-9  # a set whose smaller extent is below this share of the larger one is a line

Points = NDArray[np.float64]  # (N, 2)


@dataclass(frozen=True, eq=False)
class Projection:
    """Real and generated images as points in the plane."""

    method: str  # `pca`, `tsne` or `umap`
    real: Points
    fake: Points
    explained: list[float]  # share of the real images' variance along each axis, 0 to 1; PCA only
    protocol: str  # how it was made, in one line


@dataclass(frozen=True)
class HullOverlap:
    """How far the convex hulls of two sets of points overlap.

    Fewer than three points, or points on one line, have no hull: the area is 0, and what depends on it is None.
    """

    real_area: float  # in the map's units squared
    fake_area: float
    intersection_area: float  # 0 where one has no hull
    iou: float | None  # common area over joint area, 0 to 1
    fakes_inside: float | None  # share of generated points in the real points' hull, border included
    real_inside: float | None  # share of real points in the generated points' hull


Maps = dict[str, tuple[Projection, HullOverlap | None]]
"""Projections by method; ``pca`` with the overlap of the hulls."""


def project_sets(
    methods: Sequence[str], pixels: tuple[NDArray[Any], NDArray[Any]], embedded: EmbeddedSets, seed: int
) -> Maps:
    """Map both sets, real and generated, to the plane: pixels by ``pca``, embeddings by ``tsne`` and ``umap``."""
    maps: Maps = {}
    for method in methods:
        if method == "pca":
            projection = pca_projection(*pixels)
            maps[method] = projection, hull_overlap(projection.real, projection.fake)
        else:
            maps[method] = embedding_map(embedded.real.features, embedded.fake.features, method, seed), None
    return maps


def record_maps(maps: Maps, space: str) -> dict[str, dict[str, Any]]:
    """Return the entry of ``results.json``: protocols; for ``pca`` also explained variance and the hulls' overlap."""
    found: dict[str, dict[str, Any]] = {}
    for method, (projection, overlap) in maps.items():
        found[method] = {"protocol": projection.protocol + ("" if overlap else f"; {space}")}
        if overlap:
            found[method] |= {"explained": projection.explained, **dataclasses.asdict(overlap)}
    return found


def pca_projection(real: NDArray[np.uint8], fake: NDArray[np.uint8], components: int = 2) -> Projection:
    """Project both sets onto the first principal components of the real images' pixels.

    As published (Ryspayeva, Salykova 2025): grey images of 224 x 224 pixels, flattened; the components are fitted
    to the real images alone, so that generated images cannot pull the axes.  Grey by ITU-R BT.601 luma; resized by
    Pillow's bilinear filter (which averages when it reduces); grey levels divided by 255, centred on the real images'
    mean, not scaled.  The components are exact: eigenvectors of the real images' Gram matrix, summed over blocks of
    pixels to bound the memory.  Signs make each component's largest real score positive.

    Args:
        real: (M, S, S, C) uint8, C = 1 or 3, M > ``components``.
        fake: (N, S, S, C) uint8.
        components: Number of components.

    Returns:
        Points of ``components`` coordinates in grey levels (0 to 1) times root of pixels, and the share of the
        real images' variance along each component.

    Raises:
        SonoforgeError: Too few real images, or real images that are all equal.
    """
    if len(real) <= components:
        raise SonoforgeError(f"PCA: {len(real)} real images; give at least {components + 1}")
    grey_real, grey_fake = _grey_rows(real), _grey_rows(fake)
    if (grey_real == grey_real[0]).all():
        raise SonoforgeError("PCA: all real images are equal; check the folder")
    count, pixels = grey_real.shape
    gram = np.zeros((count, count))
    for start in range(0, pixels, _BLOCK):
        part = grey_real[:, start : start + _BLOCK] / 255.0
        part -= part.mean(0)
        gram += part @ part.T
    total = float(np.trace(gram))
    values, vectors = eigh(gram, subset_by_index=[count - components, count - 1])
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(components)])
    scales = np.sqrt(values)
    weights = vectors / np.where(scales > _THIN * np.sqrt(total), scales, np.inf)  # a component of no variance: 0
    projected = np.zeros((len(fake), components))
    for start in range(0, pixels, _BLOCK):
        levels = grey_real[:, start : start + _BLOCK] / 255.0
        mean = levels.mean(0)
        projected += (grey_fake[:, start : start + _BLOCK] / 255.0 - mean) @ ((levels - mean).T @ weights)
    protocol = (
        f"PCA fitted on the {count} real images: grey (BT.601), {PCA_SIDE} x {PCA_SIDE} pixels (bilinear), flattened"
    )
    return Projection("pca", vectors * scales, projected, (values / total).tolist(), protocol)


def _grey_rows(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn (N, S, S, C) into flattened grey images (N, 224 * 224), uint8."""
    rows = np.empty((len(images), PCA_SIDE * PCA_SIDE), dtype=np.uint8)
    for row, pixels in zip(rows, images, strict=True):
        grey = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
        row[:] = np.asarray(grey.resize((PCA_SIDE, PCA_SIDE), Image.Resampling.BILINEAR)).ravel()
    return rows


def embedding_map(real: NDArray[Any], fake: NDArray[Any], method: str, seed: int) -> Projection:
    """Map the embeddings of both sets to the plane so that near neighbours stay near; fitted on both together.

    Distances between clusters and sizes of clusters mean nothing in such a map, and it varies with the seed; it shows
    only whether generated images mix with real ones.

    Args:
        real: (M, D) embeddings.
        fake: (N, D) embeddings; M + N at least 5.
        method: ``tsne`` (van der Maaten, Hinton, JMLR 2008; scikit-learn, initialised by PCA, perplexity 30 or
            a third of the points less one) or ``umap`` (McInnes 2018; umap-learn, 15 neighbours, minimum distance 0.1).
        seed: Of the run.

    Raises:
        SonoforgeError: Too few images, a feature that is not finite, or umap-learn is not installed.
        ValueError: Another method, or tables of different widths.
    """
    if method not in ("tsne", "umap"):
        raise ValueError(f"map: found method {method!r}, expected tsne or umap")
    generated, given = check_pair(method, fake, real, minimum=1)
    rows = np.concatenate([given, generated])
    count = len(rows)
    if count < 5:
        raise SonoforgeError(f"{method}: {count} images in all; give at least 5")
    state = derive_seed(seed, method, bits=32)
    if method == "tsne":
        from sklearn.manifold import TSNE  # noqa: PLC0415 - half a second to import

        perplexity = min(PERPLEXITY, (count - 1) / 3)
        # More threads wait for each other busily, 1000 times, and another number of them gives another map.
        with threadpool_limits(1):
            points = TSNE(init="pca", perplexity=perplexity, random_state=state).fit_transform(rows)
        settings = f"t-SNE, perplexity {perplexity:g}, first placed by PCA"
    else:
        try:
            from umap import UMAP  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as error:
            raise SonoforgeError("umap: umap-learn is not installed; pip install 'sonoforge[umap]'") from error
        neighbours = min(UMAP_NEIGHBOURS, count - 1)
        points = UMAP(n_neighbors=neighbours, min_dist=0.1, random_state=state, n_jobs=1).fit_transform(rows)
        settings = f"UMAP, {neighbours} neighbours, minimum distance 0.1"
    points = np.asarray(points, dtype=np.float64)
    protocol = f"{settings}, seed {seed}, fitted on {len(given)} real and {len(generated)} generated images together"
    return Projection(method, points[: len(given)], points[len(given) :], [], protocol)


def hull_of(points: Points) -> ConvexHull | None:
    """Return the convex hull of points, or None if they have none."""
    if len(points) < 3:
        return None
    extents = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if extents[1] <= _THIN * extents[0]:
        return None
    try:
        return ConvexHull(points)
    except QhullError:  # flat to within rounding
        return None


def hull_overlap(real: Points, fake: Points) -> HullOverlap:
    """Measure how far the convex hulls of two sets of points overlap."""
    both = np.concatenate([real, fake])
    centre, size = both.mean(0), float(np.ptp(both, axis=0).max()) or 1.0
    first, second = (real - centre) / size, (fake - centre) / size  # of size 1, as the tolerances are absolute
    real_hull, fake_hull = hull_of(first), hull_of(second)
    # In the plane, scipy's volume is the area.
    real_area, fake_area = (0.0 if hull is None else float(hull.volume) for hull in (real_hull, fake_hull))
    common, iou = 0.0, None
    if real_hull is not None and fake_hull is not None:
        # Each row is a half-plane: normal (of length 1) . point + offset <= 0.
        planes = np.concatenate([real_hull.equations, fake_hull.equations])
        # The centre of the largest circle inside all half-planes, and its radius.
        rows, bounds = np.column_stack([planes[:, :2], np.ones(len(planes))]), [(None, None), (None, None), (0, None)]
        circle = linprog([0, 0, -1], A_ub=rows, b_ub=-planes[:, 2], bounds=bounds)
        if not circle.status and circle.x[2] > _THIN:
            common = float(ConvexHull(HalfspaceIntersection(planes, circle.x[:2]).intersections).volume)
        iou = common / (real_area + fake_area - common)
    fakes_inside = None if real_hull is None else _share_inside(second, real_hull)
    real_inside = None if fake_hull is None else _share_inside(first, fake_hull)
    unit = size**2
    return HullOverlap(real_area * unit, fake_area * unit, common * unit, iou, fakes_inside, real_inside)


def _share_inside(points: Points, hull: ConvexHull) -> float:
    """Return the share of points in a convex hull, border included up to rounding."""
    return float((points @ hull.equations[:, :2].T + hull.equations[:, 2] <= _THIN).all(1).mean())
