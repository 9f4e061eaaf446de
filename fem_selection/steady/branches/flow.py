# SPDX-License-Identifier: MIT
"""The flow of the reduced equation over a time, with its derivatives in the start and in the parameter.

    c' = G(c, μ),   Φ' = G_c Φ,  Φ(0) = 1,   s' = G_c s + G_μ,  s(0) = 0

SciPy's DOP853 integrates all of it with one step size.  Every run has a budget of evaluations of G, and so have all
runs of a computation together: unlike a time, it ends at the same place on every machine and rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from fem_selection.errors import NotConverged
from fem_selection.steady.branches.vector_field import ReducedVectorField
from fem_selection.steady.equilibria.reduction import ReducedFamily
from fem_selection.typing import Floats

__all__ = ["RTOL", "Budget", "Flow", "Transport"]

RTOL = 1e-10
"""Local error of the runs, relative to the size of the state; a hundredth of it is allowed in addition."""

_RUN = 60_000  # evaluations of G in one run
_ALL = 600_000  # evaluations of G in all runs that share a budget, in a few coordinates and on few nodes
_CHEAP, _CHEAP_PRODUCT = 1e5, 2e5  # multiplications that cost as much as an evaluation does without any
_DIFFERENCE = 1e-5  # of the range: step of the difference quotient in μ


@dataclass
class Budget:
    """The evaluations of G that several runs may make together.

    Attributes:
        left: Their number, in units of an evaluation in a few coordinates and on few nodes.
    """

    left: float = _ALL

    def spend(self, cost: float) -> None:
        """Count one evaluation that costs as much as so many of the cheapest ones.

        Raises:
            NotConverged: if none is left.
        """
        self.left -= cost
        if self.left < 0:
            raise NotConverged("the budget of evaluations for cycles is used up")


@dataclass(frozen=True, kw_only=True)
class Transport:
    """The end of a run with its derivatives.

    Attributes:
        end: c(T), shape (r,).
        by_start: Φ(T) = ∂c(T)/∂c(0), shape (r, r).
        by_parameter: s(T) = ∂c(T)/∂μ, shape (r,); zero if it was not asked for.
        by_time: G(c(T)), shape (r,).
    """

    end: Floats
    by_start: Floats
    by_parameter: Floats
    by_time: Floats


class Flow:
    """The flow at one value of the parameter (all methods are collective).

    Args:
        family: The reduced equation as a function of the parameter.
        parameter: μ.
        budget: The evaluations of G that are left; those of one computation if None.
    """

    def __init__(self, family: ReducedFamily, parameter: float, budget: Budget | None = None) -> None:
        self.budget = Budget() if budget is None else budget
        self._family, self.parameter, self._h = family, parameter, _DIFFERENCE * family.scale
        self.field = ReducedVectorField(family.at(parameter))
        self._beside: tuple[ReducedVectorField, ReducedVectorField] | None = None

    def transport(self, start: Floats, time: float, *, with_parameter: bool = False) -> Transport:
        """The state after a time, and its derivatives.

        Args:
            start: c(0), shape (r,).
            time: T.
            with_parameter: Whether the derivative in μ is computed too.

        Raises:
            NotConverged: if the run blows up or its budget ends.
        """
        r = start.size
        columns = r + 1 if with_parameter else r
        if with_parameter and self._beside is None:
            p, h = self.parameter, self._h
            self._beside = ReducedVectorField(self._family.at(p + h)), ReducedVectorField(self._family.at(p - h))

        def derivative(_: float, y: Floats) -> Floats:
            rate, jacobian = self.field.local_rate_and_jacobian(y[:r])
            moved = jacobian @ y[r:].reshape(r, columns)
            if with_parameter and self._beside is not None:
                up, down = self._beside
                moved[:, r] += (up.local_rate(y[:r]) - down.local_rate(y[:r])) / (2 * self._h)
            return np.concatenate([rate, moved.ravel()])

        y = np.concatenate([start, np.eye(r, columns).ravel()])
        last = self._run(derivative, y, time, cost=r**2 * columns / _CHEAP_PRODUCT).y[:, -1]
        block = last[r:].reshape(r, columns)
        return Transport(
            end=last[:r],
            by_start=block[:, :r],
            by_parameter=block[:, r] if with_parameter else np.zeros(r),
            by_time=self.field.rate(last[:r]),
        )

    def run(self, start: Floats, time: float, **options: Any) -> Any:
        """The result of `scipy.integrate.solve_ivp` for c' = G(c) over (0, time).

        Args:
            start: c(0), shape (r,).
            time: The last time.
            options: More arguments of `solve_ivp`, as `method`, `events`, `t_eval`, `rtol`.

        Raises:
            NotConverged: if the run blows up or its budget ends.
        """
        return self._run(lambda _, c: self.field.local_rate(c), start, time, **options)

    def _run(
        self,
        derivative: Callable[[float, Floats], Floats],
        start: Floats,
        time: float,
        *,
        cost: float = 0.0,
        **options: Any,
    ) -> Any:
        left = _RUN
        cost += 1.0 + self._family.space.num_nodes * self._family.dimension / _CHEAP

        def counted(t: float, y: Floats) -> Floats:
            nonlocal left
            left -= 1
            self.budget.spend(cost)
            if left < 0:
                raise NotConverged(f"the budget of {_RUN} evaluations ended at t = {t:.3g} of {time:.3g}")
            return derivative(t, y)

        rtol = options.pop("rtol", RTOL)
        size = max(float(np.linalg.norm(start[: self._family.dimension])), 1e-8)
        options = {"method": "DOP853", **options}
        failure, found = "", None
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                found = solve_ivp(counted, (0.0, time), start, rtol=rtol, atol=0.01 * rtol * size, **options)
        except NotConverged as error:
            failure = str(error)
        if found is not None:
            found.sol = None
            if found.status < 0 or not np.all(np.isfinite(found.y)):
                failure = f"the run ended at t = {found.t[-1]:.3g} of {time:.3g}: {found.message}"
        # every rank goes on from the run of the first one: the last bits of the others may differ
        failure, found, self.budget.left = self._family.space.comm.bcast((failure, found, self.budget.left))
        if failure or found is None:
            raise NotConverged(failure)
        return found
