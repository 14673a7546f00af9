"""Maps of real and generated images in the plane, and how far their outlines overlap.

Pictures to look at, not measures: two sets may overlap in the plane and be far apart elsewhere.  The overlap of
convex hulls (PCA on pixels) is printed because published studies of ultrasound GANs judge by that picture;
one stray image can stretch a hull, so it decides nothing here.
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
from sonoforge.training.evaluation.tasks import EmbeddedSets

PCA_SIDE = 224  # the images' side in the publication: Ryspayeva, Salykova 2025 (PCA of real and generated images)
PERPLEXITY = 30.0  # sklearn's and van der Maaten's default (JMLR 2008: 5 to 50)
UMAP_NEIGHBOURS = 15  # umap-learn's default
_BLOCK = 4096  # pixels at a time
_THIN = 1e-9  # a set whose smaller extent is below this share of the larger one is a line


@dataclass(frozen=True, eq=False)
class Projection:
    """Real and generated images as points in the plane."""

    method: str  # `pca`, `tsne` or `umap`
    real: NDArray[np.float64]  # (M, 2) float64
    fake: NDArray[np.float64]  # (N, 2) float64
    explained: list[float]  # share of the real images' variance along each axis, 0 to 1; empty for maps that have none
    protocol: str  # how it was made, in one line


@dataclass(frozen=True)
class HullOverlap:
    """How far the convex hulls of two sets of points overlap.

    A set of fewer than three points, or on one line, has no hull: its area is 0, and what would be divided by
    it or looked up in it is None.
    """

    real_area: float  # area of the real points' hull, in the map's units squared
    fake_area: float  # area of the generated points' hull
    intersection_area: float  # area common to both; 0 where one has no hull
    iou: float | None  # common area over joint area, 0 to 1; None where one has no hull
    # Share of generated points in the real points' hull, border included; None where that has none.
    fakes_inside: float | None
    real_inside: float | None  # share of real points in the generated points' hull; None where that has none


def pca_projection(real: NDArray[np.uint8], fake: NDArray[np.uint8], components: int = 2) -> Projection:
    """Project both sets onto the first principal components of the real images' pixels.

    As published (Ryspayeva, Salykova 2025): grey images of 224 x 224 pixels, flattened; the components are fitted
    to the real images alone and the generated ones are projected onto them, so that generated images cannot pull
    the axes.  Grey by ITU-R BT.601 luma; resized by Pillow's bilinear filter (which averages when it reduces); grey
    levels divided by 255, centred on the real images' mean, not scaled.  The exact components, from the
    eigenvectors of the real images' Gram matrix, built from blocks of pixels so that memory stays near that of
    the grey images in uint8.  The sign of each component is chosen so that its largest real score is positive.

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
        raise SonoforgeError(
            f"PCA: found {len(real)} real images, expected at least {components + 1}; give more real images"
        )
    grey_real, grey_fake = _grey_rows(real), _grey_rows(fake)
    if (grey_real == grey_real[0]).all():
        raise SonoforgeError("PCA: found real images that are all equal, expected images that differ; check the folder")
    count, pixels = grey_real.shape
    blocks = [slice(start, start + _BLOCK) for start in range(0, pixels, _BLOCK)]
    gram = np.zeros((count, count))
    for block in blocks:
        part, _ = _centred(grey_real[:, block])
        gram += part @ part.T
    total = float(np.trace(gram))
    values, vectors = eigh(gram, subset_by_index=[count - components, count - 1])
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    peaks = vectors[np.abs(vectors).argmax(0), np.arange(components)]
    vectors = vectors * np.sign(peaks)
    scales = np.sqrt(values)
    weights = vectors / np.where(scales > _THIN * np.sqrt(total), scales, np.inf)  # a component of no variance: 0
    projected = np.zeros((len(fake), components))
    for block in blocks:
        part, mean = _centred(grey_real[:, block])
        projected += (grey_fake[:, block] / 255.0 - mean) @ (part.T @ weights)
    protocol = (
        f"PCA fitted on the {count} real images: grey (BT.601), {PCA_SIDE} x {PCA_SIDE} pixels (bilinear), flattened"
    )
    return Projection("pca", vectors * scales, projected, (values / total).tolist(), protocol)


def embedding_map(real: NDArray[Any], fake: NDArray[Any], method: str, seed: int) -> Projection:
    """Lay the embeddings of both sets into the plane so that near neighbours stay near; fitted on both together.

    Distances between clusters and sizes of clusters mean nothing in such a map, and chance moves it; it shows only
    whether generated images mix with real ones.

    Args:
        real: (M, D) embeddings.
        fake: (N, D) embeddings; M + N at least 5.
        method: ``tsne`` (van der Maaten, Hinton, JMLR 2008; scikit-learn, first placed by PCA, perplexity 30 or
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
        raise SonoforgeError(f"{method}: found {count} images in all, expected at least 5; give more images")
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
            raise SonoforgeError(
                "umap: found no umap-learn, which draws this map; pip install 'sonoforge[umap]'"
            ) from error
        neighbours = min(UMAP_NEIGHBOURS, count - 1)
        points = UMAP(n_neighbors=neighbours, min_dist=0.1, random_state=state, n_jobs=1).fit_transform(rows)
        settings = f"UMAP, {neighbours} neighbours, minimum distance 0.1"
    points = np.asarray(points, dtype=np.float64)
    protocol = f"{settings}, seed {seed}, fitted on {len(given)} real and {len(generated)} generated images together"
    return Projection(method, points[: len(given)], points[len(given) :], [], protocol)


Maps = dict[str, tuple[Projection, HullOverlap | None]]
"""Projections by method; of ``pca`` with the overlap of the hulls."""


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
    """Return what ``results.json`` holds: protocols; of ``pca`` also explained variance and overlap of the hulls."""
    return {
        method: {"protocol": f"{projection.protocol}; {space}"}
        if overlap is None
        else {
            "protocol": projection.protocol,
            "explained": projection.explained,
            **dataclasses.asdict(overlap),
        }
        for method, (projection, overlap) in maps.items()
    }


def hull_of(points: NDArray[np.float64]) -> ConvexHull | None:
    """Return the convex hull of (N, 2) points; None where there is none."""
    if len(points) < 3:
        return None
    extents = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if extents[1] <= _THIN * extents[0]:
        return None
    try:
        return ConvexHull(points)
    except QhullError:  # flat to within rounding
        return None


def hull_overlap(real: NDArray[np.float64], fake: NDArray[np.float64]) -> HullOverlap:
    """Measure how far the convex hulls of two sets of points, (M, 2) and (N, 2), overlap."""
    both = np.concatenate([real, fake])
    centre, size = both.mean(0), float(np.ptp(both, axis=0).max()) or 1.0
    first, second = (real - centre) / size, (fake - centre) / size  # of size 1, as what follows has absolute tolerances
    real_hull, fake_hull = hull_of(first), hull_of(second)
    # What scipy calls the volume of a hull in the plane is its area.
    real_area, fake_area = (0.0 if hull is None else float(hull.volume) for hull in (real_hull, fake_hull))
    common, iou = 0.0, None
    if real_hull is not None and fake_hull is not None:
        common = _common_area(np.concatenate([real_hull.equations, fake_hull.equations]))
        iou = common / (real_area + fake_area - common)
    fakes_inside = None if real_hull is None else float(_inside(second, real_hull).mean())
    real_inside = None if fake_hull is None else float(_inside(first, fake_hull).mean())
    unit = size**2
    return HullOverlap(real_area * unit, fake_area * unit, common * unit, iou, fakes_inside, real_inside)


def _common_area(planes: NDArray[np.float64]) -> float:
    """Area where a half-plane's normal, of length 1, times the point, plus its offset is at most 0, for all (K, 3)."""
    # The centre of the largest circle inside, and its radius.
    rows, bounds = np.column_stack([planes[:, :2], np.ones(len(planes))]), [(None, None), (None, None), (0, None)]
    circle = linprog([0, 0, -1], A_ub=rows, b_ub=-planes[:, 2], bounds=bounds)
    if circle.status or circle.x[2] <= _THIN:
        return 0.0
    return float(ConvexHull(HalfspaceIntersection(planes, circle.x[:2]).intersections).volume)


def _inside(points: NDArray[np.float64], hull: ConvexHull) -> NDArray[np.bool_]:
    """Whether each of (N, 2) points lies in a convex hull, border included up to rounding."""
    return np.asarray((points @ hull.equations[:, :2].T + hull.equations[:, 2] <= _THIN).all(1))


def _grey_rows(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn (N, S, S, C) into flattened grey images (N, 224 * 224), uint8."""
    rows = np.empty((len(images), PCA_SIDE * PCA_SIDE), dtype=np.uint8)
    for row, pixels in zip(rows, images, strict=True):
        grey = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
        row[:] = np.asarray(grey.resize((PCA_SIDE, PCA_SIDE), Image.Resampling.BILINEAR)).ravel()
    return rows


def _centred(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return grey levels 0..1 less their mean over the images, (M, P), and that mean, (P,)."""
    levels = grey / 255.0
    mean = levels.mean(0)
    return levels - mean, mean
