"""The rows of a sample, evaluated by all threads of this process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, reduce
from operator import add
from typing import Generic, TypeVar

from dask_em.core.block import Block
from dask_em.core.model import Model
from dask_em.core.records import Parameters, Statistics
from dask_em.engine.limits import one_blas_thread

__all__ = ["SampleRows"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: rows that one thread takes at a time, whatever the number of threads: the bits do not change
PIECE_ROWS = 1 << 15


class SampleRows(Generic[P, S]):
    """Rows in memory, of float64: differences of their statistics are taken over small steps.

    Parameters
    ----------
    model : Model
    block : Block
        The rows, in the order of their hash.
    n_threads : int
    """

    def __init__(self, model: Model[P, S], block: Block, n_threads: int) -> None:
        self._model, self._threads = model, n_threads
        self._block = block

    def __len__(self) -> int:
        return len(self._block)

    @property
    def block(self) -> Block:
        """All rows."""
        return self._block

    def first(self, n_rows: int) -> SampleRows[P, S]:
        return SampleRows(self._model, self._block.take(slice(0, n_rows)), self._threads)

    def expect(self, parameters: P) -> S:
        with one_blas_thread():
            if len(self._pieces) == 1 or self._threads == 1:
                parts = [self._model.expect(piece, parameters) for piece in self._pieces]
            else:
                parts = list(
                    self._pool.map(self._model.expect, self._pieces, self._same(parameters))
                )
        return reduce(add, parts)

    @cached_property
    def _pieces(self) -> list[Block]:
        starts = range(0, len(self), PIECE_ROWS)
        return [self._block.take(slice(start, start + PIECE_ROWS)) for start in starts]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="em-sample")

    def _same(self, parameters: P) -> list[P]:
        return [parameters] * len(self._pieces)
