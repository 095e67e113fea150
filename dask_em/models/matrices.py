"""Stacks of symmetric matrices: factors, floors, packing, and the BLAS calls that work in place."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import blas, solve_triangular

from dask_em.core.records import Array

__all__ = [
    "LOG_2PI",
    "add_scatter",
    "covariances_of",
    "factors_of",
    "factors_of_precisions",
    "floored",
    "lower_factors",
    "mahalanobis",
    "packed",
    "transposed",
    "unpacked",
]

LOG_2PI = math.log(2 * math.pi)


def transposed(matrices: Array) -> Array:
    """Each matrix (..., d, p) transposed: a view (..., p, d)."""
    return np.swapaxes(matrices, -1, -2)


def lower_factors(covariances: Array) -> Array:
    """Lower triangular L (m, d, d) with ``L @ L.T`` each covariance.

    Raises
    ------
    numpy.linalg.LinAlgError
        If one is not positive definite.
    """
    return np.linalg.cholesky(covariances)


def factors_of(covariances: Array) -> Array:
    """Upper triangular U (m, d, d) with ``U @ U.T`` the inverse of each covariance (m, d, d)."""
    lower = lower_factors(covariances)
    identity = np.eye(covariances.shape[-1])
    return np.stack([solve_triangular(one, identity, lower=True).T for one in lower])


def factors_of_precisions(precisions: Array) -> Array:
    """Upper triangular U (..., d, d) with ``U @ U.T`` equal to each precision."""
    # the Cholesky factor of the precision with its rows and columns reversed, reversed back
    flipped = np.linalg.cholesky(precisions[..., ::-1, ::-1])
    return np.ascontiguousarray(flipped[..., ::-1, ::-1])


def covariances_of(factors: Array) -> Array:
    """Covariances (m, d, d) whose precisions have the given factors."""
    identity = np.eye(factors.shape[-1])
    lower = [solve_triangular(one, identity, lower=False).T for one in factors]
    return np.stack([one @ one.T for one in lower])


def floored(covariances: Array, floor: float) -> tuple[Array, dict[int, int]]:
    """Covariances (m, d, d) with eigenvalues of at least `floor`.

    Also the matrices that were below it, each with the feature that weighs most in the
    eigenvector of the smallest eigenvalue.
    """
    low = [m for m, one in enumerate(covariances) if _maybe_below(one, floor)]
    if not low:
        return covariances, {}
    covariances, blamed = covariances.copy(), {}
    for m in low:
        values, vectors = np.linalg.eigh(covariances[m])
        if values[0] >= floor:
            continue
        blamed[m] = int(np.argmax(np.abs(vectors[:, 0])))
        repaired = (vectors * np.maximum(values, floor)) @ vectors.T
        covariances[m] = (repaired + repaired.T) / 2
    return covariances, blamed


def _maybe_below(covariance: Array, floor: float) -> bool:
    # a Cholesky factor is cheap and bounds the smallest eigenvalue from above; only a factor near
    # the floor is worth an eigendecomposition
    try:
        diagonal = np.diagonal(np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:
        return True
    return bool(np.min(diagonal) ** 2 < 1e4 * floor)


def packed(matrices: Array) -> Array:
    """Upper triangles (..., d (d + 1) / 2) of symmetric matrices (..., d, d), row by row."""
    i, j = np.triu_indices(matrices.shape[-1])
    return np.ascontiguousarray(matrices[..., i, j])


def unpacked(triangles: Array, d: int) -> Array:
    """Symmetric matrices (..., d, d) of packed upper triangles."""
    i, j = np.triu_indices(d)
    matrices = np.empty((*triangles.shape[:-1], d, d))
    matrices[..., i, j] = triangles
    matrices[..., j, i] = triangles
    return matrices


def mahalanobis(centred: Array, factor: Array) -> Array:
    """(b,) squared lengths of ``centred @ factor``; the rows (b, d) are overwritten."""
    # transposes of C-ordered arrays are Fortran-ordered: BLAS works on them in place
    trmm = blas.dtrmm if centred.dtype == np.float64 else blas.strmm
    trmm(1.0, factor.T, centred.T, lower=1, overwrite_b=1)
    return np.asarray(np.einsum("ij,ij->i", centred, centred))


def add_scatter(rows: Array, total: Array) -> None:
    """Add ``rows.T @ rows`` to total (d, d), which is float64 and stays symmetric."""
    # NumPy sees that both are the same and takes half the work, in a newer BLAS than SciPy's
    total += rows.T @ rows
