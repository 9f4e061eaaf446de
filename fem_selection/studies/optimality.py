# SPDX-License-Identifier: MIT
"""The optimality conditions at given controls, in numbers and in sentences.

    report = fs.studies.certify(problem, result.controls)
    report.conclusion                                       "not optimal", "a local minimiser" or "not decided"
    report.certificate.maximum_principle_gap, report.verdict
    report.write("run")

    folder/certificate.json           see `learning.certificate.OptimalityCertificate`; the verdict; further trainings;
                                      the discretization errors of J, see `learning.discretization_error`
    folder/figures/certificate.png    Hamiltonian and gaps over depth, singular values of the kernels

Only a lower objective refutes: after the insertion of the Hamiltonian's minimisers, after a descent from there, or at
the end of a training from another start.  No condition at a local minimiser can show that it is the global one.  Use
`learning.assess_optimality` for the numbers alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from fem_selection.learning import LearningProblem, OptimalityCertificate
from fem_selection.learning.certificate import measure_conditions
from fem_selection.learning.discretization_error import DiscretizationEstimate, estimate_in_depth, estimate_in_width
from fem_selection.learning.insertion import NO_LOWER_HAMILTONIAN, NOT_OPTIMAL, UP_TO_GRADIENT, WITHIN_STEP
from fem_selection.learning.local_minimum import LOCAL_MINIMIZER, NO_LOCAL_MINIMIZER
from fem_selection.settings import CertificateSettings, OptimizerSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.studies.discretization import sentence_of, shown_difference, shown_error
from fem_selection.studies.further_trainings import (
    FurtherTraining,
    descend_from_insertions,
    train_from_random_starts,
)
from fem_selection.studies.report import Report
from fem_selection.typing import Floats, whole_number

__all__ = ["NOTABLE_DRIFT", "CertificateReport", "Conclusion", "certify"]

Conclusion = Literal["not optimal", "a local minimiser", "not decided"]

NOTABLE_DRIFT = 1e-2
"""Drift of H, relative to its largest value, above which the verdict names the place of its largest step."""

_CONDITIONS = {
    "": ("objective",),
    "variational": ("gradient_norm", "kkt_residual", "active_bounds"),
    "second order": ("local_minimum", "lowest_hessian_eigenvalue", "newton_distance"),
    "Pontryagin": (
        "maximum_principle",
        "maximum_principle_gap",
        "maximum_principle_nearest_gap",
        "maximum_principle_starts",
        "lowest_change",
        "gap_remainder",
        "hamiltonian_drift",
    ),
    "representer form": ("kernel_rank", "kernel_rank_bound"),
}
_ERRORS = {
    "objective": "objective_round_off",
    "gradient_norm": "gradient_round_off",
    "lowest_hessian_eigenvalue": "hessian_error",
    "maximum_principle_gap": "maximum_principle_round_off",
    "lowest_change": "objective_round_off",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class CertificateReport(Report):
    """The optimality conditions at given controls, with a verdict.

    Attributes:
        certificate: The numbers; a number is None if its condition does not apply, with the reason in `declined`.
        has_kink: Whether σ' jumps.
        times: The depth at which each control interval is sampled, shape (intervals,).
        step: Δt.
        descents: The ends of descents from inserted minimisers; empty if no gap was open.
        trainings: The ends of trainings from random starts; empty if none were asked for.
        discretization: The estimated discretization errors of J, in depth and in width.
    """

    certificate: OptimalityCertificate
    has_kink: bool
    times: Floats
    step: float
    descents: tuple[FurtherTraining, ...] = ()
    trainings: tuple[FurtherTraining, ...] = ()
    discretization: tuple[DiscretizationEstimate, ...] = ()

    file: ClassVar[str] = "certificate.json"

    @property
    def conclusion(self) -> Conclusion:
        """What all conditions together say: refuted by a lower objective, a local minimiser, or neither."""
        c = self.certificate
        if self.lowest_end is not None or c.maximum_principle == NOT_OPTIMAL or c.local_minimum == NO_LOCAL_MINIMIZER:
            return "not optimal"
        return "a local minimiser" if c.local_minimum == LOCAL_MINIMIZER else "not decided"

    @property
    def lowest_end(self) -> FurtherTraining | None:
        """The lowest end of descents and trainings, if it is lower than the control by more than its tolerances."""
        c = self.certificate
        ends = [end for end in (*self.descents, *self.trainings) if np.isfinite(end.objective)]
        lowest = min(ends, key=lambda end: end.objective, default=None)
        margin = c.objective_round_off + c.gradient_allowance
        return lowest if lowest is not None and lowest.objective < c.objective - margin else None

    @property
    def verdict(self) -> list[str]:
        """The findings as sentences, the conclusion first."""
        c = self.certificate
        return [
            self._concluded(),
            f"second order: {c.local_minimum}: {c.local_minimum_reason}",
            *_on_gap(c, self.step, self.has_kink),
            *_on_drift(c, self.step),
            *self._on_others(),
            *_on_rank(c),
            *(sentence_of(e) for e in self.discretization if e.error is not None),
        ]

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Condition, quantity, and value or the reason why it was declined, for a table."""
        rows, said = [], ""
        for condition, names in _CONDITIONS.items():
            for name in names:
                if name == "active_bounds" and self.certificate.active_bounds is None:
                    continue
                cell = self._cell(name)
                is_repeated = cell.startswith("declined") and cell == said
                said = cell
                label = condition if name is names[0] else ""
                rows.append((label, name.replace("_", " "), "declined likewise" if is_repeated else cell))
        for number, e in enumerate(self.discretization):
            label = "discretization" if number == 0 else ""
            rows += [(label, f"error in {e.parameter}", shown_error(e)), ("", "next level", shown_difference(e))]
        return rows

    def content(self) -> dict[str, Any]:
        """The certificate, the verdict, and the ends of further minimisations."""
        return {
            **asdict(self.certificate),
            "conclusion": self.conclusion,
            "verdict": self.verdict,
            "descents": [asdict(end) for end in self.descents],
            "trainings": [asdict(end) for end in self.trainings],
            "discretization": {e.parameter: e.content() for e in self.discretization},
        }

    def draw(self, folder: Path) -> None:
        """Draw Hamiltonian, gaps and singular values."""
        from fem_selection import plots

        c = self.certificate
        plots.draw(
            folder / "certificate.png",
            plots.plot_certificate,
            self.times,
            c.hamiltonian,
            c.maximum_principle_gaps,
            singular_values=c.kernel_singular_values,
            declined=c.declined,
        )

    def _cell(self, name: str) -> str:
        found = self.certificate
        value = getattr(found, name)
        if value is None:
            return f"declined: {found.declined[name]}" if name in found.declined else "not needed"
        error = getattr(found, _ERRORS[name]) if name in _ERRORS else None
        return _shown(value) if error is None else f"{_shown(value)} ± {error:.1g}"

    def _concluded(self) -> str:
        c, what = self.certificate, self.conclusion
        if what == "a local minimiser":
            return "a local minimiser; no condition at it can show that no other minimum is lower"
        if what == "not decided":
            return "not decided: see the conditions one by one"
        falls = []
        if (end := self.lowest_end) is not None:
            falls.append((c.objective - end.objective, f"{end.start} ends there"))
        if c.lowest_change is not None and -c.lowest_change > c.objective_round_off:
            falls.append((-c.lowest_change, f"inserted: {c.lowest_insertion}"))
        if not falls:
            return "not optimal: J falls nearby"
        fall, where = max(falls)
        return f"not optimal: J = {c.objective - fall:.8g} is reached, lower by {fall:.3g} ({where})"

    def _on_others(self) -> list[str]:
        said = []
        for what, ends in (("descents from the inserted minimisers", self.descents), ("trainings", self.trainings)):
            if not ends:
                continue
            margin = self.certificate.objective_round_off + self.certificate.gradient_allowance
            lower = [end for end in ends if end.objective < self.certificate.objective - margin]
            count = f"{len(lower)} of {len(ends)}" if lower else f"none of {len(ends)}"
            shown = ", ".join(f"{end.objective:.8g}" for end in ends)
            said.append(f"{what}: {count} ended lower than {self.certificate.objective:.8g}: {shown}")
        return said


def certify(
    problem: LearningProblem,
    controls: Floats,
    settings: CertificateSettings | None = None,
    *,
    seed: int = 0,
    optimizer: OptimizerSettings | None = None,
) -> CertificateReport:
    """Measure every optimality condition at given controls (collective).

    Args:
        problem: The learning problem, with the box under which the controls were found; its controls are overwritten.
        controls: Shard of x.
        settings: Starts of each minimisation of the Hamiltonian, insertions, descents and further trainings, and the
            tolerance of the Hessian's eigenvalue; `CertificateSettings()` if None.
        seed: Seed of the random starts.
        optimizer: Settings of the further trainings; `OptimizerSettings()` if None.

    Raises:
        InvalidInput: if the controls have another shape.
        NonFinite: if a state, the objective or its gradient is not finite.
    """
    settings, seed = settings_or_default(settings, CertificateSettings), whole_number(seed, "seed", 0)
    problem.require_samples()
    controls = problem.functional.control_space.to_shard(controls)
    found, insertions = measure_conditions(
        problem.scaled_functional, controls, problem.scaled_bounds, settings=settings, seed=seed
    )
    descents: list[FurtherTraining] = []
    if insertions is not None and _is_open(found) and settings.descent > 0:
        descents = descend_from_insertions(problem, insertions, settings.descent)
    trainings = train_from_random_starts(
        problem, optimizer or OptimizerSettings(), settings.starts_of_training, seed=seed
    )
    stepper = problem.functional.stepper
    report = CertificateReport(
        certificate=found,
        has_kink=stepper.activation.has_kink,
        times=np.array(stepper.grid.sample_times),
        step=stepper.grid.step,
        descents=tuple(descents),
        trainings=tuple(trainings),
        discretization=(estimate_in_depth(problem.functional, controls), estimate_in_width(problem, controls)),
    )
    problem.functional.set_controls(controls)
    return report


def _is_open(found: OptimalityCertificate) -> bool:
    """Whether other basins of the Hamiltonian lie lower, though no insertion has refuted the control."""
    gap, nearest = found.maximum_principle_gap, found.maximum_principle_nearest_gap
    round_off = found.maximum_principle_round_off
    if gap is None or nearest is None or round_off is None or found.maximum_principle == NOT_OPTIMAL:
        return False
    return gap - nearest > round_off + found.gradient_allowance


def _shown(value: float | int | str | list[int] | dict[str, float]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.3g}" for name, number in value.items())
    if isinstance(value, list):
        return f"{min(value)}–{max(value)} over {len(value)} intervals" if len(set(value)) > 1 else f"{value[0]}"
    return f"{value:d}" if isinstance(value, int) else f"{value:.6g}"


def _on_gap(found: OptimalityCertificate, step: float, has_kink: bool) -> list[str]:
    gap, gaps, verdict = found.maximum_principle_gap, found.maximum_principle_gaps, found.maximum_principle
    if verdict is None or gap is None or gaps is None:
        return []
    where = f"the largest gap is in layer {gaps.index(max(gaps))}"
    if verdict == NO_LOWER_HAMILTONIAN:
        said = (
            f"none of {found.maximum_principle_starts} starts found a lower Hamiltonian "
            f"(gap {gap:.2g}, of which round-off {found.maximum_principle_round_off:.1g} and the gradient's part "
            f"{found.maximum_principle_nearest_gap:.2g})"
        )
    else:
        assert found.lowest_change is not None
        open_gap = f"other controls lower the Hamiltonian, by {gap:.3g} in all; {where}"
        if verdict == NOT_OPTIMAL:
            fall = f"{-found.lowest_change:.3g} ± {found.objective_round_off:.1g}"
            said = f"not optimal: {open_gap}; inserted ({found.lowest_insertion}) they lower J by {fall}"
        elif verdict == UP_TO_GRADIENT:
            none = f"none of {found.maximum_principle_starts} starts found another lower Hamiltonian"
            said = (
                f"{verdict}: inserted minimisers ({found.lowest_insertion}) lower J by {-found.lowest_change:.2g}, of "
                f"the ‖∇J‖²/(2λ) = {found.gradient_allowance:.2g} that the gradient leaves; "
                f"{open_gap if _is_open(found) else none}"
            )
        else:
            why = f"and the principle holds up to O(Δt) only, Δt = {step:.3g}"
            if found.gap_remainder is not None:
                why = f"for their remainders, O(Δt) with Δt = {step:.3g}, sum up to {found.gap_remainder:.3g}"
            said = f"{WITHIN_STEP}: {open_gap}; but none of {found.insertions} insertions lowers J, {why}"
    kink = "σ has a kink, where the search may end early: the gap may be larger"
    return [f"Pontryagin: {said}", f"Pontryagin: {kink}"] if has_kink else [f"Pontryagin: {said}"]


def _on_drift(found: OptimalityCertificate, step: float) -> list[str]:
    if found.hamiltonian_drift is None or found.hamiltonian is None:
        return []
    scale = max(abs(h) for h in found.hamiltonian)
    share = found.hamiltonian_drift / scale if scale > 0 else 0.0
    jumps = [abs(after - before) for before, after in pairwise(found.hamiltonian)]
    steepest = jumps.index(max(jumps)) if jumps else 0
    where = f", most between layers {steepest} and {steepest + 1}" if share > NOTABLE_DRIFT else ""
    return [
        f"Pontryagin: the Hamiltonian varies over depth by {_percent(share)} of its largest value{where} "
        f"(an extremal's is constant up to O(Δt); Δt = {step:.3g})"
    ]


def _percent(share: float) -> str:
    """The share in percent; a small one, too, with two digits that count."""
    return f"{share:.2%}" if share >= 0.001 or share == 0 else f"{100 * share:.1e}%"


def _on_rank(found: OptimalityCertificate) -> list[str]:
    ranks, bound = found.kernel_rank, found.kernel_rank_bound
    if ranks is None or bound is None or max(ranks) <= bound:
        return []
    return [
        f"representer form: a kernel of rank {max(ranks)} is above the bound of stationary ones, "
        f"{bound}: the gradient is not small enough for the rank's tolerance of 1e-6"
    ]
