# SPDX-License-Identifier: MIT
"""A certificate of optimality for any control: each necessary or sufficient condition is measured at it.

| quantity | condition |
|---|---|
| gradient norm, KKT residual | variational: J'(u) = 0; the state-costate-control system |
| lowest Hessian eigenvalue | second order: J''(u) v = λ M v with λ > 0 for a strict local minimiser |
| maximum-principle gap, drift of H | Pontryagin: u minimises H at almost every t, and H is constant in t |
| rank of the kernels | the representer form: a stationary kernel has at most J times the stages of its steps |

A quantity that does not apply is declined with the reason: with a box the gradient need not vanish; an H¹ term or
several steps per control couple the layers, which the maximum principle treats one by one.  The gap that is found is a
lower bound of the true one, from the best of several starts.  A positive gap (beyond O(Δt)) refutes optimality; a
vanishing gap supports it as far as the starts reach.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fem_selection.adjoint.hamiltonian import Search
from fem_selection.errors import NotConverged
from fem_selection.kernels.dense import DenseKernel
from fem_selection.learning.curvature import hessian_eigenpairs
from fem_selection.learning.extremals import Extremals, obstacles
from fem_selection.learning.functional import Functional
from fem_selection.learning.hessian import ScaledHessian
from fem_selection.learning.kkt import kkt_residual, solve_triple
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.settings import CertificateSettings
from fem_selection.typing import Floats

__all__ = ["OptimalityCertificate", "assess_optimality", "kernel_ranks"]

RANK_TOLERANCE = 1e-6


@dataclass(frozen=True)
class OptimalityCertificate:
    """The measured quantities; a quantity is None where its condition does not apply.

    Attributes:
        objective: J(u).
        gradient_norm: ‖∇J‖ in L²; with a box the norm of the projected gradient.
        kkt_residual: Norm of the residual of the state-costate-control system.
        kkt_parts: The norms of its three equations: state, costate, control.
        maximum_principle_gap: ∫ (H(u) − min H) dt.
        maximum_principle_gaps: H(u) − min H for each layer.
        maximum_principle_starts: Number of starts of each minimisation.
        hamiltonian: H along the trajectory, one value per layer.
        hamiltonian_drift: Its largest minus its smallest value.
        kernel_rank: Numerical rank of each interval's kernel.
        kernel_rank_bound: Upper bound of this rank at a stationary point: J · stages · steps per control.
        kernel_singular_values: The first singular values of each kernel, relative to the largest.
        lowest_hessian_eigenvalue: The smallest λ of J'' v = λ M v.
        hessian_actions: Number of products with the Hessian that this eigenvalue took.
        declined: The reason for each quantity that is None, by its name.
    """

    objective: float
    gradient_norm: float
    kkt_residual: float | None
    kkt_parts: dict[str, float] | None
    maximum_principle_gap: float | None
    maximum_principle_gaps: list[float] | None
    maximum_principle_starts: int | None
    hamiltonian: list[float] | None
    hamiltonian_drift: float | None
    kernel_rank: list[int] | None
    kernel_rank_bound: int | None
    kernel_singular_values: list[list[float]] | None
    lowest_hessian_eigenvalue: float | None
    hessian_actions: int | None
    declined: dict[str, str]


def assess_optimality(
    scaled_functional: ScaledFunctional,
    controls: Floats,
    scaled_bounds: tuple[Floats, Floats] | None = None,
    *,
    settings: CertificateSettings | None = None,
    seed: int = 0,
) -> OptimalityCertificate:
    """Measure every condition of optimality at given controls (collective).

    Args:
        scaled_functional: J in the optimizer's variable x̂; its controls are overwritten.
        controls: Shard of x.
        scaled_bounds: Shards, in x̂, of the box under which the controls were found, or None.
        settings: Starts of each minimisation of the Hamiltonian, and the tolerance of the Hessian's eigenvalue;
            `CertificateSettings()` by default.
        seed: Seed of the random starts.

    Raises:
        NonFinite: as `Functional.evaluate`.
    """
    settings = CertificateSettings() if settings is None else settings
    found: dict[str, Any] = {"declined": {}}
    functional, scaled = scaled_functional.functional, scaled_functional.to_scaled(controls)
    value, scaled_gradient = scaled_functional.evaluate(scaled)
    found["objective"] = value
    found["gradient_norm"] = _gradient_norm(scaled_functional, scaled, scaled_gradient, scaled_bounds)
    if scaled_bounds is None:
        residual = kkt_residual(functional, solve_triple(functional, controls))
        found |= {"kkt_residual": residual.total, "kkt_parts": asdict(residual)}
    else:
        _decline(found, "a box: multipliers of the bounds enter the system", "kkt_residual", "kkt_parts")
    _ask_pontryagin(found, scaled_functional, controls, scaled_bounds, settings.starts, seed)
    kernel = functional.stepper.kernel
    if isinstance(kernel, DenseKernel):
        functional.set_controls(controls)
        ranks, values = kernel_ranks(kernel)
        found |= {"kernel_rank": ranks, "kernel_singular_values": values}
        _bound_rank(found, functional, scaled_bounds)
    else:
        _decline(found, "a kernel that is not dense", "kernel_rank", "kernel_rank_bound", "kernel_singular_values")
    _ask_second_order(found, scaled_functional, controls, scaled_bounds, settings.eigenvalue_tolerance)
    return OptimalityCertificate(**found)


def kernel_ranks(kernel: DenseKernel) -> tuple[list[int], list[list[float]]]:
    """The numerical rank of each interval's kernel at a relative 1e-6, and its first 64 singular values (collective).

    These are the singular values of the integral operator in L²(Y), hence of the matrix M_L^{1/2} W M_L^{1/2}; they are
    relative to the largest.
    """
    space = kernel.space
    own, root = np.sqrt(space.weights), np.sqrt(np.concatenate(space.comm.allgather(space.weights)))
    ranks, values = [], []
    for w in kernel.weights:
        rows = space.comm.allgather(own[:, None] * w * root)
        singular = np.linalg.svd(np.concatenate(rows), compute_uv=False)
        top = max(float(singular[0]), 1e-300)
        ranks.append(int(np.sum(singular > RANK_TOLERANCE * top)))
        values.append([float(s) for s in singular[:64] / top])
    return ranks, values


def _bound_rank(found: dict[str, Any], functional: Functional, scaled_bounds: tuple[Floats, Floats] | None) -> None:
    """Note the bound of the rank: α_w w = −Σ q ⊗ f, a sum over the samples and stages on which the kernel acts."""
    r, stepper = functional.regularization, functional.stepper
    reasons = {
        "a box: an active bound adds to the kernel what no sample does": scaled_bounds is not None,
        "an H¹ term in depth adds the neighbouring layers' kernels": r.kernel_depth > 0,
        "regularization.kernel = 0: stationarity says nothing of the kernel's rank": not r.kernel > 0,
        "the kernel is not optimized": "kernel" not in functional.control_space.parts,
    }
    if any(reasons.values()):
        _decline(found, "; ".join(reason for reason, holds in reasons.items() if holds), "kernel_rank_bound")
        return
    steps = stepper.grid.layers // stepper.grid.intervals
    found["kernel_rank_bound"] = functional.num_samples * stepper.scheme.num_stages * steps


def _gradient_norm(
    functional: ScaledFunctional,
    scaled: Floats,
    scaled_gradient: Floats,
    scaled_bounds: tuple[Floats, Floats] | None,
) -> float:
    if scaled_bounds is not None:
        return functional.norm(scaled - np.clip(scaled - scaled_gradient, *scaled_bounds))
    space = functional.control_space
    return space.dual_norm(space.dual_from_scaled(scaled_gradient))


def _ask_pontryagin(
    found: dict[str, Any],
    scaled_functional: ScaledFunctional,
    controls: Floats,
    scaled_bounds: tuple[Floats, Floats] | None,
    starts: int,
    seed: int,
) -> None:
    reasons = obstacles(scaled_functional.functional)
    names = ("maximum_principle_gap", "maximum_principle_gaps", "maximum_principle_starts")
    if scaled_bounds is not None:
        reasons.insert(0, "a box: the certificate's minimisation is over all controls")
    if reasons:
        _decline(found, "; ".join(reasons), *names, "hamiltonian", "hamiltonian_drift")
        return
    extremals = Extremals(scaled_functional.functional)
    extremals.sweep(controls)
    principle = extremals.minimize(Search(starts=starts, seed=seed))
    found |= {"hamiltonian": principle.values.tolist(), "hamiltonian_drift": principle.drift}
    if np.isfinite(principle.gap):
        found |= dict(zip(names, (principle.gap, principle.gaps.tolist(), starts), strict=True))
    else:  # σ grows faster than the penalty
        layer = int(np.argmin(np.isfinite(principle.gaps)))
        _decline(found, f"the Hamiltonian of layer {layer} has no minimum: it falls without bound", *names)


def _ask_second_order(
    found: dict[str, Any],
    scaled_functional: ScaledFunctional,
    controls: Floats,
    scaled_bounds: tuple[Floats, Floats] | None,
    tolerance: float,
) -> None:
    names = ("lowest_hessian_eigenvalue", "hessian_actions")
    if scaled_bounds is not None:
        _decline(found, "a box: curvature counts in the directions that the active bounds leave", *names)
        return
    hessian = ScaledHessian(scaled_functional)
    hessian.linearize(scaled_functional.to_scaled(controls))
    try:
        pairs = hessian_eigenpairs(hessian, 1, "smallest", tolerance=tolerance)
        found |= {"lowest_hessian_eigenvalue": pairs.values[0], "hessian_actions": pairs.actions}
    except NotConverged as error:
        _decline(found, f"SLEPc did not converge: {error}", *names)


def _decline(found: dict[str, Any], reason: str, *names: str) -> None:
    for name in names:
        found[name] = None
        found["declined"][name] = reason
