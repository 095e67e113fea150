"""Bytes of row samples: one, and those that meet on a worker in the first pass."""

from __future__ import annotations

from dask_em.engine.plan import Plan, Resources
from dask_em.engine.reduce import FAN_IN
from dask_em.engine.sample import Sampling
from dask_em.engine.source import Schema

__all__ = ["SURVEYS", "gathered_bytes", "sample_bytes"]

#: samples that meet where surveys are merged: the parts as they came, and as they are sent on
SURVEYS = 3
#: position, hash and weight of a row of the sample, bytes
BESIDE_A_ROW = 24


def sample_bytes(sampling: Sampling, schema: Schema) -> int:
    """Bytes of the row sample: its values, and what each row has beside them."""
    rows = sampling.size if schema.n_rows is None else min(sampling.size, schema.n_rows)
    return rows * _row_bytes(schema)


def gathered_bytes(
    first: Sampling, schema: Schema, plan: Plan, resources: Resources, n_workers: int
) -> int:
    """Bytes of the samples of the first pass that meet on a worker.

    Parameters
    ----------
    first : Sampling
        That of the first pass.
    n_workers : int
        Over which the tasks are spread.
    """
    if schema.n_rows is not None:  # then all tasks together bring hardly more than one
        return SURVEYS * sample_bytes(first, schema)
    # nobody knows how few rows there are, so each task brings as many as a whole sample has
    chunk_rows = schema.chunk_bytes // (schema.n_features * schema.dtype.itemsize)
    chunks = -(-schema.n_chunks // plan.n_tasks)
    one = min(first.size, chunks * chunk_rows) * _row_bytes(schema)
    # the results of a worker's tasks wait until their neighbours' are there
    waiting = min(plan.n_tasks, -(-plan.n_tasks // n_workers) + FAN_IN)
    return (waiting + SURVEYS * (1 + resources.threads_per_worker)) * one


def _row_bytes(schema: Schema) -> int:
    return schema.n_features * schema.dtype.itemsize + BESIDE_A_ROW
