"""The first pass, made when its sample is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_em.core.block import Block
from dask_em.engine.monitor import PassRecord
from dask_em.engine.passes import Passes
from dask_em.engine.sample import Sampling

if TYPE_CHECKING:
    from dask_em.engine.checkpoint import Checkpoint

__all__ = ["FirstPass"]


class FirstPass:
    """The first pass, made when its sample is first asked for, unless a checkpoint holds it."""

    def __init__(
        self, passes: Passes[Any, Any], size: int | None, checkpoint: Checkpoint | None = None
    ) -> None:
        self._passes, self._size, self._checkpoint = passes, size, checkpoint
        self._sample: Block | None = None
        self._complete = False
        self.records: tuple[PassRecord, ...] = ()
        kept = None if checkpoint is None else checkpoint.sample()
        if kept is not None:
            self._sample, self._complete, self.records = kept.block, kept.complete, (kept.record,)
            passes.monitor.end(kept.record)

    def sample(self) -> Block:
        """Rows of the sample."""
        if self._sample is None:
            self._sample = self._drawn()
        return self._sample

    def holds_every_row(self) -> bool:
        """Whether the sample is all there is."""
        self.sample()
        return self._complete

    def _drawn(self) -> Block:
        passes = self._passes
        sampling = Sampling.of(passes.source.schema, passes.reading, self._size)
        survey, record = passes.first(sampling)
        self._complete, self.records = survey.complete, (record,)
        sample = survey.sample()
        # the last bits of what is computed may depend on the order in memory
        sample = Block(np.ascontiguousarray(sample.values), sample.weights)
        if self._checkpoint is not None:
            self._checkpoint.keep_sample(sample, survey.complete, record)
        return sample
