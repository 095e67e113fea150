"""Dask DataFrames as a source: partition by partition, their graph run inside the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import dask.array
import numpy as np
import pandas as pd

from dask_em.core.block import Block
from dask_em.core.names import nearest
from dask_em.core.records import Array
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.predict import Prediction
from dask_em.engine.source import Change, Chunk, Partition, Reader, Schema, Source
from dask_em.errors import ChunkError, DaskEmError, SchemaError
from dask_em.sources.graph import Key, awaited, run, shares_work, task_graph, upstream
from dask_em.sources.names import answer_names, chosen
from dask_em.sources.rows import as_weights, row_dtype

__all__ = ["FrameSource"]

#: what a partition is taken to hold when memory is planned
UNKNOWN_CHUNK_BYTES = 16 * 2**20
#: the column that weights are put into on their way
WEIGHTS = "_dask_em_weights"


@final
class FrameSource(Source):
    """Rows of a dask DataFrame; a chunk is one of its partitions.

    Nothing is computed here. Only the columns of features and weights are asked for, so a frame
    that comes from Parquet reads no others. The lengths of partitions are not known.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    features : sequence of str, optional
        The columns that make up a row, by name or pattern; by default all that hold numbers.
    weights : str, dask Series or dask array, optional
        Non-negative weight of each row: a column, or values in the partitions of the frame.

    Raises
    ------
    SchemaError
        If a column does not exist or holds no numbers.
    """

    def __init__(
        self, frame: Any, features: Sequence[str] | None = None, weights: Any = None
    ) -> None:
        column = weights if isinstance(weights, str) else None
        kinds = {str(name): kind for name, kind in frame.dtypes.items()}
        if len(kinds) < len(frame.columns):
            raise SchemaError("the dask DataFrame has two columns of one name; rename one")
        names = _features(kinds, features, column)
        dtype = np.result_type(*(_row_dtype(kinds[name], name) for name in names))
        wanted = [*names] if column is None or column in names else [*names, column]
        chosen_frame = frame[wanted]
        if weights is not None and column is None:
            chosen_frame = chosen_frame.assign(**{WEIGHTS: _series(weights, frame)})
            column = WEIGHTS
        optimized = chosen_frame.optimize()
        self._frame = frame
        self._graph = task_graph(optimized.__dask_graph__(), optimized.__dask_keys__())
        self._keys: list[Key] = list(optimized.__dask_keys__())
        self._columns = _Columns(tuple(names), column, dtype)
        self.schema = Schema(
            n_features=len(names),
            dtype=dtype,
            sample_shape=None,
            n_chunks=frame.npartitions,
            chunk_bytes=UNKNOWN_CHUNK_BYTES,
            feature_names=tuple(names),
            describe=f"dask DataFrame of {len(kinds)} columns in {frame.npartitions} partitions",
            sample_dims=("row",),
        )
        self.shares_work = shares_work(
            self._graph,
            ([key] for key in self._keys),
            ("partitions of this dask DataFrame", "partition"),
            ".persist()",
            ".to_parquet(path), and fit the path",
        )

    def partition(self, chunks: range) -> Partition:
        keys = tuple(self._keys[index] for index in chunks)
        return _FramePartition(chunks, upstream(self._graph, keys), keys, self._columns)

    def answered(self, prediction: Prediction, change: Change | None = None) -> Any:
        """Answers as a dask Series or DataFrame with the index and the partitions of the frame."""
        (query,) = prediction.queries
        asked = _Asked(
            prediction,
            self._columns,
            change,
            answer_names(query.name, query.trailing, self._columns.features),
        )
        meta = asked.framed(query.blank((0,)), self._frame._meta.index)
        return self._frame[list(self._columns.features)].map_partitions(
            asked, meta=meta, enforce_metadata=False
        )


@final
@dataclass(frozen=True)
class _Columns:
    """Which columns of a frame become rows, and which one weights."""

    features: tuple[str, ...]
    weights: str | None
    dtype: np.dtype[Any]

    def block(self, frame: pd.DataFrame, where: str) -> Block:
        """The rows of a partition."""
        rows = np.empty((len(frame), len(self.features)), self.dtype)
        for j, name in enumerate(self.features):
            rows[:, j] = _values(frame[name], self.dtype)
        if self.weights is None:
            return Block(rows)
        weights = _values(frame[self.weights], np.dtype(np.float64))
        return Block(rows, as_weights(weights, len(rows), where))


@final
@dataclass(frozen=True, eq=False)
class _FramePartition(Partition):
    graph: Mapping[Key, Any]  # what these chunks need, and no more
    keys: tuple[Key, ...]
    columns: _Columns

    def open(self) -> Reader:
        return self._read

    def futures(self) -> list[Any]:
        """Of the partitions that were persisted on a cluster."""
        return awaited(self.graph)

    def _read(self, index: int) -> Chunk:
        name = f"partition {index} of the dask DataFrame"
        try:
            (frame,) = run(self.graph, [self.keys[self.chunks.index(index)]])
            block = self.columns.block(frame, name)
        except (DaskEmError, MemoryError):
            raise
        except Exception as error:
            raise ChunkError(
                f"{name} cannot be computed ({type(error).__name__}: {error}); repair what the "
                'frame is made from or pass on_bad_chunk="skip"'
            ) from error
        return Chunk(index, name, block, None)


@final
@dataclass(frozen=True, eq=False)
class _Asked:
    """Answers a partition of a frame where it lies."""

    prediction: Prediction
    columns: _Columns
    change: Change | None
    names: tuple[str, ...]  # of the answers; a single one makes a series

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame | pd.Series:
        block = _Columns(self.columns.features, None, self.columns.dtype).block(frame, "")
        chunk = Chunk(0, "a partition of the dask DataFrame", block, None)
        with one_blas_thread():
            (answers,) = self.prediction.of_rows(self.change(chunk) if self.change else chunk)
        return self.framed(answers, frame.index)

    def framed(self, answers: Array, index: pd.Index) -> pd.DataFrame | pd.Series:
        """Answers with the index of their rows."""
        if answers.ndim == 1:
            return pd.Series(answers, index, name=self.names[0])
        flat = answers.reshape(len(answers), len(self.names))
        return pd.DataFrame(flat, index, columns=list(self.names))


def _features(
    kinds: Mapping[str, Any], wanted: Sequence[str] | None, weights: str | None
) -> list[str]:
    where = "the dask DataFrame"
    if weights is not None and weights not in kinds:
        raise SchemaError(
            f"there is no column {weights!r} for weights in {where}; "
            + nearest(weights, list(kinds))
        )
    numbers = [name for name, kind in kinds.items() if _is_number(kind) and name != weights]
    if wanted is not None:
        return chosen(wanted, list(kinds), numbers, where)
    names = [name for name in numbers if not pd.api.types.is_bool_dtype(kinds[name])]
    if not names:
        raise SchemaError(f"{where} has no column of numbers; it has {', '.join(kinds)}")
    return names


def _is_number(kind: Any) -> bool:
    if pd.api.types.is_bool_dtype(kind) or pd.api.types.is_numeric_dtype(kind):
        return not pd.api.types.is_complex_dtype(kind)
    return False


def _row_dtype(kind: Any, name: str) -> np.dtype[Any]:
    what = f"column {name!r} of the dask DataFrame"
    if not _is_number(kind):
        raise SchemaError(
            f"{what} is {kind}, and features are real numbers; convert it first, e.g. "
            + (
                f'(ddf["{name}"] - start).dt.total_seconds()'
                if pd.api.types.is_datetime64_any_dtype(kind)
                else f'ddf["{name}"].astype("float64"), or leave it out'
            )
        )
    # nullable kinds and those of Arrow stand for one of NumPy
    return row_dtype(getattr(kind, "numpy_dtype", kind), what)


def _values(column: pd.Series, dtype: np.dtype[Any]) -> Array:
    if isinstance(column.dtype, np.dtype):
        return np.asarray(column.to_numpy()).astype(dtype, copy=False)
    return np.asarray(column.to_numpy(dtype=dtype, na_value=np.nan))


def _series(weights: Any, frame: Any) -> Any:
    """Weights beside the rows that they belong to."""
    import dask.dataframe as dd

    if isinstance(weights, dd.Series):
        return weights
    if not isinstance(weights, dask.array.Array):
        raise SchemaError(
            "sample_weight of a dask DataFrame is the name of a column, a dask Series, or a dask "
            f"array in its partitions, not {type(weights).__qualname__}"
        )
    if weights.numblocks != (frame.npartitions,):
        raise SchemaError(
            f"sample_weight has {weights.numblocks} chunks, expected {frame.npartitions}: one for "
            "each partition of the dask DataFrame"
        )
    return dd.from_dask_array(weights, index=frame.index)
