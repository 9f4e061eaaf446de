# SPDX-License-Identifier: MIT
"""Whether a control is a local minimiser: the curvature of J there, and whether it is stationary, each looked at twice.

    λ = min ⟨J'' v, v⟩ / ⟨v, v⟩  over the directions that no bound holds            SLEPc, with an error bar
    s = −(J'')⁻¹ ∇J,    ρ = ‖∇J(x + s)‖ / ‖∇J(x)‖                                  one step of Newton's method

The Lipschitz constant of J'' near x is about 2 ‖∇J(x + s)‖ / ‖s‖²; hence λ stays positive on the way to x + s if
2 ‖∇J(x + s)‖ < λ ‖s‖.  If also ρ ≤ 1/2, Newton's method contracts to a stationary point at the distance of about ‖s‖,
and that point is a local minimiser; x is called so, too, if ‖s‖ ≤ ‖x‖/1000.  A negative λ is confirmed by a lower J
along its eigenvector, and a gradient that does not vanish by a lower J along it.  Where a preactivation stands at a
kink of σ, J has no second derivative, and nothing is said.

References:
    J. Nocedal, S. J. Wright, Numerical Optimization, Springer 2006, theorems 2.4, 11.2 and 12.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from petsc4py import PETSc

from fem_selection.errors import NonFinite, NotConverged
from fem_selection.learning.bounds import ActiveBounds, projected_gradient
from fem_selection.learning.curvature import hessian_eigenpairs, largest_modulus
from fem_selection.learning.hessian import ScaledHessian
from fem_selection.learning.kinks import count_at_kinks
from fem_selection.learning.roundoff import RoundOff
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.petsc import create_shell, released
from fem_selection.typing import Floats

__all__ = [
    "LOCAL_MINIMIZER",
    "NOT_DECIDED",
    "NO_LOCAL_MINIMIZER",
    "LocalMinimum",
    "LocalVerdict",
    "assess_local_minimum",
]

LocalVerdict = Literal["a local minimiser", "not a local minimiser", "not decided"]
LOCAL_MINIMIZER: LocalVerdict = "a local minimiser"
NO_LOCAL_MINIMIZER: LocalVerdict = "not a local minimiser"
NOT_DECIDED: LocalVerdict = "not decided"

_CONTRACTION = 0.5
_NEAR = 1e-3  # ‖s‖ over ‖x̂‖, beyond which x̂ is not the stationary point that it is near to
_NEWTON_ACTIONS = 500
_STEPS = tuple(2.0**-k for k in range(26, -1, -2))  # of a direction, relative to 1 + ‖x̂‖: the shortest first
_ROUND_OFF = 64.0 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class LocalMinimum:
    """The verdict, and what it rests on.

    Attributes:
        verdict: `LOCAL_MINIMIZER`, `NO_LOCAL_MINIMIZER` or `NOT_DECIDED`.
        reason: Why, as a sentence.
        eigenvalue: λ, the lowest eigenvalue of the (reduced) Hessian; None if it was not found or does not exist.
        error: Its error: the residual of the eigenpair and the round-off of J''.
        actions: Products with the Hessian.
        distance: ‖s‖, the distance to the stationary point nearby; None if no Newton step was made.
        contraction: ρ; None if no Newton step was made.
        fall: J(x) − J at a point nearby that is lower; None if none was needed or found.
        at_kinks: Number of preactivations at a kink of σ.
    """

    verdict: LocalVerdict
    reason: str
    eigenvalue: float | None = None
    error: float | None = None
    actions: int | None = None
    distance: float | None = None
    contraction: float | None = None
    fall: float | None = None
    at_kinks: int = 0


def assess_local_minimum(
    functional: ScaledFunctional,
    scaled: Floats,
    *,
    value: float,
    scaled_gradient: Floats,
    round_off: RoundOff,
    tolerance: float,
    scaled_bounds: tuple[Floats, Floats] | None = None,
    active: ActiveBounds | None = None,
) -> LocalMinimum:
    """Ask whether x̂ is a local minimiser, or is as near to one as its gradient says (collective).

    Args:
        functional: Ĵ; its controls are overwritten.
        scaled: Shard of x̂.
        value: Ĵ(x̂).
        scaled_gradient: Shard of ∇Ĵ(x̂).
        round_off: The round-off of Ĵ and ∇Ĵ.
        tolerance: Residual, relative to the eigenvalue, with which SLEPc's eigenvalue is accepted.
        scaled_bounds: Shards of lower and upper bounds, or None.
        active: The active bounds, if there are bounds.
    """
    at_kinks, all_of_them = count_at_kinks(functional.functional, functional.to_controls(scaled))
    if at_kinks:
        reason = (
            f"{at_kinks} of {all_of_them} preactivations stand at a kink or jump of σ, where J has no second derivative"
        )
        return LocalMinimum(verdict=NOT_DECIDED, reason=reason, at_kinks=at_kinks)
    free = None if active is None or active.num_free == functional.control_space.global_size else active.free
    look = _Look(functional, scaled, value, projected_gradient(scaled, scaled_gradient, scaled_bounds), scaled_bounds)
    if active is not None and active.num_free == 0:
        reason = "every entry stands on a bound, with a multiplier that is positive beyond the gradient's accuracy"
        return LocalMinimum(verdict=LOCAL_MINIMIZER, reason=reason)
    hessian = ScaledHessian(functional)
    hessian.linearize(scaled)
    try:
        pairs = hessian_eigenpairs(hessian, 1, "smallest", tolerance=tolerance, free=free)
    except NotConverged as failure:
        return LocalMinimum(verdict=NOT_DECIDED, reason=f"SLEPc did not converge: {failure}")
    lowest = pairs.values[0]
    largest = largest_modulus(hessian, free)
    error = pairs.residuals[0] * abs(lowest) + _ROUND_OFF * largest
    known: dict[str, Any] = {"eigenvalue": lowest, "error": error, "actions": hessian.hessian.actions}
    if abs(lowest) <= error:
        reason = f"the lowest eigenvalue, {lowest:.3g}, is zero within its error of {error:.1g}"
        return LocalMinimum(verdict=NOT_DECIDED, reason=reason, **known)
    if lowest < 0:
        along = functional.to_scaled(pairs.vectors[0])
        if functional.control_space.inner(look.gradient, along) > 0:
            along = -along
        return _refuted_along(look, along, f"the lowest eigenvalue, {lowest:.3g} ± {error:.1g}, is negative", known)
    return _stationary_nearby(look, hessian, free, (lowest, largest), round_off, known)


@dataclass(frozen=True)
class _Look:
    """A point x̂, from which other points are looked at; `gradient` is the projected one."""

    functional: ScaledFunctional
    scaled: Floats
    value: float
    gradient: Floats
    scaled_bounds: tuple[Floats, Floats] | None

    def at(self, step: Floats) -> tuple[float, Floats]:
        """Ĵ and the projected gradient at x̂ + s, clipped to the bounds; infinite where there are no states."""
        trial = self.scaled + step
        if self.scaled_bounds is not None:
            trial = np.clip(trial, *self.scaled_bounds)
        try:
            value, gradient = self.functional.evaluate(trial)
        except NonFinite:
            return np.inf, np.full_like(trial, np.inf)
        return value, projected_gradient(trial, gradient, self.scaled_bounds)

    def fall_along(self, direction: Floats, above: float) -> float | None:
        """The first fall of Ĵ beyond `above` along ± a direction, the shortest steps first; None if there is none."""
        size = (1.0 + self.functional.norm(self.scaled)) / max(self.functional.norm(direction), 1e-300)
        for length in _STEPS:
            for sign in (1.0, -1.0):
                fall = self.value - self.at(sign * length * size * direction)[0]
                if fall > above:
                    return fall
        return None


def _refuted_along(look: _Look, along: Floats, what: str, known: dict[str, Any]) -> LocalMinimum:
    fall = look.fall_along(along, _ROUND_OFF * abs(look.value))
    if fall is None:
        reason = f"{what}, but no step along its eigenvector lowers J beyond round-off"
        return LocalMinimum(verdict=NOT_DECIDED, reason=reason, **known)
    reason = f"{what}: a step along its eigenvector lowers J by {fall:.3g}"
    return LocalMinimum(verdict=NO_LOCAL_MINIMIZER, reason=reason, fall=fall, **known)


def _stationary_nearby(
    look: _Look,
    hessian: ScaledHessian,
    free: Floats | None,
    ends: tuple[float, float],
    round_off: RoundOff,
    known: dict[str, Any],
) -> LocalMinimum:
    """The verdict where λ > 0: a Newton step decides whether a stationary point is near."""
    functional, (lowest, largest) = look.functional, ends
    norm, error = functional.norm(look.gradient), known["error"]
    positive = f"the lowest eigenvalue, {lowest:.3g} ± {error:.1g}, is positive"
    step = _newton_step(hessian, look.gradient, free, min(1e-2, 0.1 * lowest / largest))
    value, gradient = look.at(step)
    distance, after = functional.norm(step), functional.norm(gradient)
    contraction = after / norm if norm > 0 else 0.0
    known = {**known, "distance": distance, "contraction": contraction, "actions": hessian.hessian.actions}
    is_exact, size = norm <= round_off.gradient, functional.norm(look.scaled)
    stays_positive = 2.0 * after <= max(lowest * distance, 2.0 * round_off.gradient)
    contracts = after <= max(_CONTRACTION * norm, round_off.gradient)
    if is_exact or (contracts and stays_positive):
        within = "within round-off" if is_exact else f"up to a distance of {distance:.1g}"
        reason = f"{positive}, and the gradient vanishes {within}"
        fall = None if distance <= _NEAR * size or is_exact else _positive(look.value - value, round_off.objective)
        if fall is None:
            return LocalMinimum(verdict=LOCAL_MINIMIZER, reason=reason, **known)
        share = f", {distance / size:.1%} of the norm of the control" if size > 0 else ""
        where = f"the stationary point lies at a distance of {distance:.2g}{share}"
        reason = f"{positive}, but {where}, and J is {fall:.2g} lower there: train further"
        return LocalMinimum(verdict=NO_LOCAL_MINIMIZER, reason=reason, fall=fall, **known)
    fall = look.fall_along(look.gradient, round_off.objective)
    if fall is None:
        reason = f"{positive}, but a Newton step does not lead to a stationary point: the gradient is {norm:.3g}"
        return LocalMinimum(verdict=NOT_DECIDED, reason=reason, **known)
    reason = f"the gradient norm is {norm:.3g}, no stationary point is near, and a step along it lowers J"
    return LocalMinimum(verdict=NO_LOCAL_MINIMIZER, reason=reason, fall=fall, **known)


def _positive(fall: float, above: float) -> float | None:
    return fall if fall > above else None


def _newton_step(hessian: ScaledHessian, gradient: Floats, free: Floats | None, tolerance: float) -> Floats:
    """The solution s of P J'' P s = −P g by conjugate gradients.

    A residual of `tolerance` ‖g‖ = λ_min/(10 λ_max) ‖g‖ is at most λ_min ‖s‖/10, and does not spoil the tests of s.
    """
    mask = np.ones_like(gradient) if free is None else free

    def apply(x: Floats, y: Floats) -> None:
        y[:] = mask * hessian.apply(mask * x) + (1.0 - mask) * x

    comm, num_local = hessian.control_space.ensemble.world, len(gradient)
    matrix, solver = create_shell(comm, num_local, apply, is_symmetric=True), PETSc.KSP().create(comm)
    right, solution = matrix.createVecs()
    with released(matrix, solver, right, solution):
        solver.setOperators(matrix)
        solver.setType(PETSc.KSP.Type.CG)
        solver.getPC().setType(PETSc.PC.Type.NONE)
        solver.setTolerances(rtol=tolerance, max_it=_NEWTON_ACTIONS)
        right.array[:] = -mask * gradient
        solver.solve(right, solution)
        return solution.array_r.copy()
