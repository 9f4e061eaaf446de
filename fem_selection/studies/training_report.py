# SPDX-License-Identifier: MIT
"""The report of a training: its course, the quality of the network, and pictures.

folder/report.json               see `TrainingReport`
folder/figures/convergence.png   objective, gradient norm, accuracy or cost of validation on the way
folder/figures/levels.png        with levels: objective over work
folder/figures/states.png        a few samples in a few layers
folder/figures/controls.png      kernels and biases in a few layers; coefficients.png those of local kernels
folder/figures/confusion.png     with labels
folder/states.bp                 the same samples in all layers for ParaView (states.xdmf without ADIOS2)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.io.fields import write_states
from fem_selection.studies.network_pictures import NetworkPictures
from fem_selection.studies.report import Report
from fem_selection.typing import Floats, Integers

__all__ = ["TrainingReport", "TrainingResult"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingReport(Report):
    """The course of a training and its result.

    Attributes:
        objective: J at the controls found.
        gradient_norm: Norm of the (projected) gradient.
        reason: Why the optimizer stopped, as a sentence.
        converged: Whether a tolerance was met.
        iterations: Number of iterations of the optimizer; this and the next five numbers include resumed parts.
        evaluations: Number of evaluations of objective and gradient.
        forward_sweeps: Number of forward sweeps of all samples through all layers.
        adjoint_sweeps: Number of adjoint sweeps.
        hessian_actions: Number of products with the Hessian.
        repeated_sweeps: Number of forward sweeps on the way back, where `tape.schedule` stores some layers alone.
        stochastic: Epochs, steps, best epoch and reason of the stochastic phase; None without one.
        train_accuracy: Share of the training samples that is classified correctly; None without labels.
        test_accuracy: Share of the test samples that is classified correctly; None without labels or test samples.
        train_cost: Mean terminal cost of the training samples, without weight and regularization.
        test_cost: Mean terminal cost of the test samples; None without test samples.
        ranks: Number of ranks.
        samples_per_rank: Training samples of each rank.
        rows_per_rank: Nodes of each rank.
        resumed_from_iteration: Iteration that the run was resumed from, or None.
        resumed_from_epoch: Epoch that the run was resumed from, or None.
        certificate: The measurements of `verify_gradient` before the training; the error, if states overflowed.
        nodes: Nodes of the mesh.
        controls: Number of controls.
        domain: Name of the domain.
        seed: Seed of the random streams.
        seconds: Time of the whole run in seconds, resumed parts included.
        history: Columns of the optimizer's history by name.
        stochastic_history: Columns of the stochastic phase's history; empty without one.  With labels the validation
            part is judged by `validation_accuracy`, else by its mean cost, `validation_cost`.
        classes: Names of the classes; empty without labels.
        confusion: Counts of (true class, predicted class) of the test samples, or of the training samples if there are
            no test samples; None without labels.
        pictures: A few samples and controls; None if `OutputSettings` asks for neither figures nor fields.
        starts: For each of several starts its number, objective, gradient norm, iterations, and why it ended; empty for
            a training from one start.  All other entries of the report are those of the best.
        levels: For each level of a training from coarse to fine its size, tolerance, course and cost, the objective
            without the levels before it, at its start and at its end; empty for a training on one level.  All other
            entries of the report are those of the finest.
        best_start: The number of the start whose training ended lowest; 0 is the problem's own start.
    """

    objective: float
    gradient_norm: float
    reason: str
    converged: bool
    iterations: int
    evaluations: int
    forward_sweeps: float
    adjoint_sweeps: float
    hessian_actions: float
    repeated_sweeps: float
    stochastic: Mapping[str, Any] | None
    train_accuracy: float | None
    test_accuracy: float | None
    train_cost: float
    test_cost: float | None
    ranks: int
    samples_per_rank: list[int]
    rows_per_rank: list[int]
    resumed_from_iteration: int | None
    resumed_from_epoch: int | None
    certificate: Mapping[str, Any]
    nodes: int
    controls: int
    domain: str
    seed: int
    seconds: float
    history: Mapping[str, Floats] = field(repr=False)
    stochastic_history: Mapping[str, Floats] = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    confusion: Integers | None = field(repr=False)
    pictures: NetworkPictures | None = field(repr=False)
    starts: tuple[Mapping[str, Any], ...] = ()
    best_start: int = 0
    levels: tuple[Mapping[str, Any], ...] = ()

    _beside: ClassVar[frozenset[str]] = frozenset({"history", "stochastic_history", "classes", "confusion", "pictures"})

    @property
    def details(self) -> dict[str, str]:
        """The course of the training, as texts by name, for a table."""
        sweeps = f"{self.forward_sweeps:.0f} forward, {self.adjoint_sweeps:.0f} adjoint"
        if self.hessian_actions > 0:
            sweeps += f", {self.hessian_actions:.0f} Hessian actions"
        if self.repeated_sweeps > 0:
            sweeps += f", {self.repeated_sweeps:.1f} forward again on the way back"
        rows = {
            "objective": f"{self.objective:.6g}",
            "gradient norm": f"{self.gradient_norm:.3g}",
            "iterations": f"{self.iterations} ({self.reason})",
            "sweeps": sweeps,
            "gradient certificate": self._certificate_in_words(),
            "seconds": f"{self.seconds:.1f} on {self.ranks} rank{'s' if self.ranks > 1 else ''}",
        }
        if self.levels:
            rows = {"levels": self._levels_in_words(), **rows}
        if self.starts:
            ends = ", ".join(f"{end['objective']:.8g}" for end in self.starts)
            rows = {"starts": f"number {self.best_start} of {len(self.starts)} ended lowest: {ends}", **rows}
        if self.stochastic is not None:
            epochs = f"{self.stochastic['epochs']} epochs ({self.stochastic['reason']})"
            return {"stochastic phase": epochs, **rows}
        return rows

    @property
    def sentences(self) -> list[str]:
        """The quality of the network, as short sentences: accuracies, test cost or objective, the main one last."""
        said = [] if self.train_accuracy is None else [f"train accuracy {self.train_accuracy:.4f}"]
        if self.test_accuracy is not None:
            return [*said, f"test accuracy {self.test_accuracy:.4f}"]
        if self.test_cost is not None:
            return [*said, f"test cost {self.test_cost:.6g}"]
        return [*said, f"objective {self.objective:.6g}"]

    def _levels_in_words(self) -> str:
        finest = self.levels[-1]
        work = sum(level["work"] for level in self.levels[:-1])
        return (
            f"the coarse ones took the work of {work:.1f} evaluations of the finest and lowered its first objective "
            f"from {finest['objective_without_levels']:.6g} to {finest['objective_at_start']:.6g}"
        )

    def _certificate_in_words(self) -> str:
        if self.certificate.get("taylor_order") is None:
            return str(self.certificate.get("error", "not measured"))
        order, identity = self.certificate["taylor_order"], self.certificate["adjoint_identity_error"]
        return f"Taylor order {order:.3f}, adjoint identity {identity:.1e}"

    def content(self) -> dict[str, Any]:
        """All but histories, confusion matrix and pictures."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self._beside}

    def draw(self, folder: Path) -> None:
        """Draw convergence, states, controls and the confusion matrix."""
        from fem_selection import plots

        plots.draw(folder / "convergence.png", plots.plot_convergence, self.history, self.stochastic_history or None)
        if self.pictures is not None:
            self.pictures.draw(folder)
        if self.levels:
            plots.draw(folder / "levels.png", plots.plot_levels, self.levels)
        if self.confusion is not None:
            accuracy = float(np.trace(self.confusion) / self.confusion.sum())
            plots.draw(folder / "confusion.png", plots.plot_confusion, self.confusion, self.classes, accuracy)

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:
        """Write the states of a few samples for ParaView; the first member of an ensemble writes (collective).

        See `Report.write_fields`.
        """
        if self.pictures is not None and space.comm.bcast(comm.rank == 0):
            write_states(
                folder / "states", space, self.pictures.times, states=self.pictures.states, names=self.pictures.names
            )
        comm.Barrier()


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What `train` returns on every rank.

    Attributes:
        controls: Shard of the controls x that were found.
        report: The report; None if the run was stopped.
        stopped: Whether `stop` ended the run early; with a folder it can be resumed.
    """

    controls: Floats
    report: TrainingReport | None
    stopped: bool
