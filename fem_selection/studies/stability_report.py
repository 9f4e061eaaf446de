# SPDX-License-Identifier: MIT
"""The report of the study of a steady state's stability: its JSON form and its figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.steady import GrowthRun, LyapunovExponents, Spectrum, TransientGrowth, Verdict
from fem_selection.steady.stability.error_bars import ErrorBars
from fem_selection.studies.branches_report import BranchesReport
from fem_selection.studies.report import Report
from fem_selection.typing import Floats, Integers

__all__ = ["SHOWN", "StabilityReport", "as_pairs", "complex_in_words", "draw_exponents", "exponents_in_words"]

SHOWN = 8
"""Largest number of eigenvalues or exponents in a table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StabilityReport(Report):
    """The report of `stability`; `state` and the modes in `spectrum` are nodal values of this rank.

    Attributes:
        state: f*, shape (num_local,).
        residual: ‖σ(K f* + b)‖.
        rest: The largest residual at which a state counts as steady (see `dynamics.rest`); beyond it the verdict is
            withheld.
        spectrum: The spectrum of the linearization at f*.
        bars: The error bars of the leading eigenvalues and where they come from; None without a finer space.
        error_bars_declined: Why there are no error bars, or None.
        verdict: Kind, rate, and a sentence.
        growth: Perturbed runs for the leading eigenvalues that differ enough from zero; empty if a run blew up.
        growth_declined: The error if a run blew up, or None.
        abscissa: Numerical abscissa; nan if it was not found.
        abscissa_declined: Why it was not found, or None.
        transient: ‖e^{tA}‖ as a function of t; None for an operator without factors.
        exponents: Finite-time Lyapunov exponents along the trajectories of the first samples, or None.
        exponents_declined: Why there are no exponents although the settings ask for them, as if a trajectory blows up.
        branches: Branches and bifurcations in a parameter, or None.
        branches_declined: Why there are no branches although a family of equations was given.
        mesh: Coordinates of all nodes, shape (num_nodes, dimension), and the triangles between them, for figures.
        modes: The eigenfunctions at all nodes, complex, shape (num_nodes, k), for figures.
    """

    state: Floats
    residual: float
    rest: float
    spectrum: Spectrum
    bars: ErrorBars | None
    error_bars_declined: str | None
    verdict: Verdict
    growth: GrowthRun
    growth_declined: str | None
    abscissa: float
    abscissa_declined: str | None
    transient: TransientGrowth | None
    exponents: LyapunovExponents | None
    exponents_declined: str | None
    branches: BranchesReport | None
    branches_declined: str | None
    mesh: tuple[Floats, Integers | None] = dataclasses.field(repr=False)
    modes: np.ndarray = dataclasses.field(repr=False)

    @property
    def eigenvalues(self) -> np.ndarray:
        """The leading eigenvalues, complex: those that grow, then by modulus, or by real part with a local kernel."""
        return self.spectrum.leading

    @property
    def error_bars(self) -> Floats | None:
        """Error bars of the leading eigenvalues, shape (k,); None without a finer space."""
        return None if self.bars is None else self.bars.values

    @property
    def unstable_on_finer_space(self) -> int | None:
        """The number of eigenvalues that grow on the finer space; None without one."""
        return None if self.bars is None else self.bars.unstable_on_finer_space

    @property
    def unstable(self) -> int:
        """The number of known eigenvalues whose real part is positive beyond tolerance and uncertainty."""
        return self.spectrum.num_growing

    @property
    def growth_rate_measured(self) -> float | None:
        """The measured rate of the mode of largest real part; None if no run was made."""
        return float(self.growth.measured[0].real) if self.growth.predicted.size else None

    @property
    def growth_rate_predicted(self) -> float | None:
        """The real part of the eigenvalue of this mode; None if no run was made."""
        return float(self.growth.predicted[0].real) if self.growth.predicted.size else None

    @property
    def verdict_declined(self) -> str | None:
        """Why there is no verdict: the state is not steady; else None."""
        return self.verdict.sentence if self.verdict.kind == "not steady" else None

    @property
    def declined(self) -> dict[str, str]:
        """The reason for each part that was not computed although the arguments or settings ask for it."""
        reasons = {
            "error bars": self.error_bars_declined,
            "growth": self.growth_declined,
            "numerical abscissa": self.abscissa_declined,
            "exponents": self.exponents_declined,
            "bifurcations": self.branches_declined,
        }
        return {name: reason for name, reason in reasons.items() if reason is not None}

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Eigenvalue, error bar and rate in a run of the first eigenvalues, for a table."""
        s, runs = self.spectrum, dict(zip(self.growth.predicted.tolist(), self.growth.measured.real, strict=True))
        rows = []
        for k, value in enumerate(self.eigenvalues[:SHOWN].tolist()):
            doubt, name = s.uncertainties[s.shown[k]], complex_in_words(value)
            name = name if doubt <= 1e-3 * abs(value) else f"{name} (uncertain by {doubt:.1g})"
            bar = "" if self.error_bars is None else f"{self.error_bars[k]:.1e}"
            bar = "no counterpart" if bar == "inf" else bar
            rows.append((name, bar, f"{runs[value]:.6g}" if value in runs else ""))
        return rows

    @property
    def details(self) -> dict[str, str]:
        """Further findings by name, and what was declined."""
        s, transient, found = self.spectrum, self.transient, {"numerical abscissa": f"{self.abscissa:.6g}"}
        if transient is not None:
            largest = f"{transient.largest:.4g} at t = {transient.time:.4g}"
            law = self.verdict.growth
            if law is not None and law.law != "bounded":
                until = f"at most {law.largest:.4g} up to t = {law.until:.3g}"
                factor = f"{law.coefficient:.4g} " if np.isfinite(law.coefficient) else ""
                power = f"‖e^{{tA}}‖ ~ {factor}t^{law.power:.3g}"
                largest = {
                    "contraction": "none: ‖e^{tA}‖ ≤ 1",
                    "polynomial": f"without bound, {power}",
                    "subexponential": f"{until}, and still growing: log {power}",
                }.get(law.law, f"{until}; later is not decided")
            elif not transient.is_bounded:
                largest = "without bound" if self.verdict.kind == "unstable" else f"{largest}, and still growing"
            found["transient growth"] = largest
        if self.bars is not None:
            found["error bars"] = self.bars.sentence
        if s.essential is not None:
            found["essential spectrum"] = s.essential.name
        if s.sides is not None:
            found["rates by side"] = s.sides.name
        if s.unresolved:
            found["not resolved"] = f"what is nearer to 0 than {s.unresolved:.2g}"
        if s.method == "factors":
            difference = f"differs by {s.krylov_schur_difference:.1e}"
            found["Krylov–Schur"] = difference if s.krylov_schur.size else "does not converge"
        if self.exponents is not None:
            found["Lyapunov exponents"] = exponents_in_words(self.exponents)
        return found | {name: f"declined: {reason}" for name, reason in self.declined.items()}

    def content(self) -> dict[str, Any]:
        """The content of `report.json`."""
        s, growth, transient = self.spectrum, self.growth, self.transient
        return {
            "verdict": self.verdict.sentence,
            "kind": self.verdict.kind,
            "eigenvalues": as_pairs(s.leading),
            "error_bars": self.error_bars,
            "error_bars_from": None if self.bars is None else self.bars.sentence,
            "error_bars_declined": self.error_bars_declined,
            "residuals": s.residuals,
            "uncertainties": s.uncertainties[list(s.shown)],
            "unstable": self.unstable,
            "unstable_on_finer_space": self.unstable_on_finer_space,
            "growth_rate_measured": self.growth_rate_measured,
            "growth_rate_predicted": self.growth_rate_predicted,
            "growth_begins_at": "a random perturbation, projected on each mode by its left eigenfunction",
            "growth_declined": self.growth_declined,
            "growth": [
                {"eigenvalue": value, "measured": measured, "relative_error": error}
                for value, measured, error in zip(
                    as_pairs(growth.predicted), as_pairs(growth.measured), growth.relative_errors.tolist(), strict=True
                )
            ],
            "state_residual": self.residual,
            "state_residual_allowed": self.rest,
            "verdict_declined": self.verdict_declined,
            "method": s.method,
            "rates_by_side": None if s.sides is None else {"above": s.sides.above, "below": s.sides.below},
            "essential_spectrum": None if s.essential is None else dataclasses.asdict(s.essential),
            "norm": s.norm,
            "nodes": s.num_nodes,
            "rank": s.rank,
            "rank_of_square": s.rank_of_square,
            "tolerance": s.tolerance,
            "krylov_schur": as_pairs(s.krylov_schur),
            "krylov_schur_difference": s.krylov_schur_difference,
            "numerical_abscissa": self.abscissa,
            "numerical_abscissa_declined": self.abscissa_declined,
            "transient_growth": None
            if transient is None
            else {"largest": transient.largest, "time": transient.time, "is_bounded": transient.is_bounded},
            "growth_law": None if self.verdict.growth is None else dataclasses.asdict(self.verdict.growth),
            "exponents": None if self.exponents is None else dataclasses.asdict(self.exponents),
            "exponents_declined": self.exponents_declined,
            **({} if self.branches is None else self.branches.content()),
            "bifurcations_declined": self.branches_declined,
        }

    def write_file(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the JSON file, and the states of branches beside it.  See `Report.write_file`.

        Args:
            path: The JSON file; an existing one is replaced.
            about: Further entries of the JSON file.
        """
        super().write_file(path, about)
        if self.branches is not None:
            self.branches.write_states(path.parent / "branches.npz")

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:
        """Write the states of branches for ParaView (collective).  See `Report.write_fields`."""
        if self.branches is not None:
            self.branches.write_fields(folder, space, comm)

    def draw(self, folder: Path) -> None:
        """Draw spectrum, eigenfunctions, growth, exponents and the bifurcation diagram, if computed."""
        from fem_selection import plots

        s, t, g = self.spectrum, self.transient, self.growth
        has_kernel = s.rank is not None and s.rank < s.num_nodes
        plots.draw(
            folder / "spectrum.png",
            plots.plot_spectrum,
            s.values,
            s.leading,
            self.error_bars,
            abscissa=self.abscissa,
            has_kernel=has_kernel,
        )
        if s.leading.size:
            plots.draw(
                folder / "eigenfunctions.png",
                plots.plot_eigenfunctions,
                self.mesh[0],
                self.modes,
                s.leading,
                triangles=self.mesh[1],
            )
        if g.predicted.size:
            transient = (
                {} if t is None or len(t.times) < 2 else {"transient_times": t.times[1:], "transient": t.norms[1:]}
            )
            plots.draw(folder / "growth.png", plots.plot_growth, g.times, g.amplitudes, g.predicted, **transient)
        if self.exponents is not None:
            draw_exponents(folder, self.exponents)
        if self.branches is not None:
            self.branches.draw(folder)


def complex_in_words(value: complex, digits: int = 6) -> str:
    """A complex number as text.

    Args:
        value: The number.
        digits: Significant digits of its parts.
    """
    re, im = value.real, value.imag
    return f"{re:.{digits}g}" + (f" {'+' if im > 0 else '−'} {abs(im):.{digits}g} i" if im else "")


def as_pairs(values: np.ndarray) -> list[list[float]]:
    """Complex numbers as [re, im], for JSON."""
    return [[float(v.real), float(v.imag)] for v in values]


def exponents_in_words(exponents: LyapunovExponents) -> str:
    """The largest of the samples' leading exponents, the error of the layers, and the layers."""
    leading = ", ".join(f"{value:.6g}" for value in exponents.state.max(axis=0)[:SHOWN])
    error = f" ± {exponents.error:.1e}" if exponents.error else ""
    return f"{leading}{error} (along the samples' trajectories, {exponents.layers} layers of {exponents.scheme})"


def draw_exponents(folder: Path, exponents: LyapunovExponents) -> None:
    """Draw `exponents.png`; if an exponent is not finite, draw nothing.

    Args:
        folder: An existing folder.
        exponents: The exponents of state and adjoint.
    """
    from fem_selection import plots

    if np.all(np.isfinite(exponents.state)) and np.all(np.isfinite(exponents.adjoint)):
        plots.draw(
            folder / "exponents.png", plots.plot_exponents, exponents.state, exponents.adjoint, exponents.horizon
        )
