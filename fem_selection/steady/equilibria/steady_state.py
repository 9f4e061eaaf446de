# SPDX-License-Identifier: MIT
"""Find a steady state from a start, by Newton's method in the coordinates that fit the kernel.

    σ(K f + b) = 0,   f near f₀

The strategies are tried in this order.  Each starts from f₀.  If that fails and `restart` allows it, it starts again
from an f with K f + b = 0, or as small as possible: Newton's method fails where σ is saturated, and near g = 0 it is
not.

| strategy | tried where | unknowns and linear systems |
|---|---|---|
| `sparse` | K has a local part | nodal values; the local part's sparse factorization (`local_newton`) |
| `reduced` | K has a numerical rank of at most 400 | c of f = V c + f₀, f₀ ∈ ker K; dense (`reduction`) |
| `full` | everywhere | the coordinates of L²; LSQR, steps of minimal norm (`deflation`) |

If σ'(g*) has no zero, g* = K f* + b, the steady states form affine families f* + ker K.  The result is then the member
nearest to the start: `reduced` does not change the part of f₀ in ker K, nor do the steps of `full`, which are
orthogonal to ker K.  A kernel with a local part has, up to a few directions, no null space.

Only `full` can avoid known states, by deflation.  `reduced` treats singular values of K below 1e-8 of the largest as
zero, which makes it more robust.  It also finds states at which K f + b does not change in time although f does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fem_selection.dynamics.field import SelectionField
from fem_selection.dynamics.resolvent import has_local_part
from fem_selection.dynamics.rest import tolerance_of_rest
from fem_selection.errors import InvalidInput, NotConverged, TooManyCoordinates
from fem_selection.functions.activations import find_activation
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.coordinates import IsometricCoordinates
from fem_selection.linalg.norms import operator_norm
from fem_selection.settings import NewtonSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.steady.equilibria import local_newton, reduction
from fem_selection.steady.equilibria.deflation import MinimalNormEquation, is_known, push_away
from fem_selection.steady.equilibria.local_newton import LocalEquation
from fem_selection.steady.equilibria.newton import NewtonRun, solve_newton
from fem_selection.steady.equilibria.reduction import ReducedFamily
from fem_selection.typing import Block, Floats, describe_array, real_array

__all__ = ["STRATEGIES", "SteadyState", "Strategy", "find_steady_state"]

Strategy = Literal["sparse", "reduced", "full"]

STRATEGIES: tuple[Strategy, ...] = ("sparse", "reduced", "full")
"""All strategies in the order in which they are tried."""

_IDENTITY = find_activation("identity")


@dataclass(frozen=True)
class SteadyState:
    """A steady state, and how it was found.

    Attributes:
        state: Nodal values of f, shape (space.num_local,).
        residual: ‖σ(K f + b)‖.
        is_steady: Whether the state rests (see `dynamics.rest`); if not, K f + b is constant in time, and f moves
            within ker K.
        residuals: The norms at Newton's iterates: of F, of m F where known states are deflated, or of the residual of
            the reduced equation.
        strategy: The strategy that found the state; "none" if the start itself is steady.
        reason: Why Newton's method ended, as a phrase.
        distance: ‖f − f₀‖ from the start.
    """

    state: Floats
    residual: float
    is_steady: bool
    residuals: tuple[float, ...]
    strategy: str
    reason: str
    distance: float


def find_steady_state(
    field: SelectionField,
    start: Floats,
    settings: NewtonSettings | None = None,
    *,
    known: Sequence[Floats] = (),
    strategies: Sequence[Strategy] = ("sparse", "reduced"),
    restart: bool = True,
    coordinates: IsometricCoordinates | None = None,
) -> SteadyState:
    """Find the steady state that Newton's method reaches from a start (collective).

    Args:
        field: F; it must not depend on time.
        start: Nodal values of f₀, shape (num_local,); not changed.
        settings: When to stop; `NewtonSettings()` if None.  A residual at the level of round-off is also accepted.
        known: Nodal values of steady states to avoid.  If there are some, Newton's method first runs on the deflated
            residual, and the strategies start where this run ends.  The result may still be a known state.
        strategies: The strategies to try; their order is that of `STRATEGIES`.
        restart: Whether each strategy may start again from K f + b = 0.
        coordinates: The isometric coordinates of the space; created when needed if None.

    Returns:
        The first steady state found; of an affine family f* + ker K, the member nearest to the start.  If there is
        none: of the states at which K f + b is constant in time while f moves, the one with the smallest residual.

    Raises:
        InvalidInput: if F depends on time, if the start has another shape, if a strategy is unknown, or if the rank of
            a kernel without a local part is too large for `reduced`.
        NotConverged: with the reasons, if Newton's method reaches nothing.
    """
    if not field.is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states")
    if unknown := set(strategies) - set(STRATEGIES):
        raise InvalidInput(f"unknown strategies {sorted(unknown)}; known are {', '.join(STRATEGIES)}")
    size = (field.space.num_local,)
    shape, kind = describe_array(start)
    if not all(field.space.comm.allgather(kind is None and shape == size)):
        given = f"has shape {shape}" if kind is None else f"is {kind}"
        raise InvalidInput(f"the start {given}, expected is an array of shape {size} here, and the like on every rank")
    start = real_array(start, "the start")
    search = _Search(field, start, settings_or_default(settings, NewtonSettings), coordinates)
    if known:
        search.flee(known)
    found = search.run(strategies, restart)
    away = float(field.space.norm(_column(found.state - start))[0])
    return replace(found, residuals=search.before + found.residuals, distance=away)


class _Search:
    """The search from one start.

    Attributes:
        before: The norms at the iterates of the run on the deflated residual.
    """

    def __init__(
        self,
        field: SelectionField,
        start: Floats,
        settings: NewtonSettings,
        coordinates: IsometricCoordinates | None,
    ) -> None:
        self.field, self.start = field, start
        self.tolerance, self.max_iterations = settings.residual, settings.max_iterations
        self._coordinates = coordinates
        self._norm: float | None = None
        self.before: tuple[float, ...] = ()

    @property
    def coordinates(self) -> IsometricCoordinates:
        """The isometric coordinates of the space."""
        if self._coordinates is None:
            self._coordinates = IsometricCoordinates(self.field.space)
        return self._coordinates

    def flee(self, known: Sequence[Floats]) -> None:
        """Replace the start by the last iterate of Newton's method for the deflated residual."""
        c = self.coordinates
        if is_known(self.field, self.start, known, coordinates=c):
            self.start = push_away(self.start, c)
        self.start, run = self._solve_full(self.field, self.start, known)
        self.before = run.residuals

    def run(self, strategies: Sequence[Strategy], restart: bool) -> SteadyState:
        """The first steady state that a strategy finds; without one, the best state that moves within ker K."""
        first = self._residual(self.start)
        if first <= self.tolerance:
            return self._state(
                "none",
                self.start,
                NewtonRun(solution=self.start, residuals=(first,), converged=True, reason="the start is steady"),
            )
        best: SteadyState | None = None
        reasons: list[str] = []
        too_many: TooManyCoordinates | None = None
        for strategy in (s for s in STRATEGIES if s in strategies):
            try:
                for moved, run in self._runs(strategy, restart):
                    if not run.converged:
                        reasons.append(f"{strategy}: {run.reason}")
                        continue
                    found = self._state(strategy, moved, run)
                    if found.is_steady:
                        return found
                    if best is None or found.residual < best.residual:
                        best = found
            except TooManyCoordinates as error:
                too_many = error
        if best is not None:
            return best
        if too_many is not None and not reasons:
            raise too_many
        raise NotConverged(
            f"no steady state near the start: Newton's method does not converge from ‖F‖ = {first:.3g}"
            + "".join(f"; {reason}" for reason in dict.fromkeys(reasons))
        )

    def _runs(self, strategy: Strategy, restart: bool) -> Iterator[tuple[Floats, NewtonRun]]:
        """Yield the ends of Newton's runs from f₀ and from K f + b = 0 as nodal values, each with its run."""
        if strategy == "reduced":
            yield from self._reduced_runs(restart)
        elif strategy == "full" or has_local_part(self.field.kernel, self.field.interval):
            solve = self._solve_sparse if strategy == "sparse" else self._solve_full
            yield solve(self.field, self.start)
            if restart:
                linear = SelectionField(
                    self.field.space,
                    self.field.kernel,
                    self.field.bias,
                    activation=_IDENTITY,
                    interval=self.field.interval,
                    evaluation=self.field.evaluation,
                )
                begin, run = solve(linear, self.start)
                if run.converged:
                    yield solve(self.field, begin)

    def _solve_sparse(self, field: SelectionField, start: Floats) -> tuple[Floats, NewtonRun]:
        equation = LocalEquation(field, self.tolerance)
        run = solve_newton(
            equation, _column(start), max_iterations=self.max_iterations, line_search=local_newton.LINE_SEARCH
        )
        return run.solution[:, 0], run

    def _solve_full(
        self, field: SelectionField, start: Floats, known: Sequence[Floats] = ()
    ) -> tuple[Floats, NewtonRun]:
        c = self.coordinates
        equation = MinimalNormEquation(field, c, self.tolerance, known=known)
        run = solve_newton(equation, c.to_euclidean(_column(start)), max_iterations=self.max_iterations)
        return c.to_function(run.solution)[:, 0], run

    def _reduced_runs(self, restart: bool) -> Iterator[tuple[Floats, NewtonRun]]:
        family = ReducedFamily(self.field.space, lambda _: self.field, lower=0.0, upper=0.0)
        equation, before = family.at(0.0), family.coordinates(_column(self.start))
        for begin in (before, equation.without_preactivation())[: 1 + restart]:
            run = solve_newton(equation, begin, max_iterations=self.max_iterations, line_search=reduction.LINE_SEARCH)
            yield self.start + equation.lift(run.solution - before)[:, 0], run

    def _residual(self, f: Floats) -> float:
        return float(self.field.space.norm(self.field.rate(_column(f)))[0])

    def _tolerance_of_rest(self, f: Floats) -> float:
        if self._norm is None:
            self._norm = operator_norm(self.field.space, KernelOperator(self.field.kernel, self.field.interval))
        return float(tolerance_of_rest(self.field, _column(f), norm=self._norm)[0])

    def _state(self, strategy: str, f: Floats, run: NewtonRun) -> SteadyState:
        residual = self._residual(f)
        moves = strategy == "reduced" and residual > self.tolerance and residual > self._tolerance_of_rest(f)
        return SteadyState(
            state=f,
            residual=residual,
            is_steady=not moves,
            residuals=run.residuals,
            strategy=strategy,
            reason=run.reason,
            distance=0.0,
        )


def _column(f: Floats) -> Block:
    return np.asfortranarray(f[:, None])
