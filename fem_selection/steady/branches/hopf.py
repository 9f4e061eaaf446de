# SPDX-License-Identifier: MIT
"""The normal form of a Hopf point: first Lyapunov coefficient, criticality, period, and the cycle that it predicts.

With A q = iω q, Aᵀ p = −iω p, ⟨q, q⟩ = ⟨p, q⟩ = 1, A the linearization, B and C the second and third derivatives,

    c₁ = ½ ⟨p, C(q, q, q̄) − 2 B(q, A⁻¹ B(q, q̄)) + B(q̄, (2iω − A)⁻¹ B(q, q))⟩,    l₁ = Re c₁ / ω.

Near the point, c ≈ c₀ + 2 Re (z q) with z' = λ(μ) z + c₁ |z|² z.  A cycle has |z|² = −Re λ / (ω l₁): it lies on the
side of μ₀ where Re λ and l₁ have opposite signs, attracts on the centre manifold if l₁ < 0 (supercritical) and repels
there if l₁ > 0 (subcritical).

References:
    Yu. A. Kuznetsov, Elements of Applied Bifurcation Theory, Springer 2004, doi:10.1007/978-1-4757-3978-7, (5.62).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.steady.branches.vector_field import Derivatives, ReducedVectorField
from fem_selection.steady.equilibria.newton import solve_newton
from fem_selection.steady.equilibria.reduction import LINE_SEARCH, ReducedFamily
from fem_selection.typing import Complexes, Floats

__all__ = ["HopfPoint", "analyze_hopf"]

_BESIDE = 1e-3  # of the range: steps of the difference quotients in μ
_EPSILON = float(np.finfo(float).eps)
_ROUGH = 1e-3  # disagreement of derivatives and difference quotients, relative to ω, that counts as a kink
_ROUND_OFF = 16.0  # round-off of a form or a linear system, in units of ε times its condition


@dataclass(frozen=True, kw_only=True)
class HopfPoint:
    """A Hopf point and its normal form.

    Attributes:
        parameter: μ₀.
        coordinates: c₀, shape (r,).
        eigenvector: q, complex, shape (r,).
        frequency: ω.
        coefficient: c₁, complex.
        lyapunov_error: Error bar of l₁: round-off with the conditions of p, A and 2iω − A; the disagreement of the
            derivatives of σ with difference quotients; the change of l₁ over the uncertainty of μ₀.
        speed: dλ/dμ at μ₀, complex.
        speed_error: Error bar of `speed`.
        criticality: "supercritical", "subcritical", or "" if it cannot be decided.
        criticality_declined: Why it cannot be decided, or None.
    """

    parameter: float
    coordinates: Floats
    eigenvector: Complexes
    frequency: float
    coefficient: complex
    lyapunov_error: float
    speed: complex
    speed_error: float
    criticality: str
    criticality_declined: str | None

    @property
    def lyapunov(self) -> float:
        """The first Lyapunov coefficient l₁."""
        return self.coefficient.real / self.frequency

    @property
    def period(self) -> float:
        """The limit 2π/ω of the period of the cycles at the point."""
        return 2 * np.pi / self.frequency

    @property
    def side(self) -> int:
        """The side of μ₀, 1 or −1, on which the cycles lie; 0 if it cannot be decided."""
        if not self.criticality or abs(self.speed.real) <= self.speed_error:
            return 0
        return -int(np.sign(self.speed.real * self.lyapunov))

    @property
    def amplitude_constant(self) -> float:
        """The limit of amplitude / |μ − μ₀|^{1/2}, with amplitude² = 2 ⟨‖c − c̄‖²⟩; infinite if l₁ = 0."""
        scale = self.frequency * abs(self.lyapunov)
        return float(2 * np.sqrt(abs(self.speed.real) / scale)) if scale else np.inf

    def period_at(self, parameter: float) -> float:
        """The period of the cycle to first order in μ − μ₀."""
        away = parameter - self.parameter
        square = -self.speed.real * away / self.coefficient.real if self.coefficient.real else 0.0
        turned = self.frequency + self.speed.imag * away + self.coefficient.imag * square
        return 2 * np.pi / turned if turned > 0.1 * self.frequency else self.period

    def as_dict(self) -> dict[str, object]:
        """The numbers of the normal form by name, for reports."""
        return {
            "period": self.period,
            "lyapunov_coefficient": self.lyapunov,
            "lyapunov_coefficient_error": self.lyapunov_error,
            "crossing_speed": self.speed.real,
            "crossing_speed_error": self.speed_error,
            "amplitude_constant": self.amplitude_constant,
            "criticality_declined": self.criticality_declined,
        }


def analyze_hopf(
    family: ReducedFamily, coordinates: Floats, parameter: float, *, uncertainty: float = 0.0
) -> HopfPoint:
    """The normal form at a Hopf point (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        coordinates: The steady state c₀ at the point, shape (r,).
        parameter: μ₀.
        uncertainty: How far μ₀ may be off.

    Raises:
        InvalidInput: if the linearization has no complex pair.
        NotConverged: if there is no steady state on both sides of the point.
    """
    here = _NormalForm(family, coordinates, parameter)
    speed, speed_error, drift = _along_the_branch(family, here)
    lyapunov = here.coefficient.real / here.frequency
    uncertain = uncertainty + (abs(here.real_part / speed.real) if speed.real else 0.0)
    defect, is_rough = here.defect()
    error = here.round_off() + defect + drift * uncertain
    declined = None
    if not abs(lyapunov) > error:
        cause = (
            "the derivatives of σ disagree with its difference quotients: σ is not smooth at the state"
            if is_rough
            else "within it the point is degenerate to third order, as it is for every linear equation"
        )
        declined = f"|l₁| = {abs(lyapunov):.1e} is not above its error bar {error:.1e}; {cause}"
    criticality = "" if declined else "supercritical" if lyapunov < 0 else "subcritical"
    return HopfPoint(
        parameter=parameter,
        coordinates=coordinates,
        eigenvector=here.vector,
        frequency=here.frequency,
        coefficient=here.coefficient,
        lyapunov_error=error,
        speed=speed,
        speed_error=speed_error,
        criticality=criticality,
        criticality_declined=declined,
    )


class _NormalForm:
    """The eigenvalue nearest to a given one, or to the imaginary axis, and c₁, at one steady state."""

    def __init__(
        self, family: ReducedFamily, coordinates: Floats, parameter: float, near: complex | None = None
    ) -> None:
        self.coordinates, self.parameter = coordinates, parameter
        field = ReducedVectorField(family.at(parameter))
        own = field.equation.own
        self.matrix = own.T @ field.rate_and_jacobian(coordinates)[1] @ own
        values, left, right = scipy.linalg.eig(self.matrix, left=True, right=True)
        pairs = np.flatnonzero(values.imag > 0)
        if not pairs.size:
            raise InvalidInput(f"at parameter {parameter:.9g} the linearization has no complex eigenvalues")
        away = np.abs(values[pairs].real) if near is None else np.abs(values[pairs] - near)
        k = int(pairs[np.argmin(away)])
        self.eigenvalue = complex(values[k])
        self.real_part, self.frequency = self.eigenvalue.real, self.eigenvalue.imag
        q = right[:, k] / np.linalg.norm(right[:, k])
        self.covector = left[:, k] / np.vdot(left[:, k], q).conjugate()
        self.vector, self._own = own @ q, own
        self.forms: Derivatives = field.at(coordinates)
        self._moved_size = self._largest(field, self.vector)
        rows = np.linalg.norm(field.moved, axis=1)
        self._moved_norm = max(field.space.comm.allgather(float(np.max(rows, initial=0.0))))
        self._evaluate(q)

    def _evaluate(self, q: Complexes) -> None:
        own, forms, conj = self._own, self.forms, self.vector.conj()
        shifted = np.asarray(2j * self.frequency * np.eye(len(q)) - self.matrix, complex)
        self.conditions = float(np.linalg.cond(self.matrix)), float(np.linalg.cond(shifted))
        with np.errstate(invalid="ignore", over="ignore"):
            mean = own @ _solve(self.matrix, own.T @ forms.quadratic(self.vector, conj))
            double = own @ _solve(shifted, own.T @ forms.quadratic(self.vector, self.vector))
            self.terms = (
                own.T @ forms.cubic(self.vector, self.vector, conj),
                -2 * (own.T @ forms.quadratic(self.vector, mean)),
                own.T @ forms.quadratic(conj, double),
            )
        self.coefficient = complex(np.vdot(self.covector, sum(self.terms))) / 2
        self._harmonics = mean, double
        self._inverse_norms = tuple(1 / max(np.linalg.norm(m, -2), 1e-300) for m in (self.matrix, shifted))

    def round_off(self) -> float:
        """Error of l₁ by round-off."""
        sizes = [float(np.linalg.norm(term)) for term in self.terms]
        weighted = sum(s * c for s, c in zip(sizes, (1.0, *self.conditions), strict=True) if s > 0)
        # p is an eigenvector: its error is ε times the condition of the eigenvalue over the gap
        others = np.abs(np.linalg.eigvals(self.matrix) - self.eigenvalue)
        gap = float(np.partition(others, 1)[1]) / max(float(np.linalg.norm(self.matrix)), 1e-300)
        condition = float(np.linalg.norm(self.covector))
        return (
            _ROUND_OFF * _EPSILON * condition * (weighted + sum(sizes) * condition / max(gap, 1e-300)) / self.frequency
        )

    def defect(self) -> tuple[float, bool]:
        """Error of l₁ if the difference quotients are right and not the derivatives of σ, and whether they disagree."""
        parts = self.vector.real, self.vector.imag
        quadratic, cubic = self.forms.taylor_defect([*parts, parts[0] + parts[1], parts[0] - parts[1]])
        s, field = self._moved_size, self.forms.field
        second, third = quadratic * s**2, cubic * s**3
        wrong = [size * second * self._moved_norm for size in self._inverse_norms]  # K V times the errors of harmonics
        mean, double = (self._largest(field, u) + w for u, w in zip(self._harmonics, wrong, strict=True))
        curvature = float(np.linalg.norm(self.forms.quadratic(self.vector, self.vector.conj()))) / s if s else 0.0
        error = third + second / max(s, 1e-300) * (2 * mean + double) + curvature * (2 * wrong[0] + wrong[1])
        is_rough = max(second, third) > _ROUGH * self.frequency
        return float(np.linalg.norm(self.covector)) * error / (2 * self.frequency), is_rough

    @staticmethod
    def _largest(field: ReducedVectorField, u: Complexes) -> float:
        largest = float(np.max(np.abs(field.moved @ u), initial=0.0))
        return max(field.space.comm.allgather(largest))


def _along_the_branch(family: ReducedFamily, here: _NormalForm) -> tuple[complex, float, float]:
    """dλ/dμ, its error, and |dl₁/dμ|, by difference quotients along the branch of steady states."""
    h, found = _BESIDE * family.scale, []
    for step in (-2, -1, 1, 2):
        parameter = here.parameter + step * h
        run = solve_newton(family.at(parameter), here.coordinates, line_search=LINE_SEARCH)
        if not run.converged:
            raise NotConverged(f"no steady state beside the Hopf point, at {parameter:.9g}: {run.reason}")
        found.append(_NormalForm(family, run.solution, parameter, near=here.eigenvalue))
    far = (found[3].eigenvalue - found[0].eigenvalue) / (4 * h)
    near = (found[2].eigenvalue - found[1].eigenvalue) / (2 * h)
    speed = (4 * near - far) / 3
    round_off = _ROUND_OFF * _EPSILON * float(np.linalg.norm(here.covector)) * abs(here.eigenvalue) / h
    lyapunov = [other.coefficient.real / other.frequency for other in found[1:3]]
    return speed, abs(speed - near) + round_off, abs(lyapunov[1] - lyapunov[0]) / (2 * h)


def _solve(matrix: Floats | Complexes, right: Complexes) -> Complexes:
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.full(right.shape, np.nan + 0j)
