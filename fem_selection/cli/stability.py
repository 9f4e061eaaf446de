# SPDX-License-Identifier: MIT
"""`fem-selection stability`: the stability of a case's steady state and its branch, or of a trained network.

`studies.state_stability`, `studies.continuation` and `studies.depth_stability` describe what is computed and written.
Without --output the report of a case goes to a new folder, and that of a run to the folder `stability` in the run's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fem_selection.cli.frame import Frame
from fem_selection.errors import InvalidInput
from fem_selection.signals import end_on_signals

if TYPE_CHECKING:
    from fem_selection.studies.continuation import BranchesReport
    from fem_selection.studies.depth_stability import NetworkStabilityReport
    from fem_selection.studies.stability_report import StabilityReport

__all__ = ["stability_command"]

_SHOWN = 8  # largest number of rows of a table
_KEY = "stability.state"


def stability_command(path: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Assess a case file or the folder of a run, write the report, print tables and return the exit status.

    Args:
        path: A case file, or the folder of a run.
        output: The folder of the report; None for the default (see the module).
        settings: Overrides `KEY=VALUE`.

    Raises:
        InvalidInput: if case, run or folder cannot be used (`ConfigError` with all faults of the case), or if the
            equation has no steady state near `stability.state`.
    """
    frame = Frame("stability")
    return _assess_run(frame, path, output, settings) if path.is_dir() else _assess_case(frame, path, output, settings)


def _assess_case(frame: Frame, path: Path, output: Path | None, settings: Sequence[str]) -> int:
    case = frame.read(path, settings)
    from fem_selection.cases.field import build_field
    from fem_selection.cases.kernel import at_key
    from fem_selection.cases.stability import depth_of, family_of, finer_start, start_state, why_not_finer
    from fem_selection.dynamics import find_scheme
    from fem_selection.studies.continuation import NoBranch
    from fem_selection.studies.state_stability import find_state, stability

    end_on_signals()
    problem = build_field(case)
    if not problem.field.is_autonomous:
        raise InvalidInput("dynamics.kernel, dynamics.bias: steady states need an equation that does not depend on t")
    start = start_state(problem)
    with at_key(_KEY):
        state = find_state(problem.field, start, name=repr(case.stability.state))
    frame.claim(output)
    try:
        report = stability(
            problem.field,
            start,
            case.stability,
            state=state,
            finer=lambda: finer_start(problem),
            finer_declined=why_not_finer(problem),
            initial=problem.initial,
            depth=depth_of(problem),
            scheme=find_scheme(case.dynamics.scheme),
            family=family_of(problem),
        )
    except NoBranch as error:
        raise InvalidInput(f"{_KEY}: {error}") from error
    _print_state(frame, report, frame.write(report))
    return 0


def _assess_run(frame: Frame, run: Path, output: Path | None, settings: Sequence[str]) -> int:
    problem, controls = frame.read_run(run, settings)
    from fem_selection.studies.depth_stability import network_stability

    frame.claim(output or run / "stability", announced=False)
    report = network_stability(problem, controls, frame.case.stability)
    _print_network(frame, report, frame.write(report, run=str(run)))
    return 0


# ── what is printed ───────────────────────────────────────────────────────────────────────────────────────────────────


def _complex(value: complex, digits: int = 6) -> str:
    re, im = value.real, value.imag
    return f"{re:.{digits}g}" + (f" {'+' if im > 0 else '−'} {abs(im):.{digits}g} i" if im else "")


def _print_state(frame: Frame, report: StabilityReport, path: Path) -> None:
    spectrum, growth = report.spectrum, report.growth
    runs = dict(zip(growth.predicted.tolist(), growth.measured.real, strict=True))
    rows = []
    for k, value in enumerate(report.eigenvalues[:_SHOWN].tolist()):
        doubt = spectrum.uncertainties[spectrum.shown[k]]
        name = _complex(value) if doubt <= 1e-3 * abs(value) else f"{_complex(value)} (uncertain by {doubt:.1g})"
        bar = "" if report.error_bars is None else f"{report.error_bars[k]:.1e}"
        rows.append((name, bar, f"{runs[value]:.6g}" if value in runs else ""))
    frame.table(("eigenvalue", "error bar", "rate in a run"), rows)
    frame.say(report.verdict.sentence)
    declined = {name: f"declined: {reason}" for name, reason in report.declined.items()}
    abscissa = {"numerical abscissa": f"{report.abscissa:.6g}"}
    frame.rows({**abscissa, **_optional_rows(report), **declined, "report": str(path)})
    if report.branches is not None:
        _print_bifurcations(frame, report.branches)


def _optional_rows(report: StabilityReport) -> dict[str, str]:
    """The rows of a table that only an operator with factors has."""
    rows, transient, spectrum = {}, report.transient, report.spectrum
    if transient is not None:
        largest = f"{transient.largest:.4g} at t = {transient.time:.4g}"
        if not transient.is_bounded:
            largest = "without bound" if report.verdict.kind == "unstable" else f"{largest}, and still growing"
        rows["transient growth"] = largest
    if spectrum.method == "factors":
        difference = f"differs by {spectrum.krylov_schur_difference:.1e}"
        rows["Krylov–Schur"] = difference if spectrum.krylov_schur.size else "does not converge"
    return rows


def _print_bifurcations(frame: Frame, report: BranchesReport) -> None:
    for number, found in enumerate(report.bifurcations):
        more = [found.criticality] if found.criticality else []
        if number in report.cycles:
            exponent = report.cycles[number].exponent
            shown = f"amplitude exponent {exponent:.3f}" if np.isfinite(exponent) else "no cycles found beside it"
            more.append(f"frequency {found.frequency:.6g}, {shown}")
        frame.say(f"{found.kind} at {report.parameter} = {found.parameter:.9g}  {' '.join(more)}")


def _print_network(frame: Frame, report: NetworkStabilityReport, path: Path) -> None:
    rows = [
        (
            str(layer.interval),
            f"{layer.time:.3g}",
            layer.at,
            f"{layer.distance:.3g}",
            _complex(layer.spectrum.leading[0], 4) if layer.spectrum.leading.size else "0",
            layer.verdict.kind,
        )
        for layer in report.layers
    ]
    frame.table(("interval", "t", "linearized", "distance", "leading eigenvalue", "frozen equation"), rows)
    frame.say(report.sentence)
    largest = report.exponents.state.max(axis=0)
    exponents = ", ".join(f"{value:.4g}" for value in largest[:_SHOWN])
    frame.rows({"Lyapunov exponents": exponents, "report": str(path)})
