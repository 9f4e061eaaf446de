# SPDX-License-Identifier: MIT
"""A certificate of optimality for any control: each necessary or sufficient condition is measured at it.

| quantity | condition |
|---|---|
| gradient norm, KKT residual, multipliers | variational: J'(u) = 0, or what bounds leave of it; the whole system |
| lowest Hessian eigenvalue, Newton step | second order: u is a local minimiser (`learning.local_minimum`) |
| maximum-principle gap, drift of H | Pontryagin: u minimises H at almost every t, and H is constant in t |
| insertions | for layers the principle holds up to O(Δt): only a lower J refutes (`learning.insertion`) |
| rank of the kernels | the representer form: a stationary kernel has at most J times the stages of its steps |

Under a box the gradient is the projected one, the Hessian is reduced to the entries that no bound holds, and the
Hamiltonian is minimised over the box.  In Galerkin mode, where the nodes do not decouple, the Hamiltonians of all
layers are minimised jointly (`learning.joint_hamiltonian`).  A quantity that does not apply is declined with the
reason: an H¹ term or several steps per control couple the layers, which the maximum principle treats one by one.  The
gap that is found is a lower bound of the true one, from the best of several starts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fem_selection.adjoint.hamiltonian import Search
from fem_selection.evolution.estimates.activation_properties import examine
from fem_selection.kernels.dense import DenseKernel
from fem_selection.kernels.representer import RepresenterKernel
from fem_selection.learning.bounds import ActiveBounds, active_bounds, projected_gradient
from fem_selection.learning.extremals import Extremals, MaximumPrinciple, obstacles
from fem_selection.learning.insertion import (
    NO_LOWER_HAMILTONIAN,
    NOT_OPTIMAL,
    UP_TO_GRADIENT,
    WITHIN_STEP,
    Insertions,
    PontryaginVerdict,
    insert_minimizers,
)
from fem_selection.learning.joint_hamiltonian import JointHamiltonian
from fem_selection.learning.kkt import kkt_residual, solve_triple
from fem_selection.learning.local_minimum import LocalMinimum, LocalVerdict, assess_local_minimum
from fem_selection.learning.representer import kernel_ranks, rank_bound, separable_ranks
from fem_selection.learning.roundoff import measure_round_off
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.settings import CertificateSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.typing import Floats

__all__ = ["OptimalityCertificate", "assess_optimality", "kernel_ranks", "measure_conditions"]

_ENDLESS = 1e20  # times H: a gap as large is the end of a search for a minimum that does not exist


@dataclass(frozen=True)
class OptimalityCertificate:
    """The measured quantities; a quantity is None where its condition does not apply.

    Attributes:
        objective: J(u).
        objective_round_off: Difference of two objectives that is round-off, measured (`learning.roundoff`).
        gradient_norm: ‖∇J‖ in L²; with a box the norm of the projected gradient.
        gradient_round_off: Norm of a gradient that is round-off, measured.
        kkt_residual: Norm of the residual of the state-costate-control system, the bounds' multipliers included.
        kkt_parts: The norms of its three equations: state, costate, control.
        active_bounds: With a box: the numbers of active `lower` and `upper` bounds, of `weak` ones among them, of
            `free` entries, and the `largest` multiplier, the `norm` of all and the `tolerance` of a weak one.
        local_minimum: The verdict of `learning.local_minimum`.
        local_minimum_reason: What it rests on, as a sentence.
        lowest_hessian_eigenvalue: The smallest λ of J'' v = λ M v, with a box over the free entries.
        hessian_error: The error of this eigenvalue.
        hessian_actions: Number of products with the Hessian that the second-order conditions took.
        newton_distance: Distance to the stationary point that a Newton step finds.
        newton_contraction: Norm of the gradient after that step, relative to before.
        maximum_principle: The verdict of `learning.insertion`.
        maximum_principle_gap: ∫ (H(u) − min H) dt.
        maximum_principle_nearest_gap: The part of the gap that a descent from u itself finds: it vanishes with the
            gradient, and says nothing of other minima.
        maximum_principle_round_off: Size of a gap that is round-off.
        maximum_principle_gaps: H(u) − min H for each layer.
        maximum_principle_starts: Number of starts of each minimisation.
        lowest_change: The lowest change of J over all insertions of minimisers: below zero by more than round-off it
            refutes optimality; None if no gap is open, so that there is nothing to insert.
        lowest_insertion: The insertion that changed J so.
        insertions: Number of insertions.
        gradient_allowance: ‖∇J‖²/(2λ), the fall of J that the gradient alone leaves; 0 unless u is a local minimiser.
        gap_remainder: Σ r_n, the second-order part of the insertions layer by layer: at a global minimum the gap is at
            most this, which is O(Δt); None, as the two before, if no gap is open.
        hamiltonian: H along the trajectory, one value per layer.
        hamiltonian_drift: Its largest minus its smallest value.
        kernel_rank: Numerical rank of each interval's kernel.
        kernel_rank_bound: Upper bound of this rank at a stationary point: J · stages · steps per control.
        kernel_singular_values: The first singular values of each kernel, relative to the largest.
        declined: The reason for each quantity that is None, by its name.
    """

    objective: float
    objective_round_off: float
    gradient_norm: float
    gradient_round_off: float
    kkt_residual: float | None
    kkt_parts: dict[str, float] | None
    active_bounds: dict[str, float] | None
    local_minimum: LocalVerdict
    local_minimum_reason: str
    lowest_hessian_eigenvalue: float | None
    hessian_error: float | None
    hessian_actions: int | None
    newton_distance: float | None
    newton_contraction: float | None
    maximum_principle: PontryaginVerdict | None
    maximum_principle_gap: float | None
    maximum_principle_nearest_gap: float | None
    maximum_principle_round_off: float | None
    maximum_principle_gaps: list[float] | None
    maximum_principle_starts: int | None
    lowest_change: float | None
    lowest_insertion: str | None
    insertions: int | None
    gradient_allowance: float
    gap_remainder: float | None
    hamiltonian: list[float] | None
    hamiltonian_drift: float | None
    kernel_rank: list[int] | None
    kernel_rank_bound: int | None
    kernel_singular_values: list[list[float]] | None
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
        settings: Starts of each minimisation of the Hamiltonian, number of insertions, and the tolerance of the
            Hessian's eigenvalue; `CertificateSettings()` by default.
        seed: Seed of the random starts.

    Raises:
        NonFinite: as `Functional.evaluate`.
    """
    return measure_conditions(scaled_functional, controls, scaled_bounds, settings=settings, seed=seed)[0]


def measure_conditions(
    scaled_functional: ScaledFunctional,
    controls: Floats,
    scaled_bounds: tuple[Floats, Floats] | None = None,
    *,
    settings: CertificateSettings | None = None,
    seed: int = 0,
) -> tuple[OptimalityCertificate, Insertions | None]:
    """As `assess_optimality`, which takes the same arguments; it also returns the insertions, from which J may fall.

    Args:
        scaled_functional: See `assess_optimality`.
        controls: See `assess_optimality`.
        scaled_bounds: See `assess_optimality`.
        settings: See `assess_optimality`.
        seed: See `assess_optimality`.

    Returns:
        The certificate, and the insertions; None for these if no gap is open.

    Raises:
        NonFinite: as `Functional.evaluate`.
    """
    settings = settings_or_default(settings, CertificateSettings)
    measuring = _Measuring(scaled_functional, controls, scaled_bounds, settings, seed)
    measuring.ask_first_order()
    measuring.ask_second_order()
    insertions = measuring.ask_pontryagin()
    measuring.ask_representer()
    return OptimalityCertificate(**measuring.found), insertions


class _Measuring:
    """One certificate: `found` collects its quantities by name."""

    def __init__(
        self,
        scaled_functional: ScaledFunctional,
        controls: Floats,
        scaled_bounds: tuple[Floats, Floats] | None,
        settings: CertificateSettings,
        seed: int,
    ) -> None:
        self.scaled_functional, self.controls, self.scaled_bounds = scaled_functional, controls, scaled_bounds
        self.functional, self.scaled = scaled_functional.functional, scaled_functional.to_scaled(controls)
        self.settings, self.seed = settings, seed
        self.value, self.scaled_gradient = scaled_functional.evaluate(self.scaled)
        self.round_off = measure_round_off(
            scaled_functional, self.scaled, value=self.value, scaled_gradient=self.scaled_gradient
        )
        self.active: ActiveBounds | None = None
        self._extremals: Extremals | JointHamiltonian | None = None
        self.found: dict[str, Any] = {
            "declined": {},
            "objective": float(self.value),
            "objective_round_off": self.round_off.objective,
            "gradient_round_off": self.round_off.gradient,
        }

    def decline(self, reason: str, *names: str) -> None:
        """Note why quantities are None."""
        for name in names:
            self.found[name] = None
            self.found["declined"][name] = reason

    def ask_first_order(self) -> None:
        """Gradient, KKT residual and multipliers."""
        space = self.functional.control_space
        triple = solve_triple(self.functional, self.controls)
        if self.scaled_bounds is None:
            norm = space.dual_norm(space.dual_from_scaled(self.scaled_gradient))
            residual = kkt_residual(self.functional, triple)
            self.found["active_bounds"] = None
        else:
            projected = projected_gradient(self.scaled, self.scaled_gradient, self.scaled_bounds)
            norm = self.scaled_functional.norm(projected)
            self.active = active = active_bounds(
                self.scaled_functional,
                self.scaled,
                self.scaled_gradient,
                scaled_bounds=self.scaled_bounds,
                round_off=self.round_off.gradient,
            )
            multipliers = space.dual_from_scaled(np.sign(self.scaled_gradient) * active.multipliers)
            residual = kkt_residual(self.functional, triple, multipliers)
            names = ("lower", "upper", "weak", "largest", "norm", "tolerance")
            self.found["active_bounds"] = {name: getattr(active, name) for name in names} | {"free": active.num_free}
        self.found |= {"gradient_norm": norm, "kkt_residual": residual.total, "kkt_parts": asdict(residual)}

    def ask_second_order(self) -> None:
        """Whether the control is a local minimiser."""
        local = assess_local_minimum(
            self.scaled_functional,
            self.scaled,
            value=self.value,
            scaled_gradient=self.scaled_gradient,
            round_off=self.round_off,
            tolerance=self.settings.eigenvalue_tolerance,
            scaled_bounds=self.scaled_bounds,
            active=self.active,
        )
        self.found |= {"local_minimum": local.verdict, "local_minimum_reason": local.reason}
        self.found |= {"lowest_hessian_eigenvalue": local.eigenvalue, "hessian_error": local.error}
        self.found |= {"hessian_actions": local.actions}
        self.found |= {"newton_distance": local.distance, "newton_contraction": local.contraction}
        if local.eigenvalue is None:
            self.decline(local.reason, "lowest_hessian_eigenvalue", "hessian_error", "hessian_actions")
            self.decline(local.reason, "newton_distance", "newton_contraction")
        self.found["gradient_allowance"] = _allowance(local, self.found["gradient_norm"])

    def ask_pontryagin(self) -> Insertions | None:
        """Gap, drift, and the insertions of the minimisers if a gap is open."""
        of_gap = (
            "maximum_principle",
            "maximum_principle_gap",
            "maximum_principle_nearest_gap",
            "maximum_principle_round_off",
            "maximum_principle_gaps",
            "maximum_principle_starts",
        )
        of_trials = ("lowest_change", "lowest_insertion", "insertions", "gap_remainder")
        if reasons := obstacles(self.functional, jointly=True, bounded=self._bounded_parts()):
            self.decline("; ".join(reasons), *of_gap, *of_trials, "hamiltonian", "hamiltonian_drift")
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # where σ grows faster than the penalty
            principle, nearest = self._minimize()
        self.found |= {"hamiltonian": principle.values.tolist(), "hamiltonian_drift": principle.drift}
        layer = self._find_layer_without_minimum(principle)
        if layer is not None:
            reason = f"the Hamiltonian of layer {layer} has no minimum: it falls without bound"
            self.decline(reason, *of_gap, *of_trials)
            return None
        gaps, round_off = principle.gaps.tolist(), principle.round_off
        numbers = (principle.gap, nearest.gap, round_off, gaps, principle.starts)
        self.found |= dict(zip(of_gap[1:], numbers, strict=True))
        if principle.gap <= round_off:
            self.found |= {"maximum_principle": NO_LOWER_HAMILTONIAN, "insertions": 0}
            self.found |= dict.fromkeys(("lowest_change", "lowest_insertion", "gap_remainder"))
            return None
        trials = insert_minimizers(
            self.functional, self.controls, principle, value=self.value, budget=self.settings.insertions
        )
        lowest, count = trials.lowest, len(trials.trials)
        self.found |= {"lowest_change": lowest.change, "lowest_insertion": lowest.where, "insertions": count}
        self.found["gap_remainder"] = trials.remainder
        if trials.remainder is None:
            reason = f"more than {self.settings.insertions} layers have a gap, or states overflow after an insertion"
            self.decline(reason, "gap_remainder")
        fall, allowed = -lowest.change, self.found["gradient_allowance"]
        if fall > self.round_off.objective + allowed:
            verdict = NOT_OPTIMAL
        elif fall > self.round_off.objective:
            verdict = UP_TO_GRADIENT
        elif principle.gap - nearest.gap <= round_off + allowed:
            verdict = NO_LOWER_HAMILTONIAN
        else:
            verdict = WITHIN_STEP
        self.found["maximum_principle"] = verdict
        return trials

    def _minimize(self) -> tuple[MaximumPrinciple, MaximumPrinciple]:
        """The minimisation from all starts, and from the present control alone."""
        everything = Search(starts=self.settings.starts, seed=self.seed)
        alone = Search(starts=1, seed=self.seed)
        r, parts = self.functional.regularization, self.functional.control_space.parts
        is_penalized = all(w > 0 for part, w in (("kernel", r.kernel), ("bias", r.bias)) if part in parts)
        if not (is_penalized and self.functional.control_space.space.is_collocated):
            self._extremals = joint = JointHamiltonian(self.functional)
            joint.sweep(self.controls)
            return joint.minimize(everything, self.scaled_bounds)
        self._extremals = extremals = Extremals(self.functional)
        local_bounds = self._local_bounds()
        extremals.sweep(self.controls)
        return extremals.minimize(everything, local_bounds), extremals.minimize(alone, local_bounds)

    def _find_layer_without_minimum(self, principle: MaximumPrinciple) -> int | None:
        """A layer whose Hamiltonian falls without bound, for σ grows faster than the penalty; None if none is known."""
        infinite = ~(np.abs(principle.gaps) < _ENDLESS * (1.0 + np.abs(principle.values)))
        if infinite.any():
            return int(np.argmax(infinite))
        grows = np.isinf(examine(self.functional.stepper.activation).steepest[0])
        if not grows or self._extremals is None or self._local_bounds() is not None:
            return None
        return self._extremals.find_layer_without_minimum()

    def _bounded_parts(self) -> list[str]:
        """Which of kernel and bias have finite bounds on both sides, on all ranks."""
        if self.scaled_bounds is None:
            return []
        space = self.functional.control_space
        limits = [space.gather(bound) for bound in self.scaled_bounds]
        free = {
            part: space.ensemble.any(any(not np.isfinite(limit[space.slices[part]]).all() for limit in limits))
            for part in ("kernel", "bias")
        }
        return [part for part, is_free in free.items() if not is_free]

    def _local_bounds(self) -> tuple[Floats, Floats] | None:
        """Local arrays of the bounds in x; None if kernel and bias are free."""
        if self.scaled_bounds is None:
            return None
        space = self.functional.control_space
        lower, upper = (space.gather(space.to_controls(bound)) for bound in self.scaled_bounds)
        moving = slice(space.slices["kernel"].start, space.slices["bias"].stop)
        bounded = any(bool(np.isfinite(bound[moving]).any()) for bound in (lower, upper))
        return (lower, upper) if space.ensemble.any(bounded) else None

    def ask_representer(self) -> None:
        """The ranks of the kernels, and their bound at a stationary point."""
        kernel, functional = self.functional.stepper.kernel, self.functional
        names = ("kernel_rank", "kernel_rank_bound", "kernel_singular_values")
        functional.set_controls(self.controls)
        if isinstance(kernel, DenseKernel):
            ranks, values = kernel_ranks(kernel)
        elif isinstance(kernel, RepresenterKernel) and kernel.changes_within_intervals is None:
            ranks, values = separable_ranks(kernel.as_separable())
        else:
            declined = isinstance(kernel, RepresenterKernel) and kernel.changes_within_intervals
            self.decline(declined or "a kernel that is not dense", *names)
            return
        self.found |= {"kernel_rank": ranks, "kernel_singular_values": values}
        bound, reason = rank_bound(functional, self.scaled_bounds is not None)
        self.found["kernel_rank_bound"] = bound
        if bound is None:
            self.decline(reason, "kernel_rank_bound")


def _allowance(local: LocalMinimum, norm: float) -> float:
    """‖∇J‖²/(2λ), λ the lower end of the lowest eigenvalue's error bar; zero unless a local minimiser is near."""
    if local.eigenvalue is None or local.error is None or local.contraction is None or local.fall is not None:
        return 0.0
    lowest = local.eigenvalue - local.error
    return 0.5 * norm**2 / lowest if lowest > 0 else 0.0
