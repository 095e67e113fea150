"""Outputs in the form that belongs to what is read: Parquet for Parquet, Zarr for all else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dask_em.engine.source import Source
from dask_em.engine.writing import Output
from dask_em.errors import InputError
from dask_em.place import Options
from dask_em.sources import zarr_output
from dask_em.sources.zarr_output import Planned

if TYPE_CHECKING:
    from dask_em.engine.ledger import Ledger

__all__ = ["SupportsOutputs", "create_outputs"]


@runtime_checkable
class SupportsOutputs(Protocol):
    """A source whose answers are written in a form of its own."""

    def create_outputs(
        self,
        planned: Sequence[Planned],
        *,
        keys: Sequence[str] | None = None,
        overwrite: bool = False,
        storage_options: Options = None,
        ledger: Ledger | None = None,
    ) -> AbstractContextManager[Output]:
        """As the function of this name."""


def create_outputs(
    planned: Sequence[Planned],
    source: Source,
    *,
    keys: Sequence[str] | None = None,
    overwrite: bool = False,
    storage_options: Options = None,
    ledger: Ledger | None = None,
) -> AbstractContextManager[Output]:
    """Where the answers for the rows of a source go, for as long as they are written.

    Parameters
    ----------
    keys : sequence of str, optional
        Columns of a table that are copied to stand beside the answers.
    planned, overwrite, storage_options, ledger
        As in `zarr_output.create_outputs`, which also tells what is raised.
    """
    origin = source.origin
    if isinstance(origin, SupportsOutputs):
        return origin.create_outputs(
            planned, keys=keys, overwrite=overwrite, storage_options=storage_options, ledger=ledger
        )
    if keys:
        raise InputError(
            f"keys={list(keys)} was given with {source.schema.describe}; only columns of Parquet "
            "are copied to stand beside answers"
        )
    return zarr_output.create_outputs(
        planned, source, overwrite=overwrite, storage_options=storage_options, ledger=ledger
    )
