# SPDX-License-Identifier: MIT
"""The main job: train the controls of a case in a folder, lose nothing, report.

    case → problem → gradient certificate → stochastic phase → TAO → report, figures, fields

Every phase saves its whole state; `resume` continues from the last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fem_selection import config
from fem_selection.cases.learning import build_problem
from fem_selection.cases.saved import problem_key, refuse_another
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.io.checkpoints import read_checkpoint, write_checkpoint
from fem_selection.io.runs import CHECKPOINT, History, remove_run, write_text
from fem_selection.learning import LearningProblem, SampleStates, verify_gradient
from fem_selection.optimize import (
    PONTRYAGIN,
    EpochRow,
    IterationRow,
    OptimizationReport,
    PontryaginSettings,
    StochasticReport,
    StochasticSettings,
    TaoSettings,
    approximate_successively,
    descend,
    minimize,
)
from fem_selection.parallel import act_on_root
from fem_selection.signals import StopRequest
from fem_selection.studies.report import Progress
from fem_selection.typing import Floats
from fem_selection.versions import versions

__all__ = ["TrainingResult", "train"]


@dataclass(frozen=True)
class TrainingResult:
    """What `train` returns on every rank.

    Attributes:
        problem: The problem that was solved.
        solution: Shard of the controls x found.
        report: The content of `report.json`.
        stopped: Whether a signal ended the run early.
    """

    problem: LearningProblem
    solution: Floats
    report: dict[str, Any]
    stopped: bool


def train(
    case: config.Case,
    folder: Path,
    resume: bool = False,
    progress: Progress | None = None,
    request: StopRequest | None = None,
) -> TrainingResult:
    """Train a case in a folder that the caller has made ready (see `io.runs.claim_folder`); collective.

    Args:
        case: The case.
        folder: Where everything goes.
        resume: Continue from the folder's checkpoint.
        progress: Called on root after every iteration and epoch.
        request: Asked between iterations whether to stop.

    Raises:
        InvalidInput: for a checkpoint that is missing, damaged or of another problem, or a file that cannot be written.
        NonFinite: with layer and iteration; the last good iterate is in the checkpoint.
    """
    return _Training(case, folder, progress, request or StopRequest()).run(resume)


class _Training:
    def __init__(self, case: config.Case, folder: Path, progress: Progress | None, request: StopRequest) -> None:
        self.case, self.folder, self.request = case, folder, request
        self.began = time.monotonic()
        self.problem = build_problem(case)
        self.key = act_on_root(self.problem.ensemble.world, lambda: problem_key(case))
        self.ensemble, self.controls = self.problem.ensemble, self.problem.functional.control_space
        self.root = self.ensemble.is_root
        self.progress = progress if self.root else None
        self.fault: InvalidInput | None = None
        self.seconds_before = 0.0
        self.resumed_from: dict[str, int | None] = {"iteration": None, "epoch": None}
        self.stochastic: dict[str, Any] | None = None
        self.certificate: dict[str, Any] = {}
        self.work_before = {"forward_sweeps": 0.0, "adjoint_sweeps": 0.0, "hessian_actions": 0.0}

    def run(self, resume: bool) -> TrainingResult:
        saved = self._read() if resume else None
        phase = saved[0]["phase"] if saved is not None else None
        self._on_root(lambda: self._prepare(saved is not None))
        if saved is None:
            self.certificate = self._certify()
        start, stopped = self.problem.start, False
        if self.case.stochastic.epochs > 0 and phase != "deterministic":
            found = self._run_stochastic(start, None if saved is None else (saved[0]["optimizer"], saved[1]))
            start, stopped = found.solution, found.stopped
            self.stochastic = _stochastic_report(found)
        result = None
        if not stopped:
            again = (saved[0]["optimizer"], saved[1]) if saved is not None and phase == "deterministic" else None
            result = self._run_deterministic(start, again)
            start, stopped = result.solution, result.stopped
        x = self.problem.scaled.to_physical(start)
        report = {} if stopped else self._report(result, x)
        return TrainingResult(self.problem, x, report, stopped)

    def _prepare(self, resumed: bool) -> None:
        if not resumed:
            remove_run(self.folder)
        write_text(self.folder / "case.toml", config.dump_case(self.case))

    def _certify(self) -> dict[str, Any]:
        """The gradient certificate at a control moved from the start; what went wrong, if its states overflow."""
        problem = self.problem
        try:
            start = problem.scaled.to_physical(problem.start)
            return dataclasses.asdict(verify_gradient(problem.functional, start, self.case.seed))
        except NonFinite as error:
            return {"taylor_order": None, "adjoint_identity_error": None, "error": str(error)}

    # ── phases ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run_stochastic(
        self, start: Floats, resume: tuple[Mapping[str, Any], Mapping[str, Floats]] | None
    ) -> StochasticReport:
        s, problem = self.case.stochastic, self.problem
        fit, validation = problem.hold_out(s.validation, self.case.seed + 1)
        settings = StochasticSettings(
            s.method, s.epochs, s.rate, s.schedule, s.momentum, s.second_moment, s.epsilon, s.patience,
            self.case.seed, self.case.output.checkpoint_every,
        )  # fmt: skip
        if resume is not None:
            self.resumed_from = {"iteration": 0, "epoch": int(resume[0]["epoch"])}
        columns = ("epoch", "objective", "rate", "validation_accuracy")
        history = self._history("stochastic.csv", columns, None if resume is None else int(resume[0]["epoch"]))

        def observe(row: EpochRow) -> None:
            self._append(history, row.epoch, row.objective, row.rate, row.validation_accuracy)
            if self.progress is not None:
                self.progress("stochastic phase", row.epoch, s.epochs, {"objective": row.objective})

        try:
            return descend(
                problem.scaled,
                start,
                settings,
                problem.batches(s.batch, fit),
                self._validate(validation),
                problem.bounds,
                resume,
                lambda state, vectors: self._save("stochastic", state, vectors),
                observe,
                self._stop,
            )
        finally:
            if history is not None:
                history.close()

    def _validate(self, part: SampleStates | None) -> Callable[[Floats], float] | None:
        if part is None:
            return None
        if part.labels is not None:
            return lambda x: self.problem.accuracy(part, x)
        return lambda x: -self.problem.mean_cost(part, x)

    def _run_deterministic(
        self, start: Floats, resume: tuple[Mapping[str, Any], Mapping[str, Floats]] | None
    ) -> OptimizationReport:
        o, by_pontryagin = self.case.optimizer, self.case.optimizer.method in PONTRYAGIN
        if resume is not None:
            self.resumed_from["iteration"] = int(resume[0]["iteration"])
        columns: tuple[str, ...] = ("iteration", "objective", "gradient_norm", "step", "evaluations", "seconds")
        columns += ("maximum_principle_gap", "hamiltonian_drift") if by_pontryagin else ()
        history = self._history("history.csv", columns, None if resume is None else int(resume[0]["iteration"]))

        def observe(row: IterationRow) -> None:
            more = (row.maximum_principle_gap, row.hamiltonian_drift) if by_pontryagin else ()
            values = (row.objective, row.gradient_norm, row.step, row.evaluations, self._seconds())
            self._append(history, row.iteration, *values, *more)
            if self.progress is not None:
                shown = {"objective": row.objective, "gradient": row.gradient_norm}
                self.progress(o.method.upper(), row.iteration, o.max_iterations, shown)

        def save(state: Mapping[str, Any], vectors: Mapping[str, Floats]) -> None:
            self._save("deterministic", state, vectors)

        scaled, bounds = self.problem.scaled, self.problem.bounds
        try:
            if by_pontryagin:
                return approximate_successively(
                    scaled, start, self._pontryagin_settings(), bounds, resume, save, observe, self._stop
                )
            return minimize(scaled, start, self._tao_settings(), bounds, resume, save, observe, self._stop)
        finally:
            if history is not None:
                history.close()

    def _tao_settings(self) -> TaoSettings:
        o = self.case.optimizer
        return TaoSettings(
            o.method, o.max_iterations, o.gradient_tolerance, o.absolute_tolerance, o.memory,
            self.case.output.checkpoint_every, o.options,
        )  # fmt: skip

    def _pontryagin_settings(self) -> PontryaginSettings:
        o = self.case.optimizer
        return PontryaginSettings(
            o.method, o.max_iterations, o.gradient_tolerance, o.absolute_tolerance, o.starts,
            seed=self.case.seed, checkpoint_every=self.case.output.checkpoint_every,
        )  # fmt: skip

    def _history(self, name: str, columns: tuple[str, ...], keep_up_to: int | None) -> History | None:
        opened: list[History] = []
        self._on_root(lambda: opened.append(History(self.folder / name, columns, keep_up_to)))
        return opened[0] if opened else None

    def _append(self, history: History | None, *values: float) -> None:
        """Add a line on root; a fault is kept until all ranks can raise it."""
        if history is not None and self.fault is None:
            try:
                history.append(*values)
            except InvalidInput as error:
                self.fault = error

    def _raise_fault(self) -> None:
        """Raise what went wrong on root with a history, on all ranks (collective)."""
        if self.ensemble.any(self.fault is not None):
            raise self.ensemble.world.bcast(self.fault)

    def _stop(self) -> bool:
        """Whether all ranks are to stop between two iterations (collective)."""
        self._raise_fault()
        return self.request.agreed(self.ensemble)

    def _on_root(self, action: Callable[[], None]) -> None:
        act_on_root(self.ensemble.world, action)

    # ── checkpoint ────────────────────────────────────────────────────────────────────────────────────────────────

    def _save(self, phase: str, state: Mapping[str, Any], vectors: Mapping[str, Floats]) -> None:
        self._raise_fault()  # a checkpoint follows the line that it belongs to
        everything = {
            "phase": phase,
            "optimizer": dict(state),
            "stochastic": self.stochastic,
            "certificate": self.certificate,
            "problem": self.key,
            "seconds": self._seconds(),
            **self._work(),
        }
        controls = self.controls
        write_checkpoint(
            self.folder / CHECKPOINT, self.ensemble, controls.indices, controls.global_size, everything, vectors
        )

    def _read(self) -> tuple[dict[str, Any], dict[str, Floats]] | None:
        """The checkpoint; None if the run was killed before the first one."""
        path, controls, given = self.folder / CHECKPOINT, self.controls, self.key
        if not self.ensemble.world.bcast(path.exists() if self.root else None):
            return None
        state, vectors = read_checkpoint(
            path, self.ensemble, controls.indices, controls.global_size, lambda found: refuse_another(found, given)
        )
        self.stochastic, self.certificate = state["stochastic"], state["certificate"]
        self.seconds_before = float(state["seconds"])
        self.work_before = {name: float(state[name]) for name in self.work_before}
        return state, vectors

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    def _work(self) -> dict[str, float]:
        """Sweeps and actions of the whole run so far."""
        counts = self.problem.functional.counts
        now = {"forward_sweeps": counts.forward, "adjoint_sweeps": counts.adjoint, "hessian_actions": counts.hessian}
        return {name: count + self.work_before[name] for name, count in now.items()}

    # ── report ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _report(self, result: OptimizationReport | None, x: Floats) -> dict[str, Any]:
        assert result is not None
        problem, functional = self.problem, self.problem.functional
        gather = self.ensemble.world.allgather
        report: dict[str, Any] = {
            "title": self.case.title,
            "objective": result.objective,
            "gradient_norm": result.gradient_norm,
            "reason": result.reason,
            "converged": result.converged,
            "iterations": result.iterations,
            "evaluations": result.evaluations,
            **self._work(),
            "stochastic": self.stochastic,
            "train_accuracy": problem.accuracy(problem.train, x) if problem.train.labels is not None else None,
            "test_accuracy": None,
            "train_cost": problem.mean_cost(problem.train, x),
            "test_cost": None,
            "ranks": self.ensemble.world.size,
            "samples_per_rank": gather(functional.initial.shape[1]),
            "rows_per_rank": gather(problem.space.num_local),
            "resumed_from_iteration": self.resumed_from["iteration"],
            "resumed_from_epoch": self.resumed_from["epoch"],
            "certificate": self.certificate,
            "nodes": problem.space.num_nodes,
            "controls": self.controls.global_size,
            "domain": problem.space.domain.name,
            "seed": self.case.seed,
        }
        if problem.test is not None:
            report["test_cost"] = problem.mean_cost(problem.test, x)
            if problem.test.labels is not None:
                report["test_accuracy"] = problem.accuracy(problem.test, x)
        report["seconds"] = self._seconds()
        report["versions"] = versions()
        return report


def _stochastic_report(found: StochasticReport) -> dict[str, Any]:
    return {
        "epochs": found.epochs,
        "steps": found.steps,
        "best_epoch": found.best_epoch,
        "reason": found.reason,
    }
