"""What a run of the suite found: a line for each case, the promised figures, and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

from tests.benchmarks.mixtures import Case
from tests.benchmarks.traces import Trace

GAPS = (1e-6, 1e-8)  # nats per row
#: rows of the larger sample for each free parameter that make a case an ample one
AMPLE = 1000


@dataclass(frozen=True)
class Result:
    """A case at one size of the sample."""

    case: Case
    n: int
    d: int
    n_free: int  # parameters
    fraction: float
    traces: dict[str, Trace]
    above: float | None  # best of the fits less scikit-learn's best, nats per row

    @property
    def kind(self) -> str:
        """Which target holds, whatever the size of the sample at hand."""
        if self.case.flat:
            return "flat"
        return "ample" if 0.25 * self.n / self.n_free >= AMPLE else "scarce"

    def passes(self, method: str, gap: float) -> float | None:
        """Passes to a gap; None if they were not enough.

        Those of plain EM are extrapolated, and where that is not possible, all that were made.
        """
        trace = self.traces.get(method)
        if trace is None:
            return None
        made = trace.passes_to(gap)
        return made or trace.expected_to(gap) or trace.passes[-1] if method == "em" else made

    @property
    def ratio(self) -> float | None:
        """Passes of plain EM for one of the accelerated fit."""
        slow, fast = self.passes("em", GAPS[0]), self.passes("accelerated", GAPS[0])
        return slow / fast if slow and fast else None


def told(result: Result, method: str, gap: float) -> str:
    trace = result.traces.get(method)
    if trace is None:
        return ""
    made = trace.passes_to(gap)
    if made is not None:
        return f"{made:,.0f}" if method == "em" else f"{made:.2f}"
    expected = trace.expected_to(gap) if method == "em" else None
    return f">{trace.passes[-1]:,.0f}" if expected is None else f"~{expected:,.0f}"


def by_case(results: list[Result], fraction: float, methods: list[str]) -> Table:
    table = Table(title=f"full passes to within 1e-6 and 1e-8 nats per row, sample {fraction:.0%}")
    for name in ("case", "class"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "parameters", "sample rows each"):
        table.add_column(name, justify="right")
    for method in methods:
        table.add_column(f"{method} 1e-6", justify="right")
        table.add_column("1e-8", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("optimum less EM's", justify="right")
    table.add_column("above sklearn", justify="right")
    for result in results:
        table.add_row(
            result.case.name,
            result.kind,
            f"{result.n:,}",
            f"{result.n_free:,}",
            f"{result.fraction * result.n / result.n_free:,.0f}",
            *(told(result, method, gap) for method in methods for gap in GAPS),
            "" if result.ratio is None else f"{result.ratio:.0f}",
            lead(result),
            "" if result.above is None else f"{result.above:+.1e}",
        )
    return table


def lead(result: Result) -> str:
    """How much higher the accelerated fit's basin is than plain EM's."""
    if not {"em", "accelerated"} <= set(result.traces):
        return ""
    gain = result.traces["accelerated"].optimum - result.traces["em"].optimum
    return "0" if abs(gain) < 1e-8 else f"{gain:+.0e}"


def summary(results: list[Result], fraction: float) -> Table:
    """The figures that are promised, beside the promise."""
    table = Table(title=f"summary, sample {fraction:.0%}")
    table.add_column("figure")
    for name in ("cases", "measured", "target"):
        table.add_column(name, justify="right")
    large = fraction > 0.1
    to = {kind: passes_of(results, kind) for kind in ("ample", "flat")}
    add(table, "passes to 1e-6, ample sample: median", to["ample"], median, 4 if large else 6)
    add(table, "the same, worst", to["ample"], max, 8 if large else 15)
    add(table, "flat optimum: worst", to["flat"], max, 40)
    shares = [share for share in map(of_limit, results) if share is not None]
    add(table, "scarce sample: worst, of max(10, 1/8 of plain EM)", shares, max, 1)
    ratios = [result.ratio for result in results if result.ratio]
    add(table, "plain EM's passes over these: median", ratios, median, 15, least=True)
    above = [result.above for result in results if result.above is not None]
    add(table, "nats per row above scikit-learn: lowest", above, min, 0, least=True)
    table.add_row("steps taken", "", steps(results), "")
    return table


def steps(results: list[Result]) -> str:
    """How often accelerated fits went on with each kind of step before they arrived."""
    made: Counter[str] = Counter()
    for trace in (result.traces.get("accelerated") for result in results):
        if trace is not None:
            needed = trace.passes_to(GAPS[-1]) or float("inf")
            pairs = zip(trace.steps, trace.passes, strict=True)
            made.update(step for step, passes in pairs if passes <= needed)
    return ", ".join(f"{count} {step}" for step, count in made.most_common())


def passes_of(results: list[Result], kind: str) -> list[float]:
    """Passes of the accelerated fits of a kind; infinity where one did not arrive."""
    return [
        result.passes("accelerated", GAPS[0]) or float("inf")
        for result in results
        if result.kind == kind and "accelerated" in result.traces
    ]


def of_limit(result: Result) -> float | None:
    """Passes of a scarce case as a share of what they may be."""
    slow = result.passes("em", GAPS[0])
    if result.kind != "scarce" or slow is None or "accelerated" not in result.traces:
        return None
    return (result.passes("accelerated", GAPS[0]) or float("inf")) / max(10, slow / 8)


def add(
    table: Table,
    name: str,
    values: list[float],
    figure: Callable[[list[float]], float],
    target: float,
    least: bool = False,
) -> None:
    if not values:
        return
    found = figure(values)
    met = found >= target if least else found <= target
    shown = f"{found:.3g}" if met else f"[bold red]{found:.3g}[/]"
    table.add_row(name, str(len(values)), shown, f"{'>=' if least else '<='} {target:g}")


def as_json(result: Result) -> dict[str, Any]:
    return {
        "case": result.case.name,
        "class": result.kind,
        "rows": result.n,
        "features": result.d,
        "parameters": result.n_free,
        "fraction": result.fraction,
        "above_sklearn": result.above,
        "methods": {
            method: {
                "passes_to": {f"{gap:g}": result.passes(method, gap) for gap in GAPS},
                "extrapolated": [f"{gap:g}" for gap in GAPS if trace.passes_to(gap) is None],
                "optimum": trace.optimum,
                "seconds": trace.seconds,
                "passes": trace.passes,
                "objectives": trace.objectives,
                "steps": trace.steps,
            }
            for method, trace in result.traces.items()
        },
    }
