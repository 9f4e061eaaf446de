# SPDX-License-Identifier: MIT
"""`fem-selection steady`: the steady states of a case, whether there are any, and which of them the dynamics select.

DIR/report.json                 everything that was found
DIR/figures/steady_states.png   the states; picard.png, the singular values; approach.png, the way to the limit
DIR/steady.bp                   the states for ParaView (steady.xdmf without ADIOS2)
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fem_selection.cli.common import claim_report_folder, counted, end_on_signals, load_case_everywhere, on_root
from fem_selection.io.runs import write_json
from fem_selection.typing import Block, Floats, Integers

if TYPE_CHECKING:
    from fem_selection.cases.field import FieldProblem
    from fem_selection.steady import SteadyAnalysis

__all__ = ["steady_command"]

_SAMPLES_SHOWN = 5
_VALUES_SHOWN = 20


def steady_command(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Analyse, write the folder, print a table and return the exit status."""
    console = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False)
    began = time.monotonic()
    case = load_case_everywhere(case_file, settings)
    from fem_selection.cases.field import build_field
    from fem_selection.steady import analyse_steady_states
    from fem_selection.versions import versions

    end_on_signals()
    problem = build_field(case)
    folder = on_root(lambda: claim_report_folder("steady", output, Path(case.output.directory)))
    console.print(f"[bold]{escape(case.title or case_file.stem)}[/bold] → {escape(str(folder))}")
    found = analyse_steady_states(problem.field, problem.initial, case.steady, case.seed)
    report = {
        "command": "steady",
        "title": case.title,
        **_findings(problem, found),
        "seconds": time.monotonic() - began,
        "ranks": problem.ensemble.world.size,
        "versions": versions(),
        "case": dataclasses.asdict(case),
    }
    _write(problem, folder, found, report)
    _print(console, report, folder)
    return 0


def _findings(problem: FieldProblem, found: SteadyAnalysis) -> dict[str, Any]:
    """The report's numbers (collective)."""
    space, zeros, kernel, picard = problem.space, found.zeros, found.kernel, found.picard
    report: dict[str, Any] = {
        "verdict": found.verdict,
        "residual": max(found.residuals, default=None),
        "time": found.limit.time,
        "picard_ratios": None if picard is None else picard.ratios,
        "zeros": {
            "text": str(zeros),
            "kind": zeros.kind,
            "points": zeros.points,
            "slopes": zeros.slopes,
            "segments": [[a if np.isfinite(a) else None for a in s] for s in zeros.segments],
        },
        "kernel": {
            "singular_values": kernel.values,
            "numerical_rank": kernel.rank,
            "rank_is_complete": kernel.is_complete,
            "tolerance": kernel.tolerance,
            "null_space_dimension": kernel.nullity,
            "nodes": space.num_nodes,
        },
        "picard": None,
        "declined": found.declined,
    }
    if picard is not None:
        report["picard"] = {
            "equation": f"K f = {found.level:.10g} - b",
            "verdict": picard.verdict,
            "holds": picard.holds,
            "decay": picard.decay,
            "coefficients": picard.coefficients,
            "right_hand_side_norm": picard.norm,
            "outside": picard.outside,
            "minimal_norm": picard.solution_norm,
            "residual": picard.residual,
        }
    report["states"] = _states(problem, found)
    report["limits"] = _limits(problem, found)
    return report


def _states(problem: FieldProblem, found: SteadyAnalysis) -> list[dict[str, Any]]:
    """One entry for each steady state by Newton's method (collective)."""
    comm, states = problem.space.comm, []
    for equilibrium, residual, sensitivity in zip(found.equilibria, found.residuals, found.sensitivities, strict=False):
        g = equilibrium.preactivation
        states.append(
            {
                "residual": residual,
                "residuals": equilibrium.newton.residuals,
                "preactivation_range": [comm.allreduce(g.min(), op=MPI.MIN), comm.allreduce(g.max(), op=MPI.MAX)],
                "norm": float(problem.space.norm(equilibrium.state[:, None])[0]),
                "start": equilibrium.start,
                "distance_from_start": equilibrium.newton.distance,
                "kind": equilibrium.kind,
                "isolated": equilibrium.is_isolated,
                "null_space_dimension": equilibrium.jacobian.nullity,
                "nearest_eigenvalue": equilibrium.nearest,
                "singular_values": equilibrium.jacobian.values[:_VALUES_SHOWN],
                "sensitivity_to_constant_bias": sensitivity,
            }
        )
    return states


def _limits(problem: FieldProblem, found: SteadyAnalysis) -> list[dict[str, Any]]:
    """One entry for each initial state (collective)."""
    space, limit = problem.space, found.limit
    from_start = space.norm(np.asfortranarray(limit.states - problem.initial))
    norms = space.norm(limit.states)
    entries = []
    for j, outcome in enumerate(limit.outcomes):
        entry: dict[str, Any] = {
            "outcome": outcome,
            "reason": limit.reasons[j],
            "time": limit.times[j],
            "rate": limit.rates[j],
            "growth_rate": limit.growth_rates[j],
            "norm": norms[j],
            "distance_from_initial": from_start[j],
        }
        if outcome == "steady" and found.equilibria:
            patterns = np.column_stack([e.preactivation for e in found.equilibria])
            here = problem.field.preactivation(np.asfortranarray(limit.states[:, j : j + 1]))
            away = space.norm(np.asfortranarray(patterns - here))
            entry |= {"nearest_state": int(np.argmin(away)), "preactivation_distance": float(np.min(away))}
        if j < len(found.projections):
            projection = found.projections[j]
            entry["projection"] = {f.name: getattr(projection, f.name) for f in dataclasses.fields(projection)}
            del entry["projection"]["state"]
            if outcome == "steady" and projection.exists:
                between = np.asfortranarray((limit.states[:, j] - projection.state)[:, None])
                entry["distance_from_projection"] = float(space.norm(between)[0])
        entries.append(entry)
    return entries


def _shown(problem: FieldProblem, found: SteadyAnalysis) -> tuple[Block, list[str]]:
    """The states of figure and fields, with names: those of Newton's method, projections, limits, f†."""
    blocks: list[Floats] = [e.state for e in found.equilibria]
    names = [f"steady {k + 1}" for k in range(len(blocks))]
    for j in range(min(problem.initial.shape[1], _SAMPLES_SHOWN)):
        number = f" {j + 1}" if problem.initial.shape[1] > 1 else ""
        if j < len(found.projections) and found.projections[j].exists:
            blocks.append(found.projections[j].state)
            names.append(f"nearest{number}")
        if found.limit.outcomes[j] == "steady":
            blocks.append(found.limit.states[:, j])
            names.append(f"selected{number}")
    if found.picard is not None and found.picard.holds:
        blocks.append(found.picard.solution)
        names.append("minimal norm")
    return np.asfortranarray(np.array(blocks).reshape(-1, problem.space.num_local).T), names


def _write(problem: FieldProblem, folder: Path, found: SteadyAnalysis, report: dict[str, Any]) -> None:
    """Report, figures and fields, as the case asks (collective)."""
    from fem_selection.io.triangles import gather_triangles

    output, space = problem.case.output, problem.space
    states, names = _shown(problem, found)
    if output.fields and names:
        from fem_selection.io.fields import write_states

        write_states(folder / "steady", space, np.zeros(1), [states], [name.replace(" ", "_") for name in names])
    mesh, values = (space.gather(space.coordinates), gather_triangles(space)), space.gather(states)

    def files() -> None:
        write_json(folder / "report.json", report)
        if output.figures:
            _draw(folder / "figures", mesh, values.T, names, found)

    on_root(files)


def _draw(
    folder: Path, mesh: tuple[Floats, Integers | None], states: Floats, names: list[str], found: SteadyAnalysis
) -> None:
    from fem_selection import plots

    folder.mkdir(exist_ok=True)
    if names:
        plots.save(plots.plot_steady_states(mesh[0], states, names, mesh[1]), folder / "steady_states.png")
    picard, limit = found.picard, found.limit
    if picard is not None:
        figure = plots.plot_picard(found.kernel.values, picard.coefficients, picard.ratios, picard.verdict)
        plots.save(figure, folder / "picard.png")
    labels = [f"sample {j + 1}: {outcome}" for j, outcome in enumerate(limit.outcomes)]
    plots.save(plots.plot_approach(limit.snapshot_times, limit.distances, labels), folder / "approach.png")


def _print(console: Console, report: dict[str, Any], folder: Path) -> None:
    if report["states"]:
        table = Table("state", "g = K f + b", "residual", "kind")
        for k, state in enumerate(report["states"]):
            low, high = state["preactivation_range"]
            table.add_row(str(k + 1), f"{low:.6g} … {high:.6g}", f"{state['residual']:.1e}", state["kind"])
        console.print(table)
    rows = {"zeros": report["zeros"]["text"], "verdict": report["verdict"]}
    kernel = report["kernel"]
    rows["rank of K"] = (
        f"{'' if kernel['rank_is_complete'] else 'at least '}{kernel['numerical_rank']} of {kernel['nodes']} at "
        f"tolerance {kernel['tolerance']:g}"
    )
    if report["picard"] is not None:
        rows[report["picard"]["equation"]] = report["picard"]["verdict"]
    for j, entry in enumerate(report["limits"][:_SAMPLES_SHOWN]):
        text = f"{entry['outcome']}, {entry['reason']}; ‖f − f(0)‖ = {entry['distance_from_initial']:.6g}"
        if (projection := entry.get("projection")) is not None:
            text += f", nearest steady state at {projection['distance']:.6g}"
        rows[f"limit of sample {j + 1}"] = text
    rows |= {f"{name}: declined": reason for name, reason in report["declined"].items()}
    rows["seconds"] = f"{report['seconds']:.1f} on {counted(report['ranks'], 'rank')}"
    rows["report"] = str(folder / "report.json")
    summary = Table(show_header=False, box=None, pad_edge=False)
    for name, text in rows.items():
        summary.add_row(name, escape(text))
    console.print(summary)
    console.print(f"residual {_number(report['residual'])}")
    console.print(f"time {_number(report['time'])}")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.10g}"
