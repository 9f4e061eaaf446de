# SPDX-License-Identifier: MIT
"""The optimality conditions at given controls, in numbers and in sentences.

    report = fs.studies.certify(problem, result.controls)
    report.certificate.maximum_principle_gap, report.verdict
    report.write("run")

    folder/certificate.json           see `learning.certificate.OptimalityCertificate`; the verdict
    folder/figures/certificate.png    Hamiltonian and gaps over depth, singular values of the kernels

Use `learning.assess_optimality` for the numbers alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fem_selection.learning import LearningProblem, OptimalityCertificate, assess_optimality
from fem_selection.settings import CertificateSettings
from fem_selection.studies.report import Report
from fem_selection.typing import Floats

__all__ = ["LARGE_GAP", "NOTABLE_DRIFT", "CertificateReport", "certify"]

LARGE_GAP = 1e-3
"""Gap, relative to the objective, above which the verdict says that the control does not minimise its Hamiltonian."""
NOTABLE_DRIFT = 1e-2
"""Drift of H, relative to its largest value, above which the verdict names the place of its largest step."""

_CONDITIONS = {
    "": ("objective",),
    "variational": ("gradient_norm", "kkt_residual"),
    "second order": ("lowest_hessian_eigenvalue",),
    "Pontryagin": ("maximum_principle_gap", "maximum_principle_starts", "hamiltonian_drift"),
    "representer form": ("kernel_rank", "kernel_rank_bound"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class CertificateReport(Report):
    """The optimality conditions at given controls, with a verdict.

    Attributes:
        certificate: The numbers; a number is None if its condition does not apply, with the reason in `declined`.
        has_kink: Whether σ' jumps.
        times: The depth at which each control interval is sampled, shape (intervals,).
    """

    certificate: OptimalityCertificate
    has_kink: bool
    times: Floats

    file: ClassVar[str] = "certificate.json"

    @property
    def verdict(self) -> list[str]:
        """The findings as sentences."""
        c = self.certificate
        return [*_on_curvature(c), *_on_gap(c, self.has_kink), *_on_drift(c), *_on_rank(c)]

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Condition, quantity, and value or the reason why it was declined, for a table."""
        found = self.certificate
        return [
            (
                condition if name is names[0] else "",
                name.replace("_", " "),
                f"declined: {found.declined[name]}" if (value := getattr(found, name)) is None else _shown(value),
            )
            for condition, names in _CONDITIONS.items()
            for name in names
        ]

    def content(self) -> dict[str, Any]:
        """The certificate and the verdict."""
        return {**asdict(self.certificate), "verdict": self.verdict}

    def draw(self, folder: Path) -> None:
        """Draw Hamiltonian, gaps and singular values."""
        from fem_selection import plots

        c = self.certificate
        figure = plots.plot_certificate(
            self.times,
            c.hamiltonian,
            c.maximum_principle_gaps,
            singular_values=c.kernel_singular_values,
            declined=c.declined,
        )
        plots.save(figure, folder / "certificate.png")


def certify(
    problem: LearningProblem,
    controls: Floats,
    settings: CertificateSettings | None = None,
    *,
    seed: int = 0,
) -> CertificateReport:
    """Measure every optimality condition at given controls (collective).

    Args:
        problem: The learning problem, with the box under which the controls were found; its controls are overwritten.
        controls: Shard of x.
        settings: Starts of each minimisation of the Hamiltonian, and the tolerance of the Hessian's eigenvalue;
            `CertificateSettings()` if None.
        seed: Seed of the random starts.

    Raises:
        InvalidInput: if the controls have another shape.
        NonFinite: if a state, the objective or its gradient is not finite.
    """
    problem.functional.control_space.require_controls(controls)
    found = assess_optimality(problem.scaled_functional, controls, problem.scaled_bounds, settings=settings, seed=seed)
    stepper = problem.functional.stepper
    return CertificateReport(
        certificate=found, has_kink=stepper.activation.has_kink, times=np.array(stepper.grid.sample_times)
    )


def _shown(value: float | int | list[int]) -> str:
    if isinstance(value, list):
        return f"{min(value)}–{max(value)} over {len(value)} intervals" if len(set(value)) > 1 else f"{value[0]}"
    return f"{value:d}" if isinstance(value, int) else f"{value:.6g}"


def _on_curvature(found: OptimalityCertificate) -> list[str]:
    if (lowest := found.lowest_hessian_eigenvalue) is None:
        return []
    kind = "a strict local minimiser, if it is stationary" if lowest > 0 else "no strict local minimiser"
    return [f"second order: the lowest eigenvalue is {lowest:.3g}: {kind}"]


def _on_gap(found: OptimalityCertificate, has_kink: bool) -> list[str]:
    gap, gaps = found.maximum_principle_gap, found.maximum_principle_gaps
    if gap is None or gaps is None:
        return []
    if gap > LARGE_GAP * abs(found.objective):
        said = (
            f"Pontryagin: not optimal: other controls lower the Hamiltonian, by {gap:.3g} in all; "
            f"the largest gap is in layer {gaps.index(max(gaps))}"
        )
    else:
        said = f"Pontryagin: none of {found.maximum_principle_starts} starts found a lower Hamiltonian"
    kink = "σ has a kink, where the search may end early and J'' does not exist: both say less than elsewhere"
    return [said, kink] if has_kink else [said]


def _on_drift(found: OptimalityCertificate) -> list[str]:
    if found.hamiltonian_drift is None or found.hamiltonian is None:
        return []
    scale = max(abs(h) for h in found.hamiltonian)
    share = found.hamiltonian_drift / scale if scale > 0 else 0.0
    jumps = [abs(after - before) for before, after in pairwise(found.hamiltonian)]
    steepest = jumps.index(max(jumps)) if jumps else 0
    where = f", most between layers {steepest} and {steepest + 1}," if share > NOTABLE_DRIFT else ""
    return [
        f"Pontryagin: the Hamiltonian varies over depth by {share:.2%} of its largest value{where} "
        "(an extremal's is constant up to O(Δt))"
    ]


def _on_rank(found: OptimalityCertificate) -> list[str]:
    ranks, bound = found.kernel_rank, found.kernel_rank_bound
    if ranks is None or bound is None or max(ranks) <= bound:
        return []
    return [
        f"representer form: a kernel of rank {max(ranks)} is above the bound of stationary ones, "
        f"{bound}: the gradient is not small enough for the rank's tolerance of 1e-6"
    ]
