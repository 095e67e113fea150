"""`dask-em inspect`: what a store holds and what a pass over it would cost."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.cluster import resources_of
from dask_em.cli.model_options import ON_BAD_CHUNK, BadChunk
from dask_em.cli.options import (
    JSON,
    Cluster,
    Data,
    Features,
    Memory,
    SampleDims,
    Selected,
    StorageOptions,
    Threads,
    Where,
    Workers,
)

if TYPE_CHECKING:
    from dask_em.engine.plan import Resources
    from dask_em.engine.readable import Readable
    from dask_em.engine.source import Schema, Source

__all__ = ["inspect"]

#: rows are looked at until they make so many bytes
LOOKED_AT = 64 << 20
#: and so many of a long list are shown
SHOWN = 8


def inspect(
    data: Data,
    features: Features = None,
    sample_dims: SampleDims = None,
    where: Where = None,
    on_bad_chunk: Annotated[BadChunk, typer.Option(help=ON_BAD_CHUNK)] = BadChunk.stop,
    storage_option: StorageOptions = None,
    workers: Workers = None,
    memory: Memory = None,
    threads: Threads = 1,
    as_json: JSON = False,
) -> None:
    """Show the rows of a store, what is missing in them, and the plan of a pass.

    Missing values are counted in chunks spread over the store, up to 64 MiB of rows.
    """
    cluster = Cluster.parse(None, workers, memory, threads)
    selected = Selected.parse(features, sample_dims, storage_option, where)

    from dask_em.cli.text import print_json

    source = selected.open(data)
    look, plan = Look.at(source, on_bad_chunk.value), _plan(source, resources_of(cluster))
    if as_json:
        print_json({"data": data, **_document(source.schema, look), "plan": plan})
        return
    for key, value in {**_lines(source.schema), "missing": look.words(), **_promise(plan)}.items():
        print(f"{key:<9} {value}")
    flags = selected.flags() + cluster.flags()
    print(f"next: dask-em fit {shlex.quote(data)} -k 8 --out model.zarr{flags}")


@dataclass
class Look:
    """What a few chunks, spread over the store, hold."""

    n_chunks: int
    rows: int = 0
    incomplete: int = 0  # rows with NaN
    infinite: int = 0  # rows with infinity
    bad_chunks: int = 0  # that could not be read and were skipped

    @classmethod
    def at(cls, source: Source, on_bad_chunk: str) -> Look:
        """Read some chunks of a source."""
        look = cls(0)
        for found in _some_chunks(source, on_bad_chunk):
            look.n_chunks += 1
            look.bad_chunks += found.bad_chunks
            for chunk in found.chunks:
                look._count(chunk.block.values)
        return look

    def _count(self, values: Any) -> None:
        import numpy as np

        self.rows += len(values)
        self.incomplete += int(np.isnan(values).any(axis=1).sum())
        self.infinite += int(np.isinf(values).any(axis=1).sum())

    def words(self) -> str:
        """The counts, and what to do about them."""
        from dask_em.cli.text import plural

        chunks = plural(self.n_chunks, "chunk")
        where = f"of {self.rows:,} rows hold NaN, in {chunks} looked at"
        bad = f"; {plural(self.bad_chunks, 'unreadable chunk')} skipped" if self.bad_chunks else ""
        if not self.rows:
            return f"no rows{bad}"
        found = f"{self.incomplete:,} ({self.incomplete / self.rows:.2%}) {where}"
        remedies = "; --missing drop leaves them out, --model ppca --missing model uses the rest"
        remedy = remedies if self.incomplete else ""
        infinite = f"; {self.infinite:,} hold infinity, which no fit admits"
        return found + remedy + (infinite if self.infinite else "") + bad


def _some_chunks(source: Source, on_bad_chunk: str) -> Iterator[Readable]:
    from dask_em.engine.readable import readable
    from dask_em.engine.stream import Reading

    schema = source.schema
    reading = Reading(schema, on_bad_chunk=on_bad_chunk)
    wanted = max(1, LOOKED_AT // max(1, schema.chunk_bytes))
    step = max(1, -(-schema.n_chunks // wanted))
    for index in range(0, schema.n_chunks, step):
        partition = source.partition(range(index, index + 1))
        yield readable(partition, partition.open(), index, reading)


def _plan(source: Source, resources: Resources) -> dict[str, Any]:
    """The plan of a pass, or why there can be none."""
    from dask_em.engine.plan import Plan
    from dask_em.errors import InputError

    try:
        plan = Plan.make(source, resources)
    except InputError as error:
        return {"refused": str(error)}
    return {
        "threads": resources.n_threads,
        "leaves": plan.n_leaves,
        "tasks_per_pass": plan.n_tasks,
        "peak_task_bytes": plan.task_bytes,
        "peak_worker_bytes": plan.worker_bytes,
    }


def _promise(plan: dict[str, Any]) -> dict[str, str]:
    from dask_em.cli.text import plural, size

    if "refused" in plan:
        return {"plan": f"refused: {plan['refused']}"}
    return {
        "plan": f"{plural(plan['tasks_per_pass'], 'task')} per pass on "
        f"{plural(plan['threads'], 'thread')}",
        "memory": f"at most {size(plan['peak_task_bytes'])} for a task, "
        f"{size(plan['peak_worker_bytes'])} for the tasks of a worker, and the model's sums",
    }


def _lines(schema: Schema) -> dict[str, str]:
    from dask_em.cli.text import size

    stored = "" if schema.stored_bytes is None else f", {size(schema.stored_bytes)} stored"
    rows = "unknown" if schema.n_rows is None else f"{schema.n_rows:,}"
    return {
        "data": schema.describe,
        "rows": rows
        if schema.sample_shape is None
        else f"{rows} in the shape {schema.sample_shape}",
        "features": f"{schema.n_features}{_names(schema)}",
        "dtype": str(schema.dtype),
        "bytes": f"{size(schema.nbytes)} decoded{stored}",
        "chunks": f"{schema.n_chunks:,} of {_chunk_shape(schema)}, at most "
        f"{size(schema.chunk_bytes)} each",
    }


def _names(schema: Schema) -> str:
    names = schema.feature_names
    if names is None:
        return ""
    text = ", ".join(names[:SHOWN])
    return f": {text}" if len(names) <= SHOWN else f": {text}, ... and {names[-1]}"


def _chunk_shape(schema: Schema) -> str:
    if schema.sample_chunks is None:
        return "unknown shape"
    return str(tuple(max(lengths, default=0) for lengths in schema.sample_chunks))


def _document(schema: Schema, look: Look) -> dict[str, Any]:
    return {
        "describe": schema.describe,
        "rows": schema.n_rows,
        "sample_shape": schema.sample_shape,
        "n_features": schema.n_features,
        "feature_names": schema.feature_names,
        "dtype": str(schema.dtype),
        "decoded_bytes": schema.nbytes,
        "stored_bytes": schema.stored_bytes,
        "n_chunks": schema.n_chunks,
        "chunk_bytes": schema.chunk_bytes,
        "looked_at": {
            "chunks": look.n_chunks,
            "rows": look.rows,
            "rows_with_nan": look.incomplete,
            "rows_with_infinity": look.infinite,
            "bad_chunks": look.bad_chunks,
        },
    }
