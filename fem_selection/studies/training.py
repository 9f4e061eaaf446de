# SPDX-License-Identifier: MIT
"""Train the controls of a problem, with checkpoints, and report the result.

    problem → gradient certificate → stochastic phase → TAO or Pontryagin's principle → report

    problem = fs.LearningProblem.from_functional(functional, labels=labels, test=test)
    result = fs.studies.train(problem, fs.OptimizerSettings(max_iterations=50), folder=Path("run"))
    result.report.objective, result.controls
    result.report.write("run")

With a folder every phase saves its whole state there, and `resume` continues from the last checkpoint; the result is
that of the uninterrupted run as far as the method permits (see `optimize.tao`).  Without a folder nothing is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fem_selection.errors import NonFinite
from fem_selection.io.checkpoints import jsonable
from fem_selection.learning import LearningProblem, describe_problem, verify_gradient
from fem_selection.optimize import OptimizationReport
from fem_selection.optimize.report import Stop
from fem_selection.settings import OptimizerSettings, OutputSettings, StochasticSettings
from fem_selection.settings.names import NEWTON
from fem_selection.settings.tables import settings_or_default
from fem_selection.studies.best_of_starts import refuse_unknown_starts, train_best_of
from fem_selection.studies.network_pictures import take_pictures
from fem_selection.studies.report import Progress
from fem_selection.studies.run_files import RunFiles
from fem_selection.studies.training_phases import TrainingPhases
from fem_selection.studies.training_report import TrainingReport, TrainingResult
from fem_selection.typing import Floats, whole_number

__all__ = ["train"]


def train(
    problem: LearningProblem,
    optimizer: OptimizerSettings | None = None,
    stochastic: StochasticSettings | None = None,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    output: OutputSettings | None = None,
    seed: int = 0,
    key: Mapping[str, Mapping[str, Any]] | None = None,
    texts: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    starts: int = 1,
) -> TrainingResult:
    """Train the controls of a problem (collective).

    Args:
        problem: The learning problem; its controls are overwritten.
        optimizer: Settings of the phase on all samples; `OptimizerSettings()` if None.
        stochastic: Settings of the phase on mini-batches before it; None, or 0 epochs, leaves it out.
        folder: Folder for histories and checkpoints; a run in it is replaced unless it is resumed.  If None, nothing is
            written.
        resume: Whether to continue from the folder's checkpoint, on any number of ranks.
        output: How often checkpoints are written, and whether the report holds pictures; `OutputSettings()` if None.
        seed: Seed of the order of the samples, of the split of a validation part and of random starts.
        key: Tables that identify the problem, in place of `describe_problem`; a checkpoint with other tables is
            refused, and the error names the difference.
        texts: The contents, by name, of further files that belong to the run, such as the case file.
        progress: Called on root after every iteration and epoch.
        stop: Called between iterations; the run ends if it returns True (collective, the same answer on every rank).
        starts: Number of starts: the problem's own and random ones (`learning.starts`); the result is that of the
            lowest objective, and the report lists all.

    Returns:
        The controls and the report; all but the shards and the nodal values is the same on all ranks.

    Raises:
        InvalidInput: for less than one start, for a checkpoint that is missing, damaged or of another problem, or for a
            file that cannot be written.
        NonFinite: with layer and iteration; the last good iterate is in the checkpoint.

    Example:
        >>> problem = fs.build_problem(fs.load_case("demos/gap.toml"))
        >>> result = fs.studies.train(problem, fs.OptimizerSettings(gradient_tolerance=1e-8))
        >>> print(f"{result.report.objective:.4f}", result.report.converged)
        1.2437 True
    """
    problem.require_samples()
    starts, seed = whole_number(starts, "starts", 1), whole_number(seed, "seed", 0)
    optimizer = settings_or_default(optimizer, OptimizerSettings)
    stochastic = settings_or_default(stochastic, StochasticSettings)
    if starts > 1:

        def train_one(one: LearningProblem, where: Path | None, texts: Mapping[str, str]) -> TrainingResult:
            return train(
                one,
                optimizer,
                stochastic,
                folder=where,
                resume=resume,
                output=output,
                seed=seed,
                key=key if key is not None else describe_problem(problem),
                texts=texts,
                progress=progress,
                stop=stop,
            )

        where = None if folder is None else Path(folder)
        return train_best_of(train_one, problem, starts, folder=where, resume=resume, seed=seed, texts=texts or {})
    if resume and folder is not None:
        refuse_unknown_starts(problem, Path(folder))
    output = output or OutputSettings()
    identity = {
        **(describe_problem(problem) if key is None else key),
        "stochastic": dataclasses.asdict(stochastic),
        "optimizer": _identity_of(optimizer),
        "seed": {"seed": seed},
    }
    files = RunFiles(problem.functional.control_space, None if folder is None else Path(folder), jsonable(identity))
    phases = TrainingPhases(
        problem=problem,
        optimizer=optimizer,
        stochastic=stochastic,
        seed=seed,
        files=files,
        checkpoint_every=output.checkpoint_every,
        progress=progress if problem.ensemble.is_root else None,
        stop=stop,
    )
    return _Training(phases, with_pictures=output.figures or output.fields).run(texts or {}, resume=resume)


class _Training:
    """One run; its counts of sweeps and actions continue those of the run that it resumes."""

    def __init__(self, phases: TrainingPhases, *, with_pictures: bool) -> None:
        self.phases, self.problem, self.files = phases, phases.problem, phases.files
        self.with_pictures = with_pictures
        self.resumed_from: dict[str, int | None] = {"iteration": None, "epoch": None}
        self.outcome: dict[str, Any] | None = None
        self.certificate: dict[str, Any] = {}
        self.counts_at_start = _counts(self.problem)
        self.work_before = dict.fromkeys(self.counts_at_start, 0.0)

    def run(self, texts: Mapping[str, str], *, resume: bool) -> TrainingResult:
        saved = self._read() if resume else None
        phase = None if saved is None else saved[0]["phase"]
        self.files.begin(texts, resumed=saved is not None)
        if saved is None:
            self.certificate = self._certify()
        at = None if saved is None else (saved[0]["optimizer"], saved[1])
        scaled, stopped = self.problem.scaled_start, False
        if self.phases.stochastic.epochs > 0 and phase != "deterministic":
            if at is not None:
                self.resumed_from = {"iteration": 0, "epoch": int(at[0]["epoch"])}
            first = self.phases.run_stochastic(scaled, at, self._save)
            scaled, stopped, at = first.scaled_solution, first.stopped, None
            self.outcome = {name: getattr(first, name) for name in ("epochs", "steps", "best_epoch", "reason")}
        found = None
        if not stopped:
            if at is not None:
                self.resumed_from["iteration"] = int(at[0]["iteration"])
            found = self.phases.run_deterministic(scaled, at, self._save)
            scaled, stopped = found.scaled_solution, found.stopped
        controls = self.problem.scaled_functional.to_controls(scaled)
        report = None if found is None or stopped else self._report(found, controls)
        return TrainingResult(controls=controls, report=report, stopped=stopped)

    def _certify(self) -> dict[str, Any]:
        """The gradient certificate near the start; the error, if the states overflow there."""
        problem = self.problem
        try:
            controls = problem.scaled_functional.to_controls(problem.scaled_start)
            return jsonable(dataclasses.asdict(verify_gradient(problem.functional, controls, self.phases.seed)))
        except NonFinite as error:
            return {"taylor_order": None, "adjoint_identity_error": None, "error": str(error)}

    # ── checkpoint ────────────────────────────────────────────────────────────────────────────────────────────────

    def _save(self, phase: str, state: Mapping[str, Any], vectors: Mapping[str, Floats]) -> None:
        everything = {
            "phase": phase,
            "optimizer": dict(state),
            "stochastic": self.outcome,
            "certificate": self.certificate,
            "problem": self.files.key,
            "samples": self.problem.sample_format.as_dict(),
            "seconds": self.files.seconds(),
            **self._work(),
        }
        self.files.save(everything, vectors)

    def _read(self) -> tuple[dict[str, Any], dict[str, Floats]] | None:
        """The checkpoint; None if the run was killed before the first one."""
        if (found := self.files.read()) is not None:
            state = found[0]
            self.outcome, self.certificate = state["stochastic"], state["certificate"]
            self.work_before = {name: float(state.get(name, 0.0)) for name in self.work_before}
        return found

    def _work(self) -> dict[str, float]:
        """The numbers of sweeps and actions of the whole run so far, resumed parts included."""
        now = _counts(self.problem)
        return {name: before + now[name] - self.counts_at_start[name] for name, before in self.work_before.items()}

    # ── report ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _report(self, found: OptimizationReport, x: Floats) -> TrainingReport:
        problem, train, test = self.problem, self.problem.train, self.problem.test
        gather, shown = problem.ensemble.world.allgather, test or train
        work, seconds = self._work(), self.files.seconds()
        return TrainingReport(
            objective=found.objective,
            gradient_norm=found.gradient_norm,
            reason=found.reason,
            converged=found.converged,
            iterations=found.iterations,
            evaluations=found.evaluations,
            forward_sweeps=work["forward_sweeps"],
            adjoint_sweeps=work["adjoint_sweeps"],
            hessian_actions=work["hessian_actions"],
            repeated_sweeps=work["repeated_sweeps"],
            stochastic=self.outcome,
            train_accuracy=None if train.labels is None else problem.accuracy(train, x),
            test_accuracy=None if test is None or test.labels is None else problem.accuracy(test, x),
            train_cost=problem.mean_cost(train, x),
            test_cost=None if test is None else problem.mean_cost(test, x),
            ranks=problem.ensemble.world.size,
            samples_per_rank=gather(problem.functional.initial.shape[1]),
            rows_per_rank=gather(problem.space.num_local),
            resumed_from_iteration=self.resumed_from["iteration"],
            resumed_from_epoch=self.resumed_from["epoch"],
            certificate=self.certificate,
            nodes=problem.space.num_nodes,
            controls=problem.functional.control_space.global_size,
            domain=problem.space.domain.name,
            seed=self.phases.seed,
            seconds=seconds,
            history=self.files.columns("history.csv"),
            stochastic_history=self.files.columns("stochastic.csv"),
            classes=problem.classes,
            confusion=None if shown.labels is None else problem.confusion(shown, x),
            pictures=take_pictures(problem, x) if self.with_pictures else None,
        )


def _identity_of(optimizer: OptimizerSettings) -> dict[str, Any]:
    """The settings that a resumed run must share."""
    identity: dict[str, Any] = {"method": optimizer.method, "memory": optimizer.memory}
    return identity if optimizer.method not in NEWTON else {**identity, "hessian": optimizer.hessian}


def _counts(problem: LearningProblem) -> dict[str, float]:
    """The numbers of sweeps and actions that the problem's functional has ever made."""
    counts = problem.functional.counts
    return {
        "forward_sweeps": counts.forward,
        "adjoint_sweeps": counts.adjoint,
        "hessian_actions": counts.hessian,
        "repeated_sweeps": counts.repeated,
    }
