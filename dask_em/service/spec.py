"""Specification of a job: validated JSON, in which nothing is code and nothing is a pickle."""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dask_em.core.names import nearest
from dask_em.engine.fingerprint import digest
from dask_em.errors import InputError

__all__ = ["Fit", "Job", "Predict", "Sweep", "json_schema", "parse", "text_of", "token"]

#: a body of more bytes is refused before it is read
LARGEST_BYTES = 1_000_000
#: whole numbers up to here are the same in every language, and in the messages of Dask
LARGEST_INT = 2**53 - 1
#: faults that are told at once, and characters of what was found
MOST_FAULTS, MOST_CHARACTERS = 20, 200

Names: TypeAlias = list[str] | None
Algorithm: TypeAlias = Literal["auto", "em", "accelerated"]
Covariance: TypeAlias = Literal["full", "tied", "diag", "spherical"]
OnBadChunk: TypeAlias = Literal["raise", "skip"]
Start: TypeAlias = Literal["kmeans", "k-means++", "random", "random_from_data"]
Count: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_INT)]
Seed: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_INT)]
Positive: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: what terminals would obey is in no text that others are shown
PRINTED = r"^[^\x00-\x1f\x7f-\x9f]*$"
Line: TypeAlias = Annotated[str, Field(pattern=PRINTED)]
URL: TypeAlias = Annotated[str, Field(min_length=1, pattern=PRINTED)]


class _Part(BaseModel):
    """A part of a specification: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Rows(_Part):
    """Which rows, as `dask_em.open_source` takes them."""

    url: URL | Annotated[list[URL], Field(min_length=1)]
    features: Names = None
    sample_dims: Names = None
    where: str | None = None
    storage_options: dict[str, Any] | None = None


class Data(Rows):
    """Rows to learn from, which may count more or less."""

    sample_weight: str | None = None


class _Mixtures(_Part):
    """What mixtures have, whether one is fitted or many are compared."""

    reg_covar: Positive = 1e-6
    n_init: Count = 1
    init_params: Start = "kmeans"
    random_state: Seed | None = None
    degenerate: Literal["repair", "drop", "raise"] = "repair"
    missing: Literal["error", "drop"] = "error"


class GaussianMixture(_Mixtures):
    """A mixture, with the parameters of `dask_em.GaussianMixture`."""

    kind: Literal["gaussian_mixture"]
    n_components: Count
    covariance_type: Covariance = "full"
    init_sample: Count | None = None


class PPCA(_Part):
    """Probabilistic PCA, with the parameters of `dask_em.PPCA`."""

    kind: Literal["ppca"]
    n_components: Count | Annotated[float, Field(gt=0, lt=1)] | Literal["bic"]
    solver: Literal["auto", "gram", "em"] = "auto"
    rotation: bool = True
    random_state: Seed | None = None
    missing: Literal["error", "drop", "model"] = "error"
    init_sample: Count | None = None


Model: TypeAlias = Annotated[GaussianMixture | PPCA, Field(discriminator="kind")]


class Candidates(_Mixtures):
    """What a sweep compares, with the parameters of `dask_em.sweep`."""

    n_components: Annotated[list[Count], Field(min_length=1)]
    covariance_type: Annotated[list[Covariance], Field(min_length=1)] = ["full", "diag"]
    criterion: Literal["bic", "aic", "icl"] = "bic"


class Standardize(_Part):
    """Subtract means and divide by deviations, of all rows or of some features."""

    step: Literal["standardize"]
    features: Names = None


class Log(_Part):
    """The logarithm of some features, plus an offset."""

    step: Literal["log"]
    features: Annotated[list[str], Field(min_length=1)]
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class Select(_Part):
    """Some features, in another order."""

    step: Literal["select"]
    features: Annotated[list[str], Field(min_length=1)]


Step: TypeAlias = Annotated[Standardize | Log | Select, Field(discriminator="step")]


class Stopping(_Part):
    """When a fit stops; None is as the estimator has it."""

    tol: Positive | None = None
    tol_gap: Positive | None = None
    max_iter: Annotated[int, Field(ge=0, le=LARGEST_INT)] | None = None
    algorithm: Algorithm = "auto"


class Resources(_Part):
    """What the work may take."""

    cache: Literal["off", "auto"] | Count = "off"
    on_bad_chunk: OnBadChunk = "raise"


class ReadOnce(_Part):
    """What a single pass may take; None is as in the fit of the model."""

    on_bad_chunk: OnBadChunk | None = None


class _Job(_Part):
    """What all jobs have: their checkpoint, their turn, and what people call them."""

    version: Literal[1] = 1
    checkpoint: URL | None = None  # one to go on from, where the job leaves its own
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    owner: Annotated[Line, Field(max_length=100)] = ""
    tags: dict[Line, Line] = {}


class _Learning(_Job):
    """What jobs have that learn from rows."""

    data: Data
    resources: Resources = Resources()
    mapping: list[Step] = []
    stopping: Stopping = Stopping()
    output: URL | None = None  # beside the store of the service, which keeps the model anyway
    overwrite: bool = False


class Fit(_Learning):
    """Fit one model and save it."""

    task: Literal["fit"]
    model: Model


class Sweep(_Learning):
    """Fit mixtures of many sizes and structures, and save the best."""

    task: Literal["sweep"]
    candidates: Candidates


class Predict(_Job):
    """Say for each row what a saved model says of it, and write that."""

    task: Literal["predict"]
    data: Rows
    resources: ReadOnce = ReadOnce()
    model: URL
    outputs: Annotated[
        dict[
            Literal["class", "probability", "log_likelihood", "score", "filled", "deviation"], URL
        ],
        Field(min_length=1),
    ]
    keys: Names = None
    missing: Literal["error", "drop", "model"] | None = None  # None is as in the fit of the model
    overwrite: bool = False


Job: TypeAlias = Annotated[Fit | Sweep | Predict, Field(discriminator="task")]

_ADAPTER: TypeAdapter[Fit | Sweep | Predict] = TypeAdapter(Job)
#: of no influence on what a job gives, or secret
ASIDE: Any = {
    "checkpoint": True, "priority": True, "owner": True, "tags": True, "data": {"storage_options"}
}  # fmt: skip


def text_of(given: str | bytes) -> str:
    """The text of a JSON document, without the mark that some editors put before it.

    Raises
    ------
    InputError
        If it is not in UTF-8.
    """
    try:
        text = given.decode() if isinstance(given, bytes) else given
    except UnicodeDecodeError as error:
        raise InputError(f"the specification is no text in UTF-8: {error}; save it so") from None
    return text.removeprefix("\ufeff")


def parse(text: str) -> Fit | Sweep | Predict:
    """The job that a JSON document describes.

    Raises
    ------
    InputError
        With every fault: where it lies, what was found, and what there may be.
    """
    if len(text) > LARGEST_BYTES:
        raise InputError(
            f"the specification takes {len(text):,} bytes, the limit is {LARGEST_BYTES:,}; give "
            "data by URL"
        )
    try:
        told = json.loads(text)
        json.dumps(told, ensure_ascii=False).encode()  # half a character could be told to nobody
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the specification is no JSON: {error}; give an object such as "
            '{"task": "fit", "data": {"url": ...}, "model": ..., "output": ...}'
        ) from None
    try:
        return _ADAPTER.validate_python(told)
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = "; ".join(_words(fault) for fault in found[:MOST_FAULTS])
        more = f"; and {len(found) - MOST_FAULTS} more" if len(found) > MOST_FAULTS else ""
        raise InputError(f"the specification does not fit: {faults}{more}") from None


def token(job: Fit | Sweep | Predict) -> str:
    """A short name for all that decides what a job gives.

    Who asked, and how urgently, is not among it; nor are options of storage, which may be secret.
    """
    return digest(job.model_dump(mode="json", exclude=ASIDE))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of specifications."""
    return {"title": "dask_em job", **_schema()}


@cache
def _schema() -> dict[str, Any]:
    return _ADAPTER.json_schema()  # takes 10 ms


def _words(fault: Any) -> str:
    path = [str(part) for part in fault["loc"]]
    where = ".".join(part for part in path if part not in ("fit", "sweep", "predict")) or "it"
    if fault["type"] == "extra_forbidden":
        return f"{where} is not known; {nearest(path[-1], _known(path))}"
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"].startswith("union_tag"):
        return f"{where}: {fault['msg']}"
    given = repr(fault["input"])
    if len(given) > MOST_CHARACTERS:
        given = f"{given[:MOST_CHARACTERS]}..."
    return f"{where} is {given}: {fault['msg'].lower()}"


def _known(path: list[str]) -> list[str]:
    """The names of the fields that there may be beside the last one of a path."""
    schema = _schema()
    for part in path[:-1]:
        schema = _inner(schema, part)
    return sorted(schema.get("properties", {}))


def _inner(schema: dict[str, Any], part: str) -> dict[str, Any]:
    """The schema of a field, of an item, or of a variant with a tag."""
    found: Any = schema.get("properties", {}).get(part)
    if found is None:
        found = schema.get("discriminator", {}).get("mapping", {}).get(part)
        found = {"$ref": found} if found else schema.get("items", {})
    if "$ref" in found:
        found = _schema()["$defs"][found["$ref"].rpartition("/")[2]]
    return dict(found)
