# SPDX-License-Identifier: MIT
"""`fem-selection forward`: the selection equation of a case over large times, beside the estimates of the theory.

DIR/report.json             norms, bounds, hypotheses, steps, events
DIR/figures/norms.png       norms and bounds over time, rates and steps
DIR/figures/functionals.png functionals that cannot grow, where their hypotheses hold
DIR/figures/states.png      states of a few samples at a few times
DIR/states.bp               the same samples for ParaView (states.xdmf without ADIOS2)
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

from fem_selection.cli.common import claim_report_folder, counted, load_case_everywhere, on_root
from fem_selection.io.runs import write_json
from fem_selection.settings import ForwardSettings
from fem_selection.signals import catch_signals
from fem_selection.typing import Floats, Integers

if TYPE_CHECKING:
    from fem_selection import config
    from fem_selection.cases.field import FieldProblem
    from fem_selection.evolution import Integration
    from fem_selection.evolution.estimates import Estimate

__all__ = ["forward_command"]

_FUNCTIONALS = {"energy": "E(f)", "potential": "∫Σ(K f + b)"}


def forward_command(case_file: Path, output: Path | None, settings: Sequence[str]) -> int:
    """Integrate, estimate, write the folder, print a table and return the exit status."""
    console = Console(quiet=MPI.COMM_WORLD.rank != 0, highlight=False)
    began = time.monotonic()
    with catch_signals() as request:
        case = load_case_everywhere(case_file, settings)
        from petsc4py import PETSc  # noqa: F401  (may take SIGTERM when it is loaded)

        request.listen()
        from fem_selection.cases.field import build_field
        from fem_selection.evolution import AdaptiveSettings, integrate
        from fem_selection.evolution.estimates import estimate_run

        problem = build_field(case)
        folder = on_root(lambda: claim_report_folder("forward", output, Path(case.output.directory)))
        console.print(f"[bold]{escape(case.title or case_file.stem)}[/bold] → {escape(str(folder))}")
        c = case.forward
        asked = AdaptiveSettings(
            rtol=c.rtol,
            atol=c.atol,
            method=c.method,
            steady_tolerance=c.steady_tolerance,
            growth_bound=c.growth_bound,
            max_steps=c.max_steps,
        )
        with console.status("t = 0") as status:

            def progress(t: float, steps: int) -> bool:
                if steps % 20 == 0:
                    status.update(f"t = {t:.4g}, {steps} steps")
                return request.agreed(problem.ensemble)

            run = integrate(problem.field, problem.initial, _times(c, case.dynamics.horizon), asked, progress)
            status.update("estimates")
            found = estimate_run(problem.field, run.times, run.states) if c.estimates else {}
    report = _report(problem, run, found, time.monotonic() - began)
    _write(problem, folder, run, found, report)
    _print(console, report, run, found, folder)
    return request.exit_status if run.outcome == "stopped" else 0


def _times(settings: ForwardSettings, horizon: float) -> Floats:
    """When states are kept."""
    end = horizon if settings.until is None else settings.until
    if settings.spacing == "linear" or settings.times == 2:
        return np.linspace(0.0, end, settings.times)
    return np.concatenate([[0.0], np.geomspace(1e-6 * end, end, settings.times - 1)])


def _report(problem: FieldProblem, run: Integration, found: Mapping[str, Estimate], seconds: float) -> dict[str, Any]:
    from fem_selection.versions import versions

    norms = np.array([problem.space.norm(f) for f in run.states])
    return {
        "command": "forward",
        "title": problem.case.title,
        "outcome": run.outcome,
        "reason": run.reason,
        "end": run.times[-1],
        "steady_time": run.steady_time,
        "growth": None if run.growth is None else dataclasses.asdict(run.growth),
        "times": run.times,
        "norms": norms,
        "final_rates": problem.space.norm(run.rate),
        "bounds": {name: _bound(estimate) for name, estimate in found.items()},
        "hypotheses": {name: [dataclasses.asdict(h) for h in e.hypotheses] for name, e in found.items()},
        "steps": run.steps,
        "rejected": run.rejected,
        "evaluations": run.evaluations,
        "methods": [{"since": since, "name": name} for since, name in run.methods],
        "history": run.history,
        "nodes": problem.space.num_nodes,
        "samples": problem.initial.shape[1],
        "seconds": seconds,
        "ranks": problem.ensemble.world.size,
        "versions": versions(),
        "case": dataclasses.asdict(problem.case),
    }


def _bound(estimate: Estimate) -> dict[str, Any]:
    return {
        "statement": estimate.statement,
        "claimed": estimate.claimed,
        "failed": [h.statement for h in estimate.failed],
        "measured": estimate.measured,
        "bound": estimate.bound,
        "ratio": estimate.ratio,
        "largest_ratio": None if estimate.ratio is None else float(np.max(estimate.ratio, initial=0.0)),
        "excess": estimate.excess,
        "constants": estimate.constants,
    }


def _write(
    problem: FieldProblem,
    folder: Path,
    run: Integration,
    found: Mapping[str, Estimate],
    report: dict[str, Any],
) -> None:
    """Report, figures and fields, as the case asks (collective)."""
    from fem_selection.io.triangles import gather_triangles

    settings = problem.case.output
    samples = min(problem.case.forward.shown, problem.initial.shape[1])
    if settings.fields:
        from fem_selection.io.fields import write_states

        names = [f"f_{j}" for j in range(samples)]
        shown = [np.asfortranarray(f[:, :samples]) for f in run.states]
        write_states(folder / "states", problem.space, run.times, shown, names)
    chosen = np.unique(np.linspace(0, len(run.times) - 1, problem.case.forward.shown).round().astype(int))
    states = np.stack([problem.space.gather(np.asfortranarray(run.states[k][:, :samples])) for k in chosen])
    mesh = problem.space.gather(np.asfortranarray(problem.space.coordinates)), gather_triangles(problem.space)

    def files() -> None:
        write_json(folder / "report.json", report)
        if settings.figures:
            _draw(folder / "figures", problem.case, run, found, report["norms"], mesh, states, chosen)

    on_root(files)


def _draw(
    folder: Path,
    case: config.Case,
    run: Integration,
    found: Mapping[str, Estimate],
    norms: Floats,
    mesh: tuple[Floats, Integers | None],
    states: Floats,
    chosen: Floats,
) -> None:
    from fem_selection import plots

    folder.mkdir(exist_ok=True)
    logarithmic = case.forward.spacing == "logarithmic"
    bound = found["growth"].bound if "growth" in found else None
    plots.save(plots.plot_norms(run.times, norms, bound, run.history, logarithmic), folder / "norms.png")
    falling = {label: found[n].measured for n, label in _FUNCTIONALS.items() if n in found and found[n].claimed}
    if falling:
        plots.save(plots.plot_functionals(run.times, falling, logarithmic), folder / "functionals.png")
    titles = [f"sample {j + 1}" for j in range(states.shape[2])]
    coordinates, triangles = mesh
    figure = plots.plot_states(coordinates, states, run.times[chosen], titles, triangles=triangles)
    plots.save(figure, folder / "states.png")


def _print(
    console: Console, report: dict[str, Any], run: Integration, found: Mapping[str, Estimate], folder: Path
) -> None:
    if found:
        table = Table("estimate", "measured / bound", "hypothesis that fails")
        for name, estimate in found.items():
            ratio = "not claimed"
            if estimate.claimed:
                worst = report["bounds"][name]["largest_ratio"]
                ratio = f"at most {worst:.4g}" if worst is not None else f"missed by {max(estimate.excess, 0.0):.1e}"
            failed = "; ".join(f"{h.statement}: {h.measured}" for h in estimate.failed)
            table.add_row(name, ratio, escape(failed))
        console.print(table)
    rows = {
        "steps": f"{run.steps} taken, {run.rejected} rejected, {run.evaluations} evaluations",
        "methods": ", ".join(f"{name} from t = {since:.4g}" for since, name in run.methods),
        "largest norm": f"{report['norms'][0].max(initial=0.0):.4g} → {report['norms'][-1].max(initial=0.0):.4g}",
        "largest rate": f"{report['final_rates'].max(initial=0.0):.3g}",
        "seconds": f"{report['seconds']:.1f} on {counted(report['ranks'], 'rank')}",
        "report": str(folder / "report.json"),
    }
    if run.growth is not None:
        rows["growth"] = f"{run.growth.kind}, rate {run.growth.rate:.6g} from t = {run.growth.since:.4g}"
    summary = Table(show_header=False, box=None, pad_edge=False)
    for name, text in rows.items():
        summary.add_row(name, escape(text))
    console.print(summary)
    console.print(run.reason, markup=False)
