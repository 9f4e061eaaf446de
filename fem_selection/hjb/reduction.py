# SPDX-License-Identifier: MIT
"""`ReducedProblem`: the learning problem on m cells and J samples as optimal control in R^{mJ}.

    ∂_t x_ij = σ(s_ij),   s_ij = Σ_k a_k w_ik x_kj + b_i
    minimise ∫₀ᵀ Σ_i a_i ( α_w/2 Σ_k a_k w_ik² + α_b/2 b_i² ) dt + Φ(x(T)),   Φ(x) = μ/J Σ_j ½ Σ_i a_i (x_ij − g_ij)²

    H(x, ξ) = Σ_i a_i min_c { Σ_j (ξ_ij/a_i) σ(s_j) + ½|c|²,  s = c R(x) }

with the controls of a neuron scaled to c = (√(α_w a_k) w_ik, √α_b b_i) and the features R of rows √(a_k/α_w) x_k· and
1/√α_b.  On DG0 cells of areas a_i this is the discretization in y itself, not an approximation of it.  With one sample
the minimum depends on κ = γ ξ_i/a_i alone, γ = |R|².  A point x is an array of mJ entries; the sample's index runs
fastest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fem_selection.adjoint.pointwise import OwnMaps, RowProblem, minimize_rows
from fem_selection.errors import InvalidInput
from fem_selection.evolution.estimates.activation_properties import examine
from fem_selection.functions.activations import Activation
from fem_selection.functions.ranges import find_jump
from fem_selection.hjb.scalar import find_minimizer
from fem_selection.hjb.starts import find_starts
from fem_selection.kernels import DenseKernel
from fem_selection.learning.functional import Functional
from fem_selection.objectives import TrackingCost
from fem_selection.settings import ObjectiveSettings
from fem_selection.typing import Block, Floats

__all__ = ["MAX_DIMENSION", "ReducedProblem"]

MAX_DIMENSION = 3
_TOGETHER = 4096  # rows times starts of one Newton's method
_TOLERANCE = 1e-7  # of the gradient in c; the error of H is of the order of its square


@dataclass(frozen=True)
class ReducedProblem:
    """The data of the reduced problem, the same on every rank.

    Attributes:
        activation: σ.
        areas: a, shape (m,).
        initial: x(0), shape (m, J).
        targets: g, shape (m, J).
        alpha_kernel: α_w; None if the kernel is zero and not optimised.
        alpha_bias: α_b; None if the bias is zero and not optimised.
        horizon: T.
        weight: μ.

    Raises:
        InvalidInput: if the shapes do not fit, the state has more than three entries, no control has a positive weight,
            or σ has a kink and there are several samples.
    """

    activation: Activation
    areas: Floats
    initial: Floats
    targets: Floats
    alpha_kernel: float | None
    alpha_bias: float | None
    horizon: float
    weight: float = ObjectiveSettings.weight

    def __post_init__(self) -> None:
        if self.initial.ndim != 2 or self.initial.shape != self.targets.shape or len(self.areas) != len(self.initial):
            raise InvalidInput(
                f"areas of shape {self.areas.shape}, initial states {self.initial.shape}, targets "
                f"{self.targets.shape}; expected (m,), (m, J), (m, J)"
            )
        if not 1 <= self.dimension <= MAX_DIMENSION:
            raise InvalidInput(
                f"{self.num_cells} cells and {self.num_samples} samples make a state of {self.dimension} numbers; the "
                f"value function is computed for at most {MAX_DIMENSION}"
            )
        given = [a for a in (self.alpha_kernel, self.alpha_bias) if a is not None]
        if not given or min(given) <= 0:
            raise InvalidInput("the Hamiltonian needs a positive weight for each control, and one control at least")
        if self.num_samples > 1 and self.activation.has_kink:
            raise InvalidInput(
                f"dynamics.activation = {self.activation.name!r} has a kink, where the Hamiltonian of several samples "
                "may have its minimum and Newton's method stops early: use a smooth one, or one sample"
            )

    @property
    def num_cells(self) -> int:
        """The number m of cells."""
        return int(self.initial.shape[0])

    @property
    def num_samples(self) -> int:
        """The number J of samples."""
        return int(self.initial.shape[1])

    @property
    def dimension(self) -> int:
        """mJ, the dimension of the state."""
        return int(self.initial.size)

    @property
    def start(self) -> Floats:
        """The initial state as a point, shape (mJ,)."""
        return self.initial.ravel().copy()

    def terminal_cost(self, x: Floats) -> Floats:
        """Φ(x) at points x of shape (n, mJ); returns shape (n,)."""
        difference = x.reshape(len(x), self.num_cells, self.num_samples) - self.targets
        return 0.5 * self.weight / self.num_samples * np.einsum("nij,nij,i->n", difference, difference, self.areas)

    def features(self, x: Floats) -> Floats:
        """R(x) at points x of shape (n, mJ); returns shape (n, r, J).

        R has a row for each cell, if the kernel is optimised, and one for the bias, if the bias is.
        """
        states = x.reshape(len(x), self.num_cells, self.num_samples)
        rows = []
        if self.alpha_kernel is not None:
            rows.append(np.sqrt(self.areas / self.alpha_kernel)[:, None] * states)
        if self.alpha_bias is not None:
            rows.append(np.full((len(x), 1, self.num_samples), 1.0 / np.sqrt(self.alpha_bias)))
        return np.concatenate(rows, axis=1)

    def hamiltonian(self, x: Floats, xi: Floats, warm: Floats | None = None) -> tuple[Floats, Floats, Floats]:
        """H(x, ξ), the minimum over the controls, with the velocity and the policy that attain it.

        Args:
            x: Points, shape (n, mJ).
            xi: ξ = ∇_x V at these points, shape (n, mJ).
            warm: With several samples, a policy from which the minimisation starts, shape (n, m, r); it tries all
                starts if None.  With one sample it is not used.

        Returns:
            H, shape (n,); the velocity ∂_ξ H = σ(s), shape (n, mJ); the policy c, shape (n, m, r).
        """
        features = self.features(x)
        costates = xi.reshape(len(x), self.num_cells, self.num_samples) / self.areas[:, None]
        minimize = self._minimize_one if self.num_samples == 1 else self._minimize_several
        policy = minimize(features, costates, warm)
        velocity = self.velocity(x, policy)
        return np.einsum("nd,nd->n", xi, velocity) + self.running_cost(policy), velocity, policy

    def velocity(self, x: Floats, policy: Floats) -> Floats:
        """The velocity σ(s) under a policy.

        Args:
            x: Points, shape (n, mJ).
            policy: The scaled controls c at these points, shape (n, m, r).

        Returns:
            Shape (n, mJ).
        """
        s = np.einsum("nir,nrj->nij", policy, self.features(x)).reshape(len(x), self.dimension)
        result = np.empty_like(s)
        self.activation.value(s, result)
        return result

    def running_cost(self, policy: Floats) -> Floats:
        """The running cost Σ_i a_i ½|c_i|² of a policy of shape (n, m, r); returns shape (n,)."""
        return 0.5 * np.einsum("nir,nir,i->n", policy, policy, self.areas)

    def controls_of(self, policy: Floats) -> tuple[Floats, Floats]:
        """The controls w, shape (n, m, m), and b, shape (n, m), of a policy of shape (n, m, r)."""
        n, m = len(policy), self.num_cells
        kernel, bias = np.zeros((n, m, m)), np.zeros((n, m))
        if self.alpha_kernel is not None:
            kernel = policy[:, :, :m] / np.sqrt(self.alpha_kernel * self.areas)
        if self.alpha_bias is not None:
            bias = policy[:, :, -1] / np.sqrt(self.alpha_bias)
        return kernel, bias

    def control(self, x: Floats, xi: Floats) -> tuple[Floats, Floats]:
        """The controls that minimise the Hamiltonian.

        Args:
            x: Points, shape (n, mJ).
            xi: ξ = ∇_x V at these points, shape (n, mJ).

        Returns:
            w, shape (n, m, m), and b, shape (n, m).
        """
        return self.controls_of(self.hamiltonian(x, xi)[2])

    # ── the minimisation ──────────────────────────────────────────────────────────────────────────────────────────

    def _minimize_one(self, features: Floats, costates: Floats, warm: Floats | None) -> Floats:
        """Look s up in the table; return c = (s/γ) R, the shortest c with this s."""
        row = features[:, :, 0]
        gamma = np.einsum("nr,nr->n", row, row)[:, None]
        s = find_minimizer(self.activation)(gamma * costates[:, :, 0])
        factor = np.divide(s, gamma, out=np.zeros_like(s), where=gamma > 0)
        return factor[:, :, None] * row[:, None, :]

    def _minimize_several(self, features: Floats, costates: Floats, warm: Floats | None) -> Floats:
        n, m, r = len(features), self.num_cells, features.shape[1]
        maps = OwnMaps(matrices=np.repeat(features, m, axis=0))
        problem = RowProblem(activation=self.activation, p=costates.reshape(n * m, self.num_samples), maps=maps)
        if warm is not None:
            return minimize_rows(problem, (warm.reshape(n * m, r),), _TOLERANCE)[0].reshape(n, m, r)
        return _minimize_from_all(problem, maps).reshape(n, m, r)

    # ── from the learning problem ─────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def from_functional(functional: Functional, scaled_bounds: tuple[Floats, Floats] | None = None) -> ReducedProblem:
        """The reduced problem of a learning problem (collective).

        Args:
            functional: J, on any space × sample split.
            scaled_bounds: Shards, in x̂, of its box constraints; they must be None.

        Raises:
            InvalidInput: if this module does not cover the problem; the message names each key that prevents it.
        """
        faults = list(_faults(functional, scaled_bounds))
        if faults:
            raise InvalidInput(f"no value function for this case: {'; '.join(faults)}")
        space, stepper = functional.control_space.space, functional.stepper
        r, parts = functional.regularization, functional.control_space.parts
        return ReducedProblem(
            activation=stepper.activation,
            areas=space.gather(space.weights[:, None])[:, 0].copy(),
            initial=_all_samples(functional, functional.initial),
            targets=_all_samples(functional, functional.targets),
            alpha_kernel=r.kernel if "kernel" in parts else None,
            alpha_bias=r.bias if "bias" in parts else None,
            horizon=functional.control_space.grid.horizon,
            weight=functional.weight,
        )


def _minimize_from_all(problem: RowProblem, maps: OwnMaps) -> Floats:
    """The best minimisers from all starts, shape (rows, r).

    Few rows are minimised from many starts at a time, since Newton's method costs by its calls then.
    """
    rows = len(problem.p)
    starts = tuple(find_starts(problem, maps))
    together = min(max(_TOGETHER // max(rows, 1), 1), len(starts))
    best, lowest = np.zeros((rows, maps.size)), np.full(rows, np.inf)
    for k in range(0, len(starts), together):
        part = starts[k : k + together]
        copies = replace(
            problem,
            p=np.tile(problem.p, (len(part), 1)),
            maps=OwnMaps(matrices=np.tile(maps.matrices, (len(part), 1, 1))),
        )
        c, value = minimize_rows(copies, (np.concatenate(part),), _TOLERANCE)
        c, value = c.reshape(len(part), rows, maps.size), value.reshape(len(part), rows)
        which, row = np.argmin(np.where(np.isnan(value), np.inf, value), axis=0), np.arange(rows)
        better = value[which, row] < lowest
        best[better], lowest[better] = c[which, row][better], value[which, row][better]
    return best


def _all_samples(functional: Functional, block: Block) -> Floats:
    """All rows and columns of a block on every rank, in canonical order (collective)."""
    rows = functional.control_space.space.gather(np.asfortranarray(block))
    return np.ascontiguousarray(np.concatenate(functional.control_space.ensemble.sample_comm.allgather(rows), axis=1))


def _no_minimum(activation: Activation) -> str | None:
    """Why the Hamiltonian may have no minimum; None if σ is not known to jump or to grow faster than s."""
    if (jump := find_jump(activation)) is not None and jump.startswith("σ jumps"):
        return f"{jump}, where the Hamiltonian may have no minimum"
    if np.isinf(examine(activation).steepest[0]):
        return "|σ'| grows without bound, and the Hamiltonian may fall without bound"
    return None


def _faults(functional: Functional, scaled_bounds: tuple[Floats, Floats] | None) -> Iterator[str]:
    space, control_space, r = functional.control_space.space, functional.control_space, functional.regularization
    if (space.family, space.degree, space.mode) != ("dg", 0, "collocated"):
        yield (
            "space.family = 'dg', space.degree = 0 and space.mode = 'collocated' are needed, got "
            f"{space.family!r}, {space.degree}, {space.mode!r}"
        )
    if space.num_nodes * functional.num_samples > MAX_DIMENSION:
        yield (
            f"domain.cells and data.samples make {space.num_nodes} · {functional.num_samples} numbers, and at most "
            f"{MAX_DIMENSION} are possible"
        )
    if not isinstance(functional.cost, TrackingCost):
        yield "objective.loss must be 'tracking'"
    if (reason := _no_minimum(functional.stepper.activation)) is not None:
        yield f"dynamics.activation = {functional.stepper.activation.name!r}: {reason}"
    if not isinstance(functional.stepper.kernel, DenseKernel):
        yield "dynamics.representation must be 'dense': the kernel's values are free at each pair of cells"
    if scaled_bounds is not None:
        yield "objective.kernel_bounds and objective.bias_bounds must be left out"
    if control_space.grid.intervals != control_space.grid.layers:
        yield (
            f"dynamics.control_intervals = {control_space.grid.intervals} must equal dynamics.layers = "
            f"{control_space.grid.layers}: the value function's controls are free at every time"
        )
    if r.has_depth_term:
        yield "regularization.kernel_depth and regularization.bias_depth must be 0"
    for part, alpha in (("kernel", r.kernel), ("bias", r.bias)):
        if part in control_space.parts and alpha <= 0:
            yield f"regularization.{part} must be positive, got {alpha:g}"
    fixed = {"kernel": functional.stepper.kernel.parameters(), "bias": functional.stepper.bias}
    for part, values in fixed.items():
        largest = control_space.ensemble.world.allreduce(float(np.max(np.abs(values), initial=0.0)))
        if part not in control_space.parts and largest > 0:
            yield f"dynamics.{part} must be '0' where objective.controls leaves it out"
