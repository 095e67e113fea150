"""What a checkpoint keeps: the sample, what passes told before it, and where fits stand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dask_em.core.block import Block
from dask_em.core.moments import FeatureMoments
from dask_em.core.records import Array, Record
from dask_em.engine.fingerprint import Facts
from dask_em.engine.monitor import PassRecord

__all__ = ["KeptMember", "KeptMoments", "KeptPass", "KeptSample", "KeptStart"]


@dataclass(frozen=True)
class KeptMoments(Record):
    """What a pass told of the features, before the fit."""

    moments: FeatureMoments
    record: PassRecord
    facts: str  # JSON of all that decided it

    @property
    def specification(self) -> Facts:
        found: Facts = json.loads(self.facts)
        return found


@dataclass(frozen=True)
class KeptSample(Record):
    """The sample of a first pass."""

    rows: Array  # (m, d)
    weights: Array | None  # (m,)
    complete: bool  # whether it is all rows
    record: PassRecord  # of the first pass

    @property
    def block(self) -> Block:
        return Block(self.rows, self.weights)


@dataclass(frozen=True)
class KeptStart(Record):
    """Where one start stands."""

    progress: Any
    reseeds: int  # how often components were moved
    state: str  # JSON of the generator's state after the start was made

    @property
    def chance(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state)
        return found


@dataclass(frozen=True)
class KeptMember(Record):
    """Where one of many fits stands that share their passes."""

    progress: Any  # None where it failed before the first pass
    reseeds: int  # how often components were moved
    failure: str | None  # why it failed


@dataclass(frozen=True)
class KeptPass(Record):
    """Where many fits stand after a pass that they shared."""

    history: tuple[PassRecord, ...]  # of all passes after the first
    members: tuple[KeptMember | None, ...]  # None for those that took no part in this pass
    places: tuple[int, ...]  # the number of the last pass in which each took part

    @property
    def number(self) -> int:
        return len(self.history)
