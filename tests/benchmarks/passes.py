"""Full passes to the optimum, by method, on a suite of mixtures that are hard for plain EM.

    python -m tests.benchmarks.passes                       the suite, samples of 25% and of 5%
    python -m tests.benchmarks.passes --quick               20,000 rows of each case
    python -m tests.benchmarks.passes --cases ring-3-8 --fraction 0.05 --json passes.json

Passes are counted until the objective is within 1e-6 and 1e-8 nats per row of the optimum of the
basin where the method ended, and a sample counts as its share of a pass. All methods start from
the same parameters, which k-means found on the sample; plain EM that does not arrive is
extrapolated at its own rate, which `~` marks, or on a plateau only said to need more (`>`). At the
end of a line stands the best of some fits less the best of as many of scikit-learn's with its
defaults, nats per row.
"""

from __future__ import annotations

import argparse
import json
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.mixture import GaussianMixture

from dask_em import DaskEmError, fit
from tests.benchmarks.mixtures import CASES, AbsentError
from tests.benchmarks.results import GAPS, Result, as_json, by_case, summary, told
from tests.benchmarks.traces import Problem, Trace, accelerated, plain

METHODS = ("em", "accelerated", "anderson")
QUICK_ROWS = 20_000


def measured(problem: Problem, fraction: float, methods: Iterable[str], options: Any) -> Result:
    """All methods from the same start."""
    case, (n, d) = problem.case, problem.rows.shape
    # half of the rows of small data, for a sample that is a handful of rows says nothing
    sample_rows = max(round(fraction * n), min(n // 2, 1000))
    start = problem.start(sample_rows, options.seed)
    known: list[float] = []
    run: dict[str, Callable[[], Trace]] = {
        "accelerated": lambda: accelerated(problem, start, sample_rows),
        "anderson": lambda: accelerated(problem, start, sample_rows, bare=True),
        "em": lambda: plain(problem, start, known, options.most_passes),
    }
    traces = {}
    # plain EM comes last: it need not go on where it has arrived at an optimum that is known
    for method in (name for name in run if name in methods):
        try:
            traces[method] = problem.topped(run[method](), known)
        except (DaskEmError, np.linalg.LinAlgError) as error:
            # the other cases are worth knowing all the same
            print(f"{case.name}: {method} failed, {error}", file=sys.stderr)
        else:
            known.append(traces[method].optimum)
    above = beside_sklearn(problem, options.starts) if options.starts else None
    n_free = problem.mixture.n_free_parameters(start)
    return Result(case, n, d, n_free, sample_rows / n, traces, above)


def beside_sklearn(problem: Problem, starts: int) -> float:
    """The best of our fits less the best of scikit-learn's, each with its defaults."""
    case, rows = problem.case, problem.rows
    ours, theirs = [], []
    for seed in range(starts):
        fitted = fit(
            problem.mixture,
            rows,
            algorithm="accelerated",
            rng=np.random.default_rng(seed),
        )
        ours.append(problem.in_memory.objective(fitted.parameters))
        other = GaussianMixture(
            case.k, covariance_type=case.structure, reg_covar=case.reg_covar, random_state=seed
        )
        theirs.append(other.fit(rows).score(rows))
    return float(max(ours) - max(theirs))


def loaded(names: list[str], most: int | None) -> Iterable[Problem]:
    """The problems one by one, for together they fill the memory."""
    for case in CASES:
        if case.name in names:
            try:
                yield Problem.load(case, most)
            except AbsentError as reason:
                print(f"{case.name}: skipped, {reason}", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    names = [case.name for case in CASES]
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--fraction", nargs="+", type=float, default=[0.25, 0.05])
    parser.add_argument("--rows", type=int, help="most rows of a case")
    parser.add_argument("--most-passes", type=int, default=1500, help="that plain EM may make")
    parser.add_argument("--starts", type=int, default=5, help="beside scikit-learn; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows, two starts")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.starts = options.rows or QUICK_ROWS, min(options.starts, 2)
    return options


def main() -> None:
    options = parsed()
    warnings.simplefilter("ignore")
    results: dict[float, list[Result]] = {fraction: [] for fraction in options.fraction}
    methods = [method for method in METHODS if method in options.methods]
    for problem in loaded(options.cases, options.rows):
        for fraction, done in results.items():
            begin = time.perf_counter()
            done.append(measured(problem, fraction, methods, options))
            line = {method: told(done[-1], method, GAPS[0]) for method in methods}
            seconds = time.perf_counter() - begin
            print(f"{problem.case.name} {fraction:g}: {line}, {seconds:.0f} s", file=sys.stderr)
        if options.json:  # after each case: a long run may be cut short
            every = [as_json(result) for done in results.values() for result in done]
            options.json.write_text(json.dumps(every, indent=1))
    console = Console(width=180)
    for fraction, done in results.items():
        console.print(by_case(done, fraction, methods), summary(done, fraction))


if __name__ == "__main__":
    main()
