"""Rows in the order of their gaps, and many small symmetric matrices inverted at once."""

from __future__ import annotations

import numpy as np

from dask_em.core.records import Array

__all__ = ["inverses", "pattern_order"]


def pattern_order(missing: Array) -> tuple[Array | None, Array]:
    """An order that puts rows with the same gaps together.

    Parameters
    ----------
    missing : array (n, d) of bool

    Returns
    -------
    order : array (n,) of int, or None
        None where rows are as well left where they are: all alike, or few of them.
    first : array (n,) of bool
        Whether the row at a place of this order has other gaps than the one before.
    """
    n, d = missing.shape
    words = np.zeros((n, -(-d // 64) * 8), np.uint8)
    words[:, : -(-d // 8)] = np.packbits(missing, axis=1)
    keys = words.view(np.uint64)
    if not keys.any():
        return None, np.arange(n) == 0
    # rows whose sums agree by chance are told apart below: that costs a little time, no more
    factors = np.random.default_rng(0).integers(1, 2**63, keys.shape[1], dtype=np.uint64)
    order = np.argsort((keys * (factors | np.uint64(1))).sum(axis=1), kind="stable")
    keys = keys[order]
    first = np.ones(n, dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    if 2 * np.count_nonzero(first) > n:  # each for itself is cheaper than to move them
        return None, np.ones(n, dtype=bool)
    return order, first


def inverses(matrices: Array) -> Array:
    """Invert positive definite matrices (q, q, m) in place; return log-determinants (m,).

    Gauss-Jordan elimination, the sweep operator of Little and Rubin (2002, section 7.4), on all
    matrices at once: for small q this is many times faster than one LAPACK call for each.
    Positive definite matrices need no pivots.
    """
    log_determinant = np.zeros(matrices.shape[2])
    for k in range(len(matrices)):
        pivot = matrices[k, k].copy()
        log_determinant += np.log(pivot)
        row = matrices[k] / pivot
        row[k] = 1 / pivot
        column = matrices[:, k].copy()
        matrices[:, k] = 0
        matrices -= column[:, None] * row
        matrices[k] = row
    return log_determinant
