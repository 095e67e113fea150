"""Anderson's extrapolation of a fixed-point iteration, Walker and Ni (2011)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dask_em.core.records import Array

__all__ = ["extrapolated"]

#: differences that are shorter than this beside the longest are rounding
RANK = 1e-9


def extrapolated(points: Sequence[Array], images: Sequence[Array]) -> Array | None:
    """Where the residuals of a map, taken for linear, would vanish (type II, least squares).

    Parameters
    ----------
    points, images : sequences of array (m,)
        Points and what the map made of them, the current ones last.

    Returns
    -------
    array (m,) or None
        None if there is nothing to extrapolate from.
    """
    residuals = [image - point for point, image in zip(points, images, strict=True)]
    if len(residuals) < 2:
        return None
    if not all(np.isfinite(residual).all() for residual in residuals):
        return None
    bends = np.stack([residual - residuals[-1] for residual in residuals[:-1]], axis=1)
    moves = np.stack([image - images[-1] for image in images[:-1]], axis=1)
    lengths = np.linalg.norm(bends, axis=0)
    lengths[lengths == 0] = 1
    left, values, right = np.linalg.svd(bends / lengths, full_matrices=False)
    kept = values > RANK * values[0]
    if not kept.any():
        return None
    shares = right[kept].T @ ((left[:, kept].T @ residuals[-1]) / values[kept])
    return np.asarray(images[-1] - moves @ (shares / lengths))
