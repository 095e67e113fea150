"""What probabilistic PCA without gaps shares, whatever it sums: tiles, likelihood, EM step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.models.matrices import LOG_2PI
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters

__all__ = ["LOST_DIGITS", "block_dtype", "em_step", "log_likelihood", "tile_dtype", "tiles"]

#: relative error of a noise variance, for one row, above which float32 rows are squared in float64
LOST_DIGITS = 1e-3
#: weights above this, and below its inverse, are taken times squares in float64
WEIGHTY = 1e20

#: rows of a tile that is no copy
PLAIN_ROWS = 8192


def tile_dtype(dtype: np.dtype[Any], parameters: PPCAParameters) -> np.dtype[Any]:
    """Float32 rows are squared in float32 unless that costs the noise too many digits."""
    single = np.dtype(np.float32)
    enough = float(np.finfo(single).eps) * parameters.condition <= LOST_DIGITS
    enough &= not parameters.place.is_plain  # which only rows of float64 were found to bear
    return single if dtype == single and enough else np.dtype(np.float64)


def block_dtype(block: Block, parameters: PPCAParameters) -> np.dtype[Any]:
    """The dtype of a block's tiles: `tile_dtype` unless weights leave what float32 can square."""
    dtype = tile_dtype(block.values.dtype, parameters)
    if dtype == np.float64 or block.weights is None:
        return dtype
    some = block.weights[block.weights > 0]
    bearable = not len(some) or (some.min() > 1 / WEIGHTY and some.max() < WEIGHTY)
    return dtype if bearable else np.dtype(np.float64)


def tiles(
    block: Block, parameters: PPCAParameters, dtype: np.dtype[Any]
) -> Iterator[tuple[Array, Array]]:
    """Rows of a block in the frame of parameters, some at a time.

    Yields
    ------
    rows : array (b, d)
        Times the root of their weight; overwritten by the next, and not to be written to.
    roots : array (b,)
        Root of the weight of each row.
    """
    d = block.n_features
    if parameters.place.is_plain and block.weights is None and block.values.dtype == dtype:
        for start in range(0, len(block), PLAIN_ROWS):
            whole = block.values[start : start + PLAIN_ROWS]
            yield whole, np.ones(len(whole), dtype)
        return
    shift, shrink = _exact(parameters.place.shift, dtype), dtype.type(1 / parameters.unit)
    tile_rows = max(256, min(8192, 2**18 // d))
    tile = np.empty((min(tile_rows, len(block)), d), dtype)
    for start in range(0, len(block), tile_rows):
        part = block.take(slice(start, start + tile_rows))
        rows = tile[: len(part)]
        np.subtract(part.values, shift, out=rows, casting="same_kind")
        rows *= shrink
        roots = np.ones(len(part), dtype)
        if part.weights is not None:
            roots = np.sqrt(part.weights).astype(dtype)
            rows *= roots[:, None]
        yield rows, roots


def _exact(shift: Array, dtype: np.dtype[Any]) -> Array:
    """The shift in the dtype of the tile if that holds it, for then nothing is converted."""
    near = shift.astype(dtype)
    return near if bool((near == shift).all()) else shift


def log_likelihood(
    mass: float, first: Array, squares: float, projected: Array, at: PPCAParameters
) -> float:
    """Nats; ``tr(C^-1 A)`` with A the scatter about the mean, Bishop (2006) equation 12.43.

    Parameters
    ----------
    mass : float
    first : array (d,)
        Sum of the rows y in the frame.
    squares : float
        Sum of ``|y|^2``.
    projected : array (q, q)
        Sum of ``W'y y'W`` with the loadings in the frame.
    at : PPCAParameters
    """
    inside = at.framed
    mean, W = inside.mean, inside.loadings
    total = squares - 2 * mean @ first + mass * mean @ mean
    sums, centre = W.T @ first, W.T @ mean
    within = projected + mass * np.outer(centre, centre)
    within -= np.outer(sums, centre) + np.outer(centre, sums)
    explained = np.trace(inside.solve_inner(within))
    distance = (total - explained) / inside.noise_variance
    volume = inside.log_determinant + inside.d * LOG_2PI - 2 * at.place.log_volume
    return float(-0.5 * (mass * volume + distance))


def em_step(
    mean: Array, cross: Array, total: float, before: PPCAParameters, floor: NoiseFloor
) -> PPCAParameters:
    """One step of EM, Bishop (2006) equations 12.54 to 12.57, in the frame of the sums.

    Parameters
    ----------
    mean : array (d,)
        Of the rows: the optimum whatever else is, so it comes first.
    cross : array (d, q)
        Average over rows of ``(x - mean) E[z]'``.
    total : float
        Trace of the covariance of the rows.
    before : PPCAParameters
        In the frame, from which the posterior of z follows.
    floor : NoiseFloor
    """
    # the average of E[z z']
    second = before.posterior_covariance + before.gain @ cross
    loadings = np.linalg.solve(second, cross.T).T
    d = len(mean)
    noise, repaired = floor.apply((total - float((cross * loadings).sum())) / d, total / d)
    return PPCAParameters(mean, loadings, noise, repaired=repaired)
