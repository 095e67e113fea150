"""The sample of a fit: brought by the first pass, and by later ones where it was too small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_em.core.block import Block
from dask_em.engine.monitor import PassRecord
from dask_em.engine.passes import Passes
from dask_em.engine.sample import Sampling, Survey
from dask_em.errors import DataError

if TYPE_CHECKING:
    from dask_em.engine.checkpoint import Checkpoint

__all__ = ["FirstPass"]


class FirstPass:
    """The first pass, made when its sample is first asked for, unless a checkpoint holds it.

    A sample that has grown begins with the rows that it had before.
    """

    def __init__(
        self, passes: Passes[Any, Any], size: int | None, checkpoint: Checkpoint | None = None
    ) -> None:
        self._passes, self._size, self._checkpoint = passes, size, checkpoint
        self._rows: Block | None = None
        self._complete = False
        self.records: tuple[PassRecord, ...] = ()
        kept = None if checkpoint is None else checkpoint.sample()
        if kept is not None:
            self._rows, self._complete, self.records = kept.block, kept.complete, (kept.record,)
            passes.monitor.end(kept.record)

    def sample(self) -> Block:
        """Rows of the sample of the first pass."""
        rows = self._all()
        n_rows = self.records[0].sample_rows
        return rows if n_rows == len(rows) else rows.take(slice(0, n_rows))

    def beginning(self, n_rows: int) -> Block:
        """Rows of the sample in an order of which every beginning is itself a sample."""
        rows = self._all()
        if self._complete:
            return rows.take(np.random.default_rng(0).permutation(len(rows))[:n_rows])
        return rows.take(slice(0, n_rows))  # in the order of hashes

    def holds_every_row(self) -> bool:
        """Whether the sample is all there is."""
        self._all()
        return self._complete

    @property
    def n_rows(self) -> int:
        """All rows that entered, of the sample or not."""
        self._all()
        return self.records[0].rows

    def sampling(self, n_rows: int) -> Sampling | None:
        """What a pass needs to bring a larger sample along; None where it is here."""
        if n_rows <= len(self._all()):
            return None
        sampling = Sampling.of(self._passes.source.schema, self._passes.reading, n_rows)
        return sampling.of_rows(self.n_rows)

    def grow(self, survey: Survey) -> None:
        """Take the larger sample that a pass brought along."""
        self._rows = self._taken(survey)

    def _all(self) -> Block:
        if self._rows is None:
            sampling = Sampling.of(self._passes.source.schema, self._passes.reading, self._size)
            survey, record = self._passes.first(sampling)
            self._complete, self.records = survey.complete, (record,)
            self._rows = self._taken(survey)
            self._passes.monitor.end(record)
        return self._rows

    def _taken(self, survey: Survey) -> Block:
        sample = survey.sample()
        # the last bits of what is computed may depend on the order in memory
        sample = Block(np.ascontiguousarray(sample.values), sample.weights)
        self._check_observed(sample)
        if self._checkpoint is not None:
            self._checkpoint.keep_sample(sample, self._complete, self.records[0])
        return sample

    def _check_observed(self, sample: Block) -> None:
        """Refuse features that only rows outside of the sample observe."""
        unseen = np.asarray(np.isnan(sample.values).all(axis=0))
        if unseen.any():
            raise DataError(
                f"{int(unseen.sum())} features are observed in so few rows that the sample of "
                f"{len(sample)} rows, from which a fit starts, has none: "
                f"{self._passes.source.schema.named(unseen)}; leave them out, or raise init_sample"
            )
