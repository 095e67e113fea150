"""What a finished fit was, in words and in JSON."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_em.cli.kinds import Estimator
    from dask_em.core.records import Record
    from dask_em.engine.monitor import PassRecord

__all__ = ["conclusion", "effort", "next_command", "passes_document"]


def conclusion(model: Estimator) -> str:
    """How the fit ended and what to do about it, in the words of the command."""
    from dask_em.core.stopping import Outcome

    passes = "1 pass" if model.n_iter_ == 1 else f"{model.n_iter_} passes"
    if model.outcome_ is Outcome.CONVERGED:
        return f"converged after {passes}"
    if model.outcome_ is not Outcome.ITERATION_LIMIT:
        return f"after {passes}: {model.outcome_.advice}"
    last = model.history_[-1] if model.history_ else None
    if last is None or last.gain is None:
        return f"not converged after {passes}; raise --max-iter"
    by_tol = "em" in (model.algorithm, getattr(model, "solver", None))
    if last.gap is not None and not by_tol:
        near = f"the optimum is estimated to be {last.gap:.3g} nats per row away"
        return f"not converged after {passes}: {near}; raise --max-iter, or --tol-gap"
    gained = f"the last one gained {last.gain:.3g}, --tol is {model.tol:g}"
    return f"not converged after {passes}: {gained}; raise --max-iter, or --tol"


def effort(seconds: float, peak: int | None, memory: int | None) -> str:
    """What a command took: seconds, and bytes of the hungriest worker if there were workers."""
    from dask_em.cli.text import size

    used = "" if peak is None else f", peak memory of a worker {size(peak)}"
    return f"{seconds:.1f} s{used}{f' of {size(memory)}' if peak and memory else ''}"


def next_command(name: str, model: str, data: str, out: str) -> str:
    """A command to go on with, as a shell takes it: paths may be patterns."""
    return f"dask-em {name} {shlex.quote(model)} {shlex.quote(data)} --out {out}"


def passes_document(model: Estimator) -> list[dict[str, Any]]:
    """The passes of a fit, as JSON has them."""
    return [_pass(record) for record in model.history_]


def _pass(record: PassRecord) -> dict[str, Any]:
    return {
        **_fields(record),
        "repairs": [_fields(repair) for repair in record.repairs],
        "rows_per_second": record.rows_per_second,
        "bytes_per_second": record.bytes_per_second,
    }


def _fields(record: Record) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}
