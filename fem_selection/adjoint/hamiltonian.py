# SPDX-License-Identifier: MIT
"""The Hamiltonian of a layer, its derivatives and its minimiser, neuron by neuron.

    H(t, f, p, w, b) = Σ_j ⟨p_j, σ(K f_j + b)⟩ + α_w/2 ‖w‖² + α_b/2 ‖b‖²
                     = Σ_i m_i { Σ_j p_ij σ(s_ij) + α_w/2 Σ_k m_k w_ik² + α_b/2 b_i² },   s_ij = Σ_k m_k w_ik f_kj + b_i

In collocated mode H is a sum over the nodes, so that each row (w(y_i, ·), b(y_i)) is minimised by itself, and many
rows at once.  In the coordinates x = (√(α_w m_k) w_ik, √α_b b_i) of a row

    s = x F,   F = (√(m_k/α_w) f_kj ; 1/√α_b),   and the row's part is  Σ_j p_ij σ(s_j) + ½ |x|².

The minimiser lies in the range of F: x = Σ_j λ_j F_j, s = Γ λ with the Gram matrix Γ = FᵀF = G/α_w + 1 1ᵀ/α_b.  With
fewer samples than N + 1 the search runs over coordinates in an orthonormal basis of that range; this is the search over
λ ∈ R^J if Γ has full rank, and also works if it has not.  With more samples it runs over the N + 1 numbers x.

The Hamiltonian of layer n takes the states F_n and the costates P_{n+1}; its derivative is then the reduced gradient's
integrand to round-off.  In schemes with several stages each stage counts as a sample, with its own costate I_i.
A proximal weight ε adds ε/2 (‖w − w°‖² + ‖b − b°‖²), the augmented Hamiltonian of sequential quadratic methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fem_selection.adjoint.one_sample import minimize_one_sample
from fem_selection.adjoint.pointwise import TOLERANCE, RowProblem, SharedMap, minimize_rows
from fem_selection.discretization.numbering import hashed_normal
from fem_selection.functions.activations import Activation
from fem_selection.typing import Floats, Integers, whole_number

__all__ = ["Control", "Hamiltonian", "Search"]

_RAYS, _FAR = 8, 1e8  # rays along samples' states on which H is asked whether it has a minimum, and how far
_SCALES = (-1.0, -4.0, 1.0, -16.0)  # starts λ = τ p; the identity's minimiser is λ = −p
_SPREADS = (1.0, 4.0, 0.25)  # standard deviations of s at random starts


@dataclass(frozen=True)
class Control:
    """A control of one layer on this rank's rows.

    Attributes:
        kernel: w(y_i, y_k), shape (rows, N).
        bias: b(y_i), shape (rows,).
    """

    kernel: Floats
    bias: Floats


@dataclass(frozen=True)
class Search:
    """Settings of the search for a minimiser.

    Attributes:
        starts: Number of starts for each row, in this order: the present control, zero, λ = τ p, random ones.
        seed: Seed of the random starts.
        proximal: The proximal weight ε.
        lower, upper: Bounds of w and b, or None.
        tolerance: Norm of a row's gradient at which the row is done, relative to 1 + |x|.
        reduction: Norm of a row's gradient at which the row is done, relative to the norm at the start.
    """

    starts: int
    seed: int = 0
    proximal: float = 0.0
    lower: Control | None = None
    upper: Control | None = None
    tolerance: float = TOLERANCE
    reduction: float = 0.0

    def __post_init__(self) -> None:
        whole_number(self.starts, "starts", 1)
        whole_number(self.seed, "seed")


@dataclass(frozen=True)
class Hamiltonian:
    """The Hamiltonian H of one layer as a function of its control, for spaces in collocated mode.

    Attributes:
        activation: σ.
        states: f_kj at all nodes, shape (N, J), the nodes in the order of the kernel's columns.
        costates: p_ij on this rank's rows, shape (rows, J): Riesz representatives.
        column_weights: m_k, shape (N,).
        row_weights: m_i, shape (rows,).
        alpha_kernel: α_w; None if the kernel is fixed.
        alpha_bias: α_b; None if the bias is fixed.
        row_numbers, column_numbers: Canonical numbers of the nodes, the same on any partition; random starts use them.
    """

    activation: Activation
    states: Floats
    costates: Floats
    column_weights: Floats
    row_weights: Floats
    alpha_kernel: float | None
    alpha_bias: float | None
    row_numbers: Integers
    column_numbers: Integers

    def preactivation(self, u: Control) -> Floats:
        """The preactivation s_ij = Σ_k m_k w_ik f_kj + b_i, shape (rows, J)."""
        s: Floats = (u.kernel * self.column_weights) @ self.states + u.bias[:, None]
        return s

    def density(self, u: Control) -> Floats:
        """Each row's part of H, not multiplied by its weight m_i, shape (rows,)."""
        s = self.preactivation(u)
        sigma = np.empty_like(s)
        self.activation.value(s, sigma)
        result: Floats = np.einsum("ij,ij->i", self.costates, sigma)
        result += 0.5 * (self.alpha_kernel or 0.0) * (u.kernel**2 @ self.column_weights)
        result += 0.5 * (self.alpha_bias or 0.0) * u.bias**2
        return result

    def value(self, u: Control) -> float:
        """This rank's share of H: H is the sum of the shares over the space communicator."""
        return float(self.row_weights @ self.density(u))

    def magnitude(self, u: Control) -> float:
        """This rank's share of the sum of the absolute values of all terms of H, which scales its round-off."""
        s = self.preactivation(u)
        sigma = np.empty_like(s)
        self.activation.value(s, sigma)
        terms: Floats = np.abs(self.costates * sigma).sum(axis=1)
        terms += 0.5 * (self.alpha_kernel or 0.0) * (u.kernel**2 @ self.column_weights)
        terms += 0.5 * (self.alpha_bias or 0.0) * u.bias**2
        return float(self.row_weights @ terms)

    def derivative(self, u: Control) -> Control:
        """The L² gradients α_w w + Σ_j q_j ⊗ f_j and α_b b + Σ_j q_j, with q = σ'(s) p; zero for a fixed part."""
        s = self.preactivation(u)
        value, q = np.empty_like(s), np.empty_like(s)
        self.activation.value_and_derivative(s, value, q)
        q *= self.costates
        kernel, bias = np.zeros_like(u.kernel), np.zeros_like(u.bias)
        if self.alpha_kernel is not None:
            kernel = self.alpha_kernel * u.kernel + q @ self.states.T
        if self.alpha_bias is not None:
            bias = self.alpha_bias * u.bias + q.sum(axis=1)
        return Control(kernel=kernel, bias=bias)

    def minimize(self, present: Control, search: Search) -> tuple[Control, Floats]:
        """Minimise H row by row, and return the best control found; in no row is it worse than the present control.

        Args:
            present: The control to start from.  It is also the centre of the proximal term, and fixed parts keep its
                values.
            search: Settings of the search.

        Returns:
            The control, and its density with the proximal term, shape (rows,).

        Note:
            With one column of states (one sample and a scheme of one stage) and no bounds the minimum is global.
            Otherwise it is the best of the local minima that the starts lead to.  If σ has kinks, the search with
            several columns may stop early at one of them.
        """
        frame = _Coordinates(self, present, search)
        if frame.is_scalar:
            c = frame.minimize_scalar()
        else:
            c, _ = minimize_rows(frame.problem, frame.starts(), search.tolerance, reduction=search.reduction)
        found = frame.control(c)
        before, after = self.density(present), self._augmented(found, present, search.proximal)
        keep = ~(after < before)
        found.kernel[keep], found.bias[keep], after[keep] = present.kernel[keep], present.bias[keep], before[keep]
        return found, after

    def falls_without_bound(self, present: Control) -> bool:
        """Whether H of a row of this rank falls without bound along a sample's state, or along all, weighted by p.

        H is asked far out on these rays: it must lie below −10⁻⁶ times the penalty there.  Along other rays it may fall
        all the same.

        Args:
            present: The control, whose fixed parts are kept.
        """
        return _Coordinates(self, present, Search(starts=1)).falls_without_bound()

    def _augmented(self, u: Control, centre: Control, proximal: float) -> Floats:
        density = self.density(u)
        if proximal > 0:
            density += 0.5 * proximal * ((u.kernel - centre.kernel) ** 2 @ self.column_weights)
            density += 0.5 * proximal * (u.bias - centre.bias) ** 2
        return density


class _Coordinates:
    """The rows' problems in coordinates c, where x = x° + c Bᵀ.

    B is an orthonormal basis of the range of F, or the identity.  x° is the centre of the proximal term in the scaled
    variable; it is zero without a proximal term.
    """

    def __init__(self, h: Hamiltonian, present: Control, search: Search) -> None:
        self.h, self.present, self.search = h, present, search
        free = h.alpha_kernel is not None, h.alpha_bias is not None
        columns = h.column_weights if free[0] else h.column_weights[:0]
        alpha_w, alpha_b = h.alpha_kernel or 0.0, h.alpha_bias or 0.0
        # scale: x = (w, b) · scale, the weights ε included; F: s = x F
        total = np.concatenate([(alpha_w + search.proximal) * columns, [alpha_b + search.proximal] * free[1]])
        self.scale = np.sqrt(total)
        states = h.states if free[0] else h.states[:0]
        rows = np.concatenate([columns[:, None] * states, np.ones((int(free[1]), h.states.shape[1]))])
        features = rows / self.scale[:, None]
        zero = np.concatenate([columns, np.ones(int(free[1]))])
        self.x_present = self._gathered(present) * self.scale
        self.centre = search.proximal * zero / total * self.x_present
        bounded = search.lower is not None and search.upper is not None
        self.reduced = not bounded and features.shape[1] < features.shape[0]
        self.basis: Floats | None = None
        matrix = features
        if self.reduced:
            self.basis, matrix = np.linalg.qr(features)
        shift = self.centre @ features + self._fixed()
        bounds = None
        if search.lower is not None and search.upper is not None:
            low, high = (self._gathered(u) * self.scale - self.centre for u in (search.lower, search.upper))
            bounds = (low, high)
        self.features, self.matrix = features, matrix
        self.problem = RowProblem(
            activation=h.activation, p=h.costates, maps=SharedMap(matrix=matrix), shift=shift, bounds=bounds
        )
        self.is_scalar = features.shape[1] == 1 and not bounded

    def falls_without_bound(self) -> bool:
        """See `Hamiltonian.falls_without_bound`."""
        shape = len(self.h.costates), len(self.matrix)
        rays = [np.broadcast_to(column, shape) for column in self.matrix.T[:_RAYS]]
        rays.append(self.h.costates @ self.matrix.T)
        with np.errstate(all="ignore"):
            for ray in rays:
                length = np.linalg.norm(ray, axis=1, keepdims=True)
                far = np.divide(_FAR * ray, length, out=np.zeros(shape), where=length > 0)
                values = [self.problem.value(sign * far, np.arange(shape[0])) for sign in (1.0, -1.0)]
                if np.any(np.array(values) < -1e-6 * _FAR**2):
                    return True
        return False

    def control(self, c: Floats) -> Control:
        """The control with coordinates c; fixed parts keep their values."""
        x = self.centre + (c if self.basis is None else c @ self.basis.T)
        values = x / self.scale
        n = len(self.h.column_weights) if self.h.alpha_kernel is not None else 0
        kernel = values[:, :n].copy() if n else self.present.kernel.copy()
        bias = values[:, n].copy() if self.h.alpha_bias is not None else self.present.bias.copy()
        return Control(kernel=kernel, bias=bias)

    def minimize_scalar(self) -> Floats:
        """The coordinates c of the global minimiser for one sample, from its preactivation s; γ = |F|²."""
        shift = self.problem.shift
        assert shift is not None
        gamma = float(np.sum(self.features**2))
        s = minimize_one_sample(self.h.activation, self.h.costates[:, 0], np.array(gamma), shift=shift[:, 0])
        # the coordinates of x − x° = (s − s°) F / γ, in the basis or not
        towards = self.matrix[:, 0] / gamma if gamma > 0 else np.zeros(len(self.matrix))  # γ = 0: s is fixed
        c: Floats = (s - shift[:, 0])[:, None] * towards
        return c

    def starts(self) -> Iterator[Floats]:
        """Yield the coordinates of the starts: the present control, zero, λ = τ p, then random λ or x."""
        kept = self.search.starts
        for number in range(kept):
            yield self._start(number)

    def _start(self, number: int) -> Floats:
        if number < 2:
            x = (self.x_present if number == 0 else 0.0 * self.x_present) - self.centre
            result: Floats = x if self.basis is None else x @ self.basis
            return result
        if number - 2 < len(_SCALES):
            return _SCALES[number - 2] * self.h.costates @ self.matrix.T
        return self._random(number - 2 - len(_SCALES))

    def _random(self, number: int) -> Floats:
        """A start of normal λ (of normal x if there are many samples), scaled so that s has the wanted spread."""
        spread, rows = _SPREADS[number % len(_SPREADS)], self.h.row_numbers[:, None]
        seed = self.search.seed + 7919 * number
        if self.reduced:
            z = hashed_normal(seed, rows, np.arange(self.features.shape[1])[None]) @ self.matrix.T
        else:
            columns = self.h.column_numbers if self.h.alpha_kernel is not None else self.h.column_numbers[:0]
            last = [self.h.column_numbers.size] * (self.h.alpha_bias is not None)
            z = hashed_normal(seed, rows, np.concatenate([columns, last]).astype(np.int64)[None])
        size = np.sqrt(np.mean((z @ self.matrix) ** 2, axis=1, keepdims=True))
        result: Floats = spread * z / np.maximum(size, 1e-300)
        return result

    def _gathered(self, u: Control) -> Floats:
        """The parts of a control that are not fixed, side by side, shape (rows, r)."""
        parts = [u.kernel] if self.h.alpha_kernel is not None else []
        parts += [u.bias[:, None]] if self.h.alpha_bias is not None else []
        return np.concatenate(parts, axis=1)

    def _fixed(self) -> Floats:
        """The contribution of the fixed parts to s, shape (rows, J)."""
        h, u = self.h, self.present
        s = np.zeros_like(h.costates)
        if h.alpha_kernel is None:
            s += (u.kernel * h.column_weights) @ h.states
        if h.alpha_bias is None:
            s += u.bias[:, None]
        return s
