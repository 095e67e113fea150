"""Climbing a surrogate: accelerated EM first, then Newton's method in a trust region.

The Newton step is found by conjugate gradients (Steihaug, 1983), with products of the Hessian by
differences of slopes; directions of negative curvature, which plateaus and saddles have, are
followed to the edge of the region.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Generic, TypeVar

import numpy as np

from dask_em.core.anderson import extrapolated
from dask_em.core.geometry import Chart
from dask_em.core.records import Array, Parameters, Statistics
from dask_em.core.secants import Secants
from dask_em.core.surrogate import Point, Surrogate
from dask_em.errors import DegenerateError

__all__ = ["Climbed", "Effort", "Trusted", "climb"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: differences of slopes are taken over steps of this length
DIFFERENCE = 1e-5
#: pairs that the extrapolation of EM looks back on
MEMORY = 8
#: lengths of a step: standard deviations of the complete data's parameters
FIRST_RADIUS, LARGEST_RADIUS, SMALLEST_RADIUS = 0.5, 30.0, 1e-6
#: values this close are equal up to rounding
ROUNDING = 1e-14


@dataclass(frozen=True)
class Effort:
    """When a climb ends.

    Parameters
    ----------
    relative : float
        A step that promises less than this share of the gain so far is the last.
    tolerance : float
        The same in nats per unit of mass.
    evaluations : int
        Most evaluations of the surrogate.
    em_steps : int
        Accelerated EM steps at the beginning.
    directions : int
        Most conjugate directions in a step.
    """

    relative: float = 1e-3
    tolerance: float = 1e-14
    evaluations: int = 300
    em_steps: int = 6
    directions: int = 50


@dataclass(frozen=True)
class Trusted(Generic[P, S]):
    """Where a surrogate is trusted: a ball, in coordinates around its centre.

    Parameters
    ----------
    chart : Chart
    radius : float
        Standard deviations of the complete data's parameters.
    secants : Secants
        What is added to the surrogate's curvature.
    """

    chart: Chart[P, S]
    radius: float
    secants: Secants


@dataclass(frozen=True)
class Climbed(Generic[P]):
    """Where a climb ended."""

    parameters: P
    gain: float  # nats per unit of mass
    evaluations: int
    finished: bool = False  # whether it ended at a top, not at a limit


def climb(
    surrogate: Surrogate[P, S], start: P, effort: Effort, trusted: Trusted[P, S] | None = None
) -> Climbed[P]:
    """Climb from a start; what is returned is never below it.

    Where the surrogate is trusted only near the start, it is Newton's method from there alone.
    """
    return _Climb(surrogate, effort, trusted).run(start)


@dataclass(frozen=True)
class _NewtonStep:
    vector: Array  # (m,)
    promised: float  # gain by the quadratic model, nats per unit of mass
    bounded: bool = False  # whether it ends at the edge of the step's region
    leaving: bool = False  # or at the edge of where the surrogate is trusted


class _Climb(Generic[P, S]):
    def __init__(
        self, surrogate: Surrogate[P, S], effort: Effort, trusted: Trusted[P, S] | None
    ) -> None:
        self.surrogate, self.effort, self.trusted = surrogate, effort, trusted
        self.evaluations = 0
        self.finished = False

    def run(self, start: P) -> Climbed[P]:
        first = self._at(start)
        if first is None:
            return Climbed(start, 0.0, self.evaluations)
        point = first if self.trusted is not None else self._accelerated(first)
        point = self._newton(point, first.value)
        gain = point.value - first.value
        return Climbed(point.parameters, gain, self.evaluations, self.finished)

    def _at(self, parameters: P) -> Point[P, S] | None:
        self.evaluations += 1
        point = self.surrogate.at(parameters)
        if point is None or self.trusted is None:
            return point
        vector = _vector(self.trusted.chart, parameters)
        if vector is None:
            return None
        return replace(point, value=point.value + self.trusted.secants.form(vector))

    def _accelerated(self, point: Point[P, S]) -> Point[P, S]:
        """EM steps extrapolated by Anderson, or plain where that does not climb."""
        pairs: list[tuple[P, P]] = []
        for _ in range(self.effort.em_steps):
            image = self.surrogate.em_step(point)
            if image is None:
                return point
            pairs = [*pairs, (point.parameters, image)][-MEMORY - 1 :]
            further = self._extrapolated(pairs)
            found = None if further is None else self._at(further)
            if found is None or found.value < point.value - ROUNDING:
                pairs = pairs[-1:]
                found = self._at(image)
                if found is None or found.value < point.value - ROUNDING:
                    return point
            point = found
        return point

    def _extrapolated(self, pairs: list[tuple[P, P]]) -> P | None:
        chart = None if len(pairs) < 2 else self._chart(pairs[-1][0])
        if chart is None:
            return None
        vectors = [[_vector(chart, one) for one in pair] for pair in pairs]
        known = [(point, image) for point, image in vectors if point is not None]
        points, images = [one for one, _ in known], [one for _, one in known if one is not None]
        vector = extrapolated(points, images) if len(points) == len(images) else None
        return None if vector is None else _parameters(chart, vector)

    def _chart(self, parameters: P) -> Chart[P, S] | None:
        if self.trusted is not None:
            return self.trusted.chart
        try:
            return self.surrogate.geometry.chart(parameters)
        except DegenerateError:
            return None

    def _slope(self, point: Point[P, S], chart: Chart[P, S], vector: Array) -> Array | None:
        slope = self.surrogate.slope(point, chart)
        if slope is None or self.trusted is None:
            return slope
        return slope + self.trusted.secants.times(vector)

    def _newton(self, point: Point[P, S], begin: float) -> Point[P, S]:
        radius, failures = FIRST_RADIUS, 0
        while self.evaluations < self.effort.evaluations:
            chart = self._chart(point.parameters)
            here = None if chart is None else _vector(chart, point.parameters)
            if chart is None or here is None:
                break
            slope = self._slope(point, chart, here)
            if slope is None:
                break
            if np.linalg.norm(slope) < 1e-11:
                self.finished = True
                break
            step = self._step(chart, here, slope, radius)
            there = _parameters(chart, here + step.vector)
            found = None if there is None else self._inside(there)
            gain = -inf if found is None else found.value - point.value
            if found is not None and _as_promised(gain, step.promised):
                point, failures = found, 0
                radius = _resized(radius, step, gain)
                least = max(self.effort.relative * (point.value - begin), self.effort.tolerance)
                if step.leaving or (not step.bounded and step.promised < least):
                    self.finished = not step.leaving
                    break
                continue
            radius, failures = 0.25 * min(radius, float(np.linalg.norm(step.vector))), failures + 1
            if radius < SMALLEST_RADIUS or step.promised < 1e-15:
                # at the edge of a ball so small nothing can be told
                self.finished = step.promised < 1e-10 and not step.bounded
                break
            if failures == 2 and self.trusted is None:
                # where the quadratic model is poor, EM still climbs
                failures = 0
                image = self.surrogate.em_step(point)
                found = None if image is None else self._at(image)
                if found is None:
                    break
                point = max(point, found, key=lambda one: one.value)
        return point

    def _inside(self, parameters: P) -> Point[P, S] | None:
        """A point whose corrected statistics are those of some parameters.

        Beyond, a component has fewer than no rows, and the surrogate may have no top.
        """
        point = self._at(parameters)
        return None if point is None or self.surrogate.em_step(point) is None else point

    def _step(self, chart: Chart[P, S], here: Array, slope: Array, radius: float) -> _NewtonStep:
        """The best step in the region, by conjugate gradients."""
        vector, bent = np.zeros_like(slope), np.zeros_like(slope)
        residual, direction = slope.copy(), slope.copy()
        square = residual @ residual
        enough, bounded, leaving = 0.05 * np.linalg.norm(slope), False, False
        for _ in range(self.effort.directions):
            product = self._curved(chart, here, slope, direction)
            if product is None:
                break
            curvature = direction @ product
            edge = _to_edge(vector, direction, radius)
            limit = self._to_limit(here + vector, direction)
            if curvature <= 1e-9 * (direction @ direction) or square / curvature >= min(
                edge, limit
            ):
                length, bounded, leaving = min(edge, limit), True, limit < edge
                vector, bent = vector + length * direction, bent + length * product
                break
            length = square / curvature
            vector, bent = vector + length * direction, bent + length * product
            residual = residual - length * product
            before, square = square, residual @ residual
            if np.sqrt(square) < enough or self.evaluations > self.effort.evaluations:
                break
            direction = residual + (square / before) * direction
        promised = float(slope @ vector - 0.5 * vector @ bent)
        return _NewtonStep(vector, promised, bounded, leaving)

    def _to_limit(self, vector: Array, direction: Array) -> float:
        return inf if self.trusted is None else _to_edge(vector, direction, self.trusted.radius)

    def _curved(
        self, chart: Chart[P, S], here: Array, slope: Array, direction: Array
    ) -> Array | None:
        """Minus the Hessian times a direction."""
        h = DIFFERENCE / np.linalg.norm(direction)
        there = _parameters(chart, here + h * direction)
        point = None if there is None else self._at(there)
        other = None if point is None else self._slope(point, chart, here + h * direction)
        return None if other is None else (slope - other) / h


def _parameters(chart: Chart[P, S], vector: Array) -> P | None:
    try:
        return chart.parameters(vector)
    except DegenerateError:
        return None


def _vector(chart: Chart[P, S], parameters: P) -> Array | None:
    try:
        return chart.vector(parameters)
    except DegenerateError:
        return None


def _resized(radius: float, step: _NewtonStep, gain: float) -> float:
    if step.bounded and gain > 0.5 * step.promised:
        return min(3 * radius, LARGEST_RADIUS)
    return 0.5 * radius if gain < 0.2 * step.promised else radius


def _as_promised(gain: float, promised: float) -> bool:
    return gain > 0.02 * promised or (promised < 1e-12 and gain > -ROUNDING)


def _to_edge(vector: Array, direction: Array, radius: float) -> float:
    """How far along a direction the ball around zero ends."""
    a, b = direction @ direction, 2 * vector @ direction
    c = vector @ vector - radius * radius
    return max(0.0, float((-b + np.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a)))
