"""Options of several commands: which rows, where it runs, what is written; made into values."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from dask_em.engine.source import Source

__all__ = [
    "JSON", "Cache", "Cluster", "Data", "Features", "KeptAnswers", "Keys", "LogDensity", "Memory",
    "Overwrite", "SampleDims", "SavedModel", "Scheduler", "Selected", "Standardized",
    "StorageOptions", "Threads", "Timeout", "Weights", "Where", "Workers", "byte_count",
    "cache_bytes", "names_of",
]  # fmt: skip

CLUSTER, DATA = "Where it runs", "Which rows"

Data: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Path or URL of a Zarr array or group, of Parquet (a file, a folder, a glob), or of "
        "NetCDF.",
    ),
]
SavedModel: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="Path or URL of a saved model.")
]
LogDensity: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PATH", help="Zarr store for the log-density, nats; the path of --out for there."
    ),
]
Features: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Arrays of a group, or columns of a table, that make up a row; columns also by "
        "patterns such as 'temp*'.",
        rich_help_panel=DATA,
    ),
]
SampleDims: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y",
        help="Dimensions that tell rows apart; the others are features.",
        rich_help_panel=DATA,
    ),
]
Where: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION",
        help='Which rows of Parquet are read, e.g. "depth < 1000 and year >= 2010".',
        rich_help_panel=DATA,
    ),
]
Keys: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B", help="Columns of Parquet that are copied to stand beside the answers."
    ),
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Zarr array with the weight of each row, or a name in the group or the table.",
        rich_help_panel=DATA,
    ),
]
StorageOptions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="NAME=VALUE",
        help="What fsspec needs to open the URLs of rows, models, outputs and checkpoints, e.g. "
        "anon=true. May be repeated.",
        rich_help_panel=DATA,
    ),
]
Standardized: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--standardize",
        help="Subtract the mean of each feature and divide by its standard deviation, which take "
        "one more pass; both are kept with the model.",
        rich_help_panel=DATA,
    ),
]
Scheduler: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A running Dask scheduler, e.g. tcp://host:8786.",
        rich_help_panel=CLUSTER,
    ),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Start a local cluster of N worker processes. By default this process works alone.",
        rich_help_panel=CLUSTER,
    ),
]
Memory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="BYTES", help="Memory limit of each worker, e.g. 1GB.", rich_help_panel=CLUSTER
    ),
]
Threads: TypeAlias = Annotated[
    int, typer.Option(min=1, metavar="N", help="Threads of each worker.", rich_help_panel=CLUSTER)
]
Cache: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="BYTES",
        help="Decoded chunks that each worker keeps: off, auto, or a size such as 2GB.",
        rich_help_panel=CLUSTER,
    ),
]
Timeout: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="How long to wait for a cluster's first worker.",
        rich_help_panel=CLUSTER,
    ),
]
Checkpoint: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Folder in which every pass is kept; the same command goes on from it.",
    ),
]
Overwrite: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier run wrote there.")
]
KeptAnswers: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="PATH",
        help="Folder in which it is kept what is written; the same command goes on from it.",
    ),
]
JSON: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--json", help="One JSON document on stdout and nothing else; progress goes to stderr."
    ),
]


@dataclass(frozen=True)
class Selected:
    """Which rows are meant, as the library takes them."""

    features: list[str] | None
    sample_dims: list[str] | None
    storage_options: dict[str, Any] | None
    where: str | None = None

    @classmethod
    def parse(
        cls,
        features: str | None,
        sample_dims: str | None,
        storage_options: list[str] | None,
        where: str | None = None,
    ) -> Selected:
        """The texts of the options as lists of names and a mapping."""
        return cls(names_of(features), names_of(sample_dims), _pairs(storage_options), where)

    def open(self, data: str | Path, weights: str | None = None) -> Source:
        """The selected rows of a store; no row is read yet."""
        from dask_em.sources.registry import open_source

        return open_source(
            data,
            sample_weight=weights,
            features=self.features,
            sample_dims=self.sample_dims,
            where=self.where,
            storage_options=self.options_of(data),
        )

    def options_of(self, url: str | Path | None) -> dict[str, Any] | None:
        """What fsspec needs for a URL; None for paths, which need nothing."""
        from dask_em.sources.paths import is_url

        return self.storage_options if isinstance(url, str) and is_url(url) else None

    def flags(self) -> str:
        """The same as options of the command, with a space before; empty if nothing was said."""
        said = {"--features": self.features, "--sample-dims": self.sample_dims}
        flags = "".join(
            f" {flag} {shlex.quote(','.join(names))}" for flag, names in said.items() if names
        )
        return flags + (f" --where {shlex.quote(self.where)}" if self.where else "")


@dataclass(frozen=True)
class Cluster:
    """Where the work is to run; neither address nor workers means this process."""

    scheduler: str | None
    n_workers: int | None
    memory: int | None  # bytes of each worker
    n_threads: int  # of each worker

    @classmethod
    def parse(
        cls, scheduler: str | None, workers: int | None, memory: str | None, threads: int
    ) -> Cluster:
        """The options as one value.

        Raises
        ------
        typer.BadParameter
            If they contradict each other.
        """
        if scheduler is not None and (workers is not None or memory is not None):
            raise typer.BadParameter(
                "--scheduler names a cluster that runs already, --workers and --memory start one; "
                "give one or the other"
            )
        if memory is not None and workers is None:
            raise typer.BadParameter("--memory is of each worker; say how many with --workers")
        return cls(scheduler, workers, None if memory is None else byte_count(memory), threads)

    def flags(self) -> str:
        """The same as options of the command, with a space before."""
        if self.scheduler is not None:
            return f" --scheduler {self.scheduler}"
        if self.n_workers is None:
            return ""
        memory = "" if self.memory is None else f" --memory {self.memory // 1_000_000}MB"
        threads = "" if self.n_threads == 1 else f" --threads {self.n_threads}"
        return f" --workers {self.n_workers}{memory}{threads}"


def byte_count(text: str) -> int:
    """Bytes of a size such as ``600MB`` or ``1.5GiB``."""
    from dask.utils import parse_bytes

    try:
        found = int(parse_bytes(text))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no size; write e.g. 600MB or 1.5GiB") from error
    if found <= 0:
        raise typer.BadParameter(f"{text!r} is no size above 0; write e.g. 600MB or 1.5GiB")
    return found


def cache_bytes(text: str) -> str | int:
    """A budget for decoded chunks: off, auto, or a size."""
    return text if text in ("off", "auto") else byte_count(text)


def names_of(text: str | None) -> list[str] | None:
    """Names of which an option is a list."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise typer.BadParameter(f"{text!r} holds an empty name; write e.g. a,b")
    return names


def _pairs(texts: list[str] | None) -> dict[str, Any] | None:
    if not texts:
        return None
    pairs = [text.partition("=") for text in texts]
    for text, (name, separator, _) in zip(texts, pairs, strict=True):
        if not name or not separator:
            raise typer.BadParameter(f"--storage-option {text!r} is not NAME=VALUE")
    return {name: _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
