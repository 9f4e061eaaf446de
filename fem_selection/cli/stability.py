# SPDX-License-Identifier: MIT
"""`fem-selection stability`: the stability of a case's steady state and its branch, or of a trained network.

`studies.state_stability`, `studies.continuation` and `studies.depth_stability` describe what is computed and written.
Without --output the report of a case goes to a new folder, and that of a run to the folder `stability` in the run's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fem_selection.cli.frame import Frame, Moved
from fem_selection.errors import InvalidInput, NoBranch
from fem_selection.signals import end_on_signals

__all__ = ["stability_command"]

_KEY = "stability.state"


def stability_command(
    path: Path,
    output: Path | None,
    settings: Sequence[str],
    *,
    data_file: Path | None = None,
    mesh: Path | None = None,
) -> int:
    """Assess a case file or the folder of a run, write the report, print tables and return the exit status.

    Args:
        path: A case file, or the folder of a run.
        output: The folder of the report; None for the default (see the module).
        settings: Overrides `KEY=VALUE`.
        data_file: The data file of the run, if it was moved.
        mesh: The mesh file of the run, if it was moved.

    Raises:
        InvalidInput: if case, run or folder cannot be used (`ConfigError` with all faults of the case), or if the
            equation has no steady state near `stability.state`.
    """
    frame = Frame("stability")
    if path.is_dir():
        return _assess_run(frame, path, output, settings, Moved(data=data_file, mesh=mesh))
    if data_file is not None or mesh is not None:
        raise InvalidInput("--data and --mesh name the files of a run; of a case, data.file and domain.file (--set) do")
    return _assess_case(frame, path, output, settings)


def _assess_case(frame: Frame, path: Path, output: Path | None, settings: Sequence[str]) -> int:
    case = frame.read(path, settings)
    from fem_selection.cases.field import build_field
    from fem_selection.cases.kernel import at_key
    from fem_selection.cases.stability import family_of, finer_start, start_state, third_start, value_of, why_not_finer
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
            third=third_start(problem),
            initial=problem.initial,
            horizon=problem.case.dynamics.horizon,
            family=family_of(problem),
            value=value_of(problem),
        )
    except NoBranch as error:
        raise InvalidInput(f"{_KEY}: {error}") from error
    except InvalidInput as error:  # of the numerics, which know no keys
        key = _KEY if case.stability.range is None else "stability.range"
        raise InvalidInput(str(error) if "stability." in str(error) else f"{key}: {error}") from error
    path = frame.write(report, None if report.branches is None else problem.space)
    frame.table(("eigenvalue", "error bar", "rate in a run"), report.rows)
    if report.growth.predicted.size:
        frame.say("The runs begin at a random perturbation and are projected on each mode by its left eigenfunction.")
    frame.say(report.verdict.sentence)
    frame.rows({**report.details, "report": str(path)})
    for sentence in [] if report.branches is None else report.branches.sentences:
        frame.say(sentence)
    return 0


def _assess_run(frame: Frame, run: Path, output: Path | None, settings: Sequence[str], moved: Moved) -> int:
    problem, controls = frame.read_run(run, settings, moved=moved)
    from fem_selection.studies.depth_stability import network_stability

    frame.claim(output or run / "stability", announced=False)
    report = network_stability(problem, controls, frame.case.stability)
    path = frame.write(report, run=str(run))
    frame.table(("interval", "t", "linearized", "distance", "leading eigenvalue", "frozen equation"), report.rows)
    frame.say(report.sentence)
    frame.rows({**report.details, "report": str(path)})
    return 0
