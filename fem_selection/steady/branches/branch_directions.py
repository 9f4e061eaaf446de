# SPDX-License-Identifier: MIT
"""The directions of all branches at a point where the kernel of G_c has several dimensions.

G_c is taken in the coordinates y in which g = K V c + b + Σ y_i u_i with orthonormal functions u_i: there a small
singular value is one of σ'(g), not of K.  With bases N and L of ker G_c and of ker G_cᵀ, c = c₀ + N a + w(a, λ) and
λ = μ − μ₀, Lyapunov and Schmidt's reduction leaves m equations in (a, λ) ∈ R^{m+1},

    h(a, λ) = λ h₁ + λ H a + ½ Q(a, a) + ½ λ² h₂ + ⅙ C(a, a, a) + … = 0,

    H_ji = L_jᵀ (G_cμ N_i + B(N_i, w_μ)),   Q_j = L_jᵀ B,   C_j = L_jᵀ (C + 3 B(·, w₂)),   G_c w_μ = −G_μ, G_c w₂ = −B.

Its leading terms are the algebraic bifurcation equation:

| terms | equation | branches |
|---|---|---|
| h₁ = 0, Q ≠ 0 | λ H a + ½ Q(a, a) + ½ λ² h₂ = 0 | lines: λ ~ s, a ~ s |
| h₁ = 0, Q = 0 | ± w² H a + ⅙ C(a, a, a) = 0, λ = ± w² | parabolas: λ ~ s², a ~ s |
| h₁ ≠ 0, Q ≠ 0 | λ h₁ + ½ Q(a, a) = 0 | parabolas that turn at μ₀ |

Each is homogeneous.  `homogeneous.solve_homogeneous` finds all its roots, 2^m or 3^m with the complex ones, so that the
number of real ones is certain if all are regular.  If they are not, as on a circle of branches that a symmetry makes,
the count is withheld, and the number of dimensions and the symmetry are reported.

References:
    H. B. Keller, in: Applications of Bifurcation Theory, Academic Press 1977, 359.
    M. Golubitsky, I. Stewart, D. G. Schaeffer, Singularities and Groups in Bifurcation Theory II, Springer 1988,
    doi:10.1007/978-1-4612-4574-2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.steady.branches.homogeneous import Roots, solve_homogeneous
from fem_selection.steady.branches.vector_field import Derivatives, ReducedVectorField
from fem_selection.steady.equilibria.reduction import ReducedFamily
from fem_selection.typing import Complexes, Floats

__all__ = ["BranchDirection", "MultiplePoint", "find_branch_directions"]

MAX_DIMENSION = 4
"""Largest dimension of the kernel for which directions are sought."""

_STEP = 2e-3  # of the range: steps of the difference quotients in μ
_SINGULAR = 1e-7  # singular values of G_c that count as zero, relative to those of G_cμ over the range
_GAP = 100.0  # the least ratio of the first singular value that counts to the tolerance
_VANISHES = 1e-6  # a term that counts as absent, relative to the others
_REAL = 1e-6  # imaginary part of a real root
_ODD = 1e-9  # |G(c₀ + d) + G(c₀ − d)|, relative to |G|, of an odd equation
_INVARIANT = 1e-6  # smallest singular value of the equations of an infinitesimal symmetry, relative to the largest
_STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
_SECOND = ((-2, -1 / 12), (-1, 4 / 3), (0, -5 / 2), (1, 4 / 3), (2, -1 / 12))


@dataclass(frozen=True, kw_only=True)
class BranchDirection:
    """The curve c = c₀ + s v + …, μ = μ₀ + s p + s² q + … of a branch, for s of both signs.

    Attributes:
        state: v, shape (r,); zero for a branch along which c does not change to first order.  ‖v‖² + p² = 1.
        slope: p.
        bend: q; 0 if p ≠ 0.
    """

    state: Floats
    slope: float
    bend: float

    def at(self, coordinates: Floats, parameter: float, distance: float) -> Floats:
        """(c, μ) at a signed distance s from the point, shape (r + 1,).

        Args:
            coordinates: c₀.
            parameter: μ₀.
            distance: s.
        """
        return np.append(
            coordinates + distance * self.state, parameter + distance * self.slope + distance**2 * self.bend
        )

    def tangent(self, distance: float) -> Floats:
        """The unit tangent, towards larger s, at a signed distance s from the point, shape (r + 1,)."""
        tangent = np.append(self.state, self.slope + 2 * distance * self.bend)
        return np.asarray(tangent / np.linalg.norm(tangent))


@dataclass(frozen=True, kw_only=True)
class MultiplePoint:
    """The branches at a point with a kernel of several dimensions.

    Attributes:
        dimension: m, the number of singular values of G_c that count as zero.
        kernel: N in the coordinates c, with orthonormal functions K V N, shape (r, m).
        largest_zero: The largest of these singular values.
        smallest_other: The smallest of the others; infinite if there are none.
        tolerance: The size that counts as zero.
        directions: The real directions that were found.
        roots: Number of complex roots of the algebraic bifurcation equation by Bézout's theorem; 0 if not solved.
        is_odd: Whether G(c₀ + d, μ) = −G(c₀ − d, μ), so that branches come in pairs.
        continuous_symmetry: Dimension of the group of symmetries of the algebraic bifurcation equation that are
            connected with the identity; branches off its fixed points come in families.
        declined: Why the list of directions is not complete, or None.
        entering: The number of directions on which K is larger than the tolerance of the rank for almost all values of
            μ, but not at μ₀: a state that moves along them stays steady.
    """

    dimension: int
    kernel: Floats
    largest_zero: float
    smallest_other: float
    tolerance: float
    directions: tuple[BranchDirection, ...]
    roots: int
    is_odd: bool
    continuous_symmetry: int
    declined: str | None
    entering: int = 0

    def as_dict(self) -> dict[str, object]:
        """The findings by name, for reports; directions by their slopes and bends in μ."""
        return {
            "dimension": self.dimension,
            "largest_zero": self.largest_zero,
            "smallest_other": self.smallest_other if np.isfinite(self.smallest_other) else None,
            "tolerance": self.tolerance,
            "directions": [{"slope": d.slope, "bend": d.bend} for d in self.directions],
            "roots": self.roots,
            "is_odd": self.is_odd,
            "continuous_symmetry": self.continuous_symmetry,
            "directions_declined": self.declined,
            "directions_that_enter_the_kernel": self.entering,
        }

    @property
    def sentence(self) -> str:
        """The findings in one sentence."""
        symmetry = ["odd about the state"] if self.is_odd else []
        if self.continuous_symmetry:
            symmetry.append(f"with a continuous symmetry of dimension {self.continuous_symmetry}")
        if self.entering:
            said = f"{self.entering} directions enter ker K there, along which steady states stay steady"
            if not self.dimension:
                return f"{said}{'; the equation is ' if symmetry else ''}{' and '.join(symmetry)}"
            symmetry.append(f"one in which {said}")
        has_more = np.isfinite(self.smallest_other)
        following = f"the next is {self.smallest_other:.1e}" if has_more else "there are no others"
        said = (
            f"kernel of dimension {self.dimension} (singular values up to {self.largest_zero:.1e} count as zero, "
            f"tolerance {self.tolerance:.1e}, {following})"
            f"{', the equation is ' if symmetry else ''}{' and '.join(symmetry)}"
        )
        if self.declined is None:
            branches = f"{len(self.directions)} branches pass through it"
            return f"{said}; {branches} (all {self.roots} complex roots of the leading terms are regular)"
        found = f"{len(self.directions)} directions of branches are known; " if self.directions else ""
        return f"{said}; {found}how many branches pass through it is not decided: {self.declined}"


def find_branch_directions(
    family: ReducedFamily, coordinates: Floats, parameter: float, *, uncertainty: float = 0.0
) -> MultiplePoint:
    """The directions of all branches of steady states at a point (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        coordinates: The steady state c₀, shape (r,).
        parameter: μ₀.
        uncertainty: How far μ₀ may be off.
    """
    reduction = _Reduction(family, coordinates, parameter, uncertainty)
    directions: list[BranchDirection] = []
    roots, symmetry = 0, 0
    declined = reduction.declined
    if declined is None:
        directions, roots, symmetry, declined = reduction.solve()
    return MultiplePoint(
        dimension=reduction.dimension,
        kernel=reduction.kernel,
        largest_zero=reduction.largest_zero,
        smallest_other=reduction.smallest_other,
        tolerance=reduction.tolerance,
        directions=tuple(directions),
        roots=roots,
        is_odd=_is_odd(family, coordinates, parameter),
        continuous_symmetry=symmetry,
        declined=declined,
        entering=reduction.entering,
    )


class _Reduction:
    """The coefficients of h, and the roots of its leading terms."""

    def __init__(self, family: ReducedFamily, coordinates: Floats, parameter: float, uncertainty: float) -> None:
        self.c, h = coordinates, _STEP * family.scale
        equation = family.at(parameter)
        self._tests = equation.significant
        elsewhere = max(family.at(value).significant.shape[1] for value in (family.lower, family.upper))
        self.entering = max(0, elsewhere - self._tests.shape[1])
        self._scaled = self._tests / np.linalg.norm(equation.pattern(self._tests), axis=0)
        at = {k: self._evaluate(family, parameter + k * h) for k in range(-2, 3)}
        rate_slope = np.asarray(sum(w * at[k][0] for k, w in _STENCIL) / h)
        rate_bend = np.asarray(sum(w * at[k][0] for k, w in _SECOND) / h**2)
        matrix_slope = np.asarray(sum(w * at[k][1] for k, w in _STENCIL) / h)
        left, values, right = np.linalg.svd(at[0][1])
        moved = float(np.linalg.norm(matrix_slope, 2)) if matrix_slope.size else 0.0
        largest = float(np.max(values, initial=0.0))
        self.tolerance = _SINGULAR * max(moved * family.scale, largest) + 10 * moved * uncertainty
        zero = values <= self.tolerance
        m = self.dimension = int(np.sum(zero))
        self.largest_zero = float(np.max(values[zero], initial=0.0))
        self.smallest_other = float(np.min(values[~zero], initial=np.inf))
        self.kernel, self._left = self._scaled @ right[zero].T, left[:, zero]
        self.declined = self._why_not(m)
        if self.declined is not None:
            return
        inverse = (right[~zero].T / values[~zero]) @ left[:, ~zero].T
        self._reduce(ReducedVectorField(equation).at(coordinates), right[zero].T, inverse, (matrix_slope, rate_slope))
        self.bend = self._bend(rate_bend)

    def _evaluate(self, family: ReducedFamily, parameter: float) -> tuple[Floats, Floats]:
        """G, and its derivative in y, tested with W."""
        rate, matrix = ReducedVectorField(family.at(parameter)).rate_and_jacobian(self.c)
        return self._tests.T @ rate, self._tests.T @ matrix @ self._scaled

    def _why_not(self, m: int) -> str | None:
        if self.entering:
            return "directions enter ker K"
        if m == 0:
            return "no singular value of the linearization counts as zero"
        if self.smallest_other < _GAP * self.tolerance:
            return "the singular values that count as zero are not separated from the others"
        if m > MAX_DIMENSION:
            return f"directions are sought in kernels of dimension up to {MAX_DIMENSION}"
        return None

    def _reduce(self, forms: Derivatives, kernel: Floats, inverse: Floats, slopes: tuple[Floats, Floats]) -> None:
        """Set the coefficients but for h₂; `kernel` in the coordinates y, `slopes` of matrix and rate in μ."""
        left, m, (matrix_slope, rate_slope) = self._left, self.dimension, slopes

        def quadratic(u: Floats, v: Floats) -> Floats:
            return np.asarray(self._tests.T @ forms.quadratic(self._scaled @ u, self._scaled @ v).real)

        moved = -inverse @ rate_slope
        self.first = left.T @ rate_slope
        self.linear = np.column_stack([left.T @ (matrix_slope @ n + quadratic(n, moved)) for n in kernel.T])
        self._bend_of_moved = left.T @ (2 * matrix_slope @ moved + quadratic(moved, moved))
        self.quadratic, self.cubic = np.zeros((m, m, m)), np.zeros((m, m, m, m))
        second = np.empty((m, m, len(kernel)))
        for i in range(m):
            for j in range(m):
                both = quadratic(kernel[:, i], kernel[:, j])
                self.quadratic[:, i, j], second[i, j] = left.T @ both, -inverse @ both
        for i in range(m):
            for j in range(m):
                for k in range(m):
                    direct = self._tests.T @ forms.cubic(*(self.kernel[:, p] for p in (i, j, k))).real
                    for a, b, c in ((i, j, k), (j, i, k), (k, i, j)):
                        direct = direct + quadratic(kernel[:, a], second[b, c])
                    self.cubic[:, i, j, k] = left.T @ direct

    def _bend(self, rate_bend: Floats) -> Floats:
        """h₂."""
        return np.asarray(self._left.T @ rate_bend + self._bend_of_moved)

    def _direction(self, a: Floats, slope: float, bend: float) -> BranchDirection:
        """The branch c = c₀ + s N a, μ = μ₀ + s slope + s² bend, with a unit vector in (c, μ) to first order."""
        state = self.kernel @ a
        size = float(np.hypot(np.linalg.norm(state), slope))
        return BranchDirection(state=state / size, slope=slope / size, bend=bend / size**2)

    def solve(self) -> tuple[list[BranchDirection], int, int, str | None]:
        """The real directions, the number of complex roots, the continuous symmetry, and why the list is incomplete."""
        q, c = float(np.linalg.norm(self.quadratic)), float(np.linalg.norm(self.cubic))
        linear, first = float(np.linalg.norm(self.linear)), float(np.linalg.norm(self.first))
        if first > _VANISHES * (first + linear + q):
            return self._solve_turning(first)
        if q > _VANISHES * (q + c):
            return self._solve_lines()
        if c <= _VANISHES * linear:
            return [], 0, 0, "the terms of second and third order vanish"
        return self._solve_parabolas()

    def _solve_lines(self) -> tuple[list[BranchDirection], int, int, str | None]:
        m = self.dimension
        forms = np.zeros((m, m + 1, m + 1))
        forms[:, 0, 0] = 0.5 * self.bend
        forms[:, 0, 1:] = forms[:, 1:, 0] = 0.5 * self.linear
        forms[:, 1:, 1:] = 0.5 * self.quadratic
        symmetry = _continuous_symmetry(self.linear, self.quadratic)
        roots = solve_homogeneous(forms, tolerance=_VANISHES)
        directions = []
        for x in roots.points:
            turned = x / x[np.argmax(np.abs(x))]
            if np.max(np.abs(turned.imag)) <= _REAL:
                real = turned.real / np.linalg.norm(turned.real)
                directions.append(self._direction(real[1:], float(real[0]), 0.0))
        return directions, roots.paths, symmetry, _why_incomplete(roots, symmetry)

    def _solve_parabolas(self) -> tuple[list[BranchDirection], int, int, str | None]:
        """The roots (w, a) with λ = w²; real a and imaginary w belong to λ < 0, and ± w to the two signs of s."""
        m = self.dimension
        forms = np.zeros((m, m + 1, m + 1, m + 1))
        for first, second, third in ((0, 0, slice(1, None)), (0, slice(1, None), 0), (slice(1, None), 0, 0)):
            forms[:, first, second, third] = self.linear / 3
        forms[:, 1:, 1:, 1:] = self.cubic / 6
        symmetry = _continuous_symmetry(self.linear, self.cubic)
        roots = solve_homogeneous(forms, tolerance=_VANISHES)
        directions = [BranchDirection(state=np.zeros(len(self.c)), slope=1.0, bend=0.0)]
        for x in roots.points:
            if (found := self._parabola(x)) is not None and not any(_is_same(found, d) for d in directions):
                directions.append(found)
        return directions, roots.paths, symmetry, _why_incomplete(roots, symmetry)

    def _solve_turning(self, first: float) -> tuple[list[BranchDirection], int, int, str | None]:
        """The roots of the part of Q(a, a) normal to h₁; its part along h₁ gives λ."""
        m, along = self.dimension, self.first / first
        across = np.linalg.svd(along[None, :])[2][1:]
        forms = np.tensordot(across, self.quadratic, axes=1)
        if m == 1:
            return [self._turning(np.ones(1), along, first)], 1, 0, None
        if np.linalg.norm(forms) <= _VANISHES * float(np.linalg.norm(self.cubic)):
            return [], 0, 0, "the terms of second order vanish where the parameter enters to first order"
        roots, directions = solve_homogeneous(forms, tolerance=_VANISHES), []
        for x in roots.points:
            turned = x / x[np.argmax(np.abs(x))]
            if np.max(np.abs(turned.imag)) <= _REAL:
                directions.append(self._turning(turned.real / np.linalg.norm(turned.real), along, first))
        return directions, roots.paths, 0, _why_incomplete(roots, 0)

    def _turning(self, a: Floats, along: Floats, first: float) -> BranchDirection:
        bend = -0.5 * float(along @ (self.quadratic @ a @ a)) / first
        return self._direction(a, 0.0, bend)

    def _parabola(self, x: Complexes) -> BranchDirection | None:
        a = x[1:]
        if np.linalg.norm(a) <= _REAL:
            return None  # the branch a = 0 itself
        phase = a[np.argmax(np.abs(a))]
        phase /= abs(phase)
        a, square = a / phase, (x[0] / phase) ** 2
        size = float(np.linalg.norm(a))
        if np.max(np.abs(a.imag)) > _REAL * size or abs(square.imag) > _REAL * abs(square) or abs(square) <= _REAL:
            return None
        return self._direction(a.real / size, 0.0, float(square.real) / size**2)


def _is_same(a: BranchDirection, b: BranchDirection) -> bool:
    return abs(float(a.state @ b.state)) > (1 - _REAL) and abs(a.slope - b.slope) < _REAL


def _why_incomplete(roots: Roots, symmetry: int) -> str | None:
    if roots.is_complete:
        return None
    because = "as it must by the continuous symmetry" if symmetry else "terms of higher order decide"
    return f"{roots.singular} of {roots.paths} complex roots of the leading terms are not isolated, {because}"


def _continuous_symmetry(linear: Floats, forms: Floats) -> int:
    """The number of independent S with d/ds h(e^{sS} a, λ) = T h for λ H a and a form of a, T = H S H⁻¹."""
    m, degree = len(linear), forms.ndim - 1
    if np.linalg.matrix_rank(linear, tol=_VANISHES * float(np.linalg.norm(linear, 2))) < m:
        return 0
    inverse, columns = np.linalg.inv(linear), []
    for k in range(m * m):
        s = np.zeros((m, m))
        s.flat[k] = 1.0
        moved = sum(np.moveaxis(np.tensordot(forms, s, axes=(1 + p, 0)), -1, 1 + p) for p in range(degree))
        columns.append((moved - np.tensordot(linear @ s @ inverse, forms, axes=(1, 0))).ravel())
    values = np.linalg.svd(np.column_stack(columns), compute_uv=False)
    return int(np.sum(values <= _INVARIANT * values[0])) if values[0] > 0 else 0


def _is_odd(family: ReducedFamily, coordinates: Floats, parameter: float) -> bool:
    """Whether G is odd about the state, at random places and values of the parameter."""
    for number in range(4):
        d = hashed_normal(number, np.arange(coordinates.size))
        value = parameter + (0.0, 0.01, -0.01, 0.1)[number] * family.scale
        field = ReducedVectorField(family.at(value))
        up, down = field.rate(coordinates + d), field.rate(coordinates - d)
        if np.linalg.norm(up + down) > _ODD * (1e-300 + np.linalg.norm(up) + np.linalg.norm(down)):
            return False
    return True
