# SPDX-License-Identifier: MIT
"""`fem-selection stability`: of a case's steady state and its branch, or of a trained network.

DIR/report.json                verdict, eigenvalues, measured growth, exponents, bifurcations
DIR/figures/spectrum.png       eigenvalues in the complex plane; eigenfunctions.png; growth.png, runs beside e^{λt}
DIR/figures/bifurcations.png   branches over the parameter; exponents.png, finite-time Lyapunov exponents

Without --output a case gets a fresh folder, and the folder of a run a folder `stability` in it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fem_selection.cli.common import claim_report_folder, end_on_signals, load_case_everywhere, on_root
from fem_selection.errors import InvalidInput
from fem_selection.io.runs import write_json

if TYPE_CHECKING:
    from fem_selection.steady import LyapunovExponents
    from fem_selection.studies.network_stability import NetworkStability
    from fem_selection.studies.state_stability import Continuation, StateStability

__all__ = ["stability_command"]

_SHOWN = 8  # rows of a table


def stability_command(path: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Assess a case file or the folder of a run, write, print, and return the exit status."""
    if path.is_dir():
        return _assess_run(path, output, settings)
    return _assess_case(path, output, settings)


def _assess_case(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    console, began = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False), time.monotonic()
    case = load_case_everywhere(case_file, settings)
    from fem_selection.cases.field import build_field
    from fem_selection.cli.stability_figures import draw_state
    from fem_selection.io.triangles import gather_triangles
    from fem_selection.steady import TooManyCoordinates
    from fem_selection.studies.state_stability import assess_state, continue_case, find_state
    from fem_selection.versions import versions

    end_on_signals()
    problem = build_field(case)
    state, residual = find_state(problem)
    folder = on_root(lambda: claim_report_folder("stability", output, Path(case.output.directory)))
    console.print(f"[bold]{escape(case.title or case_file.stem)}[/bold] → {escape(str(folder))}")
    found = assess_state(problem, state, residual)
    branch, branch_declined = None, None
    try:
        branch = continue_case(problem)
    except TooManyCoordinates as error:
        branch_declined = str(error)
    report = {
        "command": "stability",
        "title": case.title,
        **_state_report(found),
        **_continuation_report(branch),
        "bifurcations_declined": branch_declined,
        "seconds": time.monotonic() - began,
        "ranks": MPI.COMM_WORLD.size,
        "versions": versions(),
        "case": dataclasses.asdict(case),
    }
    space = problem.space
    mesh = space.gather(space.coordinates), gather_triangles(space)
    modes = space.gather(np.asfortranarray(np.hstack([found.spectrum.modes.real, found.spectrum.modes.imag])))

    def write() -> None:
        write_json(folder / "report.json", report)
        if case.output.figures:
            draw_state(folder / "figures", found, branch, mesh, modes)

    on_root(write)
    _print_state(console, report, folder)
    return 0


def _assess_run(run: Path, output: Path | None, settings: Sequence[str]) -> int:
    console, began = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False), time.monotonic()
    if not (run / "case.toml").exists():
        raise InvalidInput(f"{run} holds no run: there is no case.toml in it")
    case = load_case_everywhere(run / "case.toml", settings)
    from fem_selection.cases.learning import build_problem
    from fem_selection.cases.saved import load_controls
    from fem_selection.cli.stability_figures import draw_network
    from fem_selection.studies.network_stability import assess_network
    from fem_selection.versions import versions

    end_on_signals()
    problem = build_problem(case)
    controls = load_controls(problem, case, run)
    folder = on_root(lambda: claim_report_folder("stability", output or run / "stability", run))
    found = assess_network(problem, controls, case.stability)
    report = {
        "command": "stability",
        "title": case.title,
        "run": str(run),
        **_network_report(found),
        "seconds": time.monotonic() - began,
        "ranks": MPI.COMM_WORLD.size,
        "versions": versions(),
        "case": dataclasses.asdict(case),
    }

    def write() -> None:
        write_json(folder / "report.json", report)
        if case.output.figures:
            draw_network(folder / "figures", found)

    on_root(write)
    _print_network(console, report, folder)
    return 0


# ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pairs(values: Any) -> list[list[float]]:
    """Complex numbers as [re, im]."""
    return [[float(v.real), float(v.imag)] for v in values]


def _state_report(found: StateStability) -> dict[str, Any]:
    s, growth = found.spectrum, found.growth
    return {
        "verdict": found.verdict.sentence,
        "kind": found.verdict.kind,
        "eigenvalues": _pairs(s.leading),
        "error_bars": found.error_bars,
        "error_bars_declined": found.error_bars_declined,
        "residuals": s.residuals,
        "uncertainties": s.uncertainties[list(s.shown)],
        "unstable": int(np.sum(s.values.real > np.maximum(s.tolerance * s.norm, s.uncertainties))),
        "unstable_on_finer_space": found.unstable_on_finer_space,
        "growth_rate_measured": found.growth_rate_measured,
        "growth_rate_predicted": found.growth_rate_predicted,
        "growth_declined": found.growth_declined,
        "growth": [
            {"eigenvalue": value, "measured": measured, "relative_error": error}
            for value, measured, error in zip(
                _pairs(growth.predicted), _pairs(growth.measured), growth.relative_errors, strict=True
            )
        ],
        "state_residual": found.residual,
        "method": s.method,
        "norm": s.norm,
        "nodes": s.num_nodes,
        "rank": s.rank,
        "rank_of_square": s.rank_of_square,
        "tolerance": s.tolerance,
        "krylov_schur": _pairs(s.krylov_schur),
        "krylov_schur_difference": s.krylov_schur_difference,
        "numerical_abscissa": found.abscissa,
        "transient_growth": None if found.transient is None else _transient(found),
        "exponents": _exponents_report(found.exponents),
        "exponents_declined": found.exponents_declined,
    }


def _transient(found: StateStability) -> dict[str, Any]:
    assert found.transient is not None
    t = found.transient
    return {"largest": t.largest, "time": t.time, "is_bounded": t.is_bounded}


def _exponents_report(exponents: LyapunovExponents | None) -> dict[str, Any] | None:
    if exponents is None:
        return None
    return {
        "state": exponents.state,
        "adjoint": exponents.adjoint,
        "horizon": exponents.horizon,
        "change": exponents.change,
        "sweeps": exponents.sweeps,
    }


def _continuation_report(branch: Continuation | None) -> dict[str, Any]:
    if branch is None:
        return {}
    diagram = branch.diagram
    bifurcations = []
    for number, found in enumerate(diagram.bifurcations):
        entry: dict[str, Any] = {
            "kind": found.kind,
            "parameter": branch.parameter,
            "value": found.parameter,
            "branch": diagram.branch_of[number],
            "unstable": list(found.unstable),
        }
        if found.criticality:
            entry["criticality"] = found.criticality
        if number in branch.cycles:
            cycles = branch.cycles[number]
            entry["frequency"] = found.frequency
            entry["cycles"] = {
                "parameters": cycles.parameters,
                "amplitudes": cycles.amplitudes,
                "exponent": cycles.exponent,
            }
        bifurcations.append(entry)
    branches = [
        {
            "parent": b.parent,
            "ending": b.ending,
            "parameter": [p.parameter for p in b.points],
            "unstable": [p.unstable for p in b.points],
            "norm": [float(np.linalg.norm(p.coordinates)) for p in b.points],
            "largest_residual": max(p.drift for p in b.points),
        }
        for b in diagram.branches
    ]
    return {"bifurcations": bifurcations, "branches": branches}


def _network_report(found: NetworkStability) -> dict[str, Any]:
    layers = [
        {
            "interval": layer.interval,
            "time": layer.time,
            "at": layer.at,
            "label": "at its frozen steady state" if layer.at == "steady" else "at the mean state, not steady",
            "residual": layer.residual,
            "distance_from_mean": layer.distance,
            "kind": layer.verdict.kind,
            "verdict": layer.verdict.sentence,
            "eigenvalues": _pairs(layer.spectrum.leading),
            "norm": layer.spectrum.norm,
            "rank": layer.spectrum.rank,
        }
        for layer in found.layers
    ]
    firsts = [layer.spectrum.leading[:1] for layer in found.layers]
    return {
        "verdict": found.sentence,
        "eigenvalues": _pairs(np.concatenate(firsts)),
        "layers": layers,
        "exponents": _exponents_report(found.exponents),
        "amplification": found.exponents.amplification,
    }


# ── what is printed ───────────────────────────────────────────────────────────────────────────────────────────────────


def _complex(value: Sequence[float], digits: int = 6) -> str:
    re, im = value
    return f"{re:.{digits}g}" + (f" {'+' if im > 0 else '−'} {abs(im):.{digits}g} i" if im else "")


def _print_state(console: Console, report: Mapping[str, Any], folder: Path) -> None:
    table = Table("eigenvalue", "error bar", "rate in a run")
    runs = {tuple(run["eigenvalue"]): run["measured"][0] for run in report["growth"]}
    for k, value in enumerate(report["eigenvalues"][:_SHOWN]):
        bar = "" if report["error_bars"] is None else f"{report['error_bars'][k]:.1e}"
        measured = runs.get(tuple(value))
        doubt = report["uncertainties"][k]
        sure = doubt <= 1e-3 * abs(complex(*value))
        name = _complex(value) if sure else f"{_complex(value)} (uncertain by {doubt:.1g})"
        table.add_row(name, bar, "" if measured is None else f"{measured:.6g}")
    console.print(table)
    console.print(escape(report["verdict"]))
    transient = report["transient_growth"]
    largest = "" if transient is None else f"{transient['largest']:.4g} at t = {transient['time']:.4g}"
    if transient is not None and not transient["is_bounded"]:
        largest = "without bound" if report["kind"] == "unstable" else f"{largest}, and still growing"
    rows = {
        "numerical abscissa": f"{report['numerical_abscissa']:.6g}",
        "transient growth": largest,
        "Krylov–Schur": f"differs by {report['krylov_schur_difference']:.1e}",
        **{
            name.replace("_", " "): f"declined: {report[f'{name}_declined']}"
            for name in ("error_bars", "growth", "exponents", "bifurcations")
            if report[f"{name}_declined"] is not None
        },
        "report": str(folder / "report.json"),
    }
    if transient is None:
        del rows["transient growth"]
    if report["method"] != "factors":
        del rows["Krylov–Schur"]
    elif not report["krylov_schur"]:
        rows["Krylov–Schur"] = "does not converge"
    _print_rows(console, rows)
    for found in report.get("bifurcations", []):
        more = [found[key] for key in ("criticality",) if key in found]
        if "cycles" in found:
            exponent = found["cycles"]["exponent"]
            shown = f"amplitude exponent {exponent:.3f}" if np.isfinite(exponent) else "no cycles found beside it"
            more.append(f"frequency {found['frequency']:.6g}, {shown}")
        console.print(escape(f"{found['kind']} at {found['parameter']} = {found['value']:.9g}  {' '.join(more)}"))


def _print_network(console: Console, report: Mapping[str, Any], folder: Path) -> None:
    table = Table("interval", "t", "linearized", "distance", "leading eigenvalue", "frozen equation")
    for layer in report["layers"]:
        leading = layer["eigenvalues"][:1]
        table.add_row(
            str(layer["interval"]),
            f"{layer['time']:.3g}",
            layer["at"],
            f"{layer['distance_from_mean']:.3g}",
            _complex(leading[0], 4) if leading else "0",
            layer["kind"],
        )
    console.print(table)
    console.print(escape(report["verdict"]))
    largest = np.array(report["exponents"]["state"]).max(axis=0)
    rows = {
        "Lyapunov exponents": ", ".join(f"{value:.4g}" for value in largest[:_SHOWN]),
        "report": str(folder / "report.json"),
    }
    _print_rows(console, rows)


def _print_rows(console: Console, rows: Mapping[str, str]) -> None:
    summary = Table(show_header=False, box=None, pad_edge=False)
    for name, text in rows.items():
        summary.add_row(name, escape(text))
    console.print(summary)
