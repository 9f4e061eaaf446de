# SPDX-License-Identifier: MIT
"""Train a separable kernel whose rank is found on the way: it grows where that lowers J, and is cut where it does not.

    train at rank r  →  cut: ‖w − w_r'‖ ≤ ε ‖w‖ in L²(Y × Y), each interval  →  add the pairs with s_k > α |I_c|  →  …

`fem_selection.learning.rank_growth` has the pairs and what they prove.  The rounds end when no pair lowers J to first
order, beyond a part τ of what the first round found: then the kernel is stationary among those of *all* ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.kernels.separable import SeparableKernel
from fem_selection.learning import LearningProblem
from fem_selection.learning.rank_growth import NewPairs, add_pairs, find_pairs, replace_factors
from fem_selection.optimize.report import Stop
from fem_selection.settings import OptimizerSettings, OutputSettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.studies.report import Progress
from fem_selection.studies.training import train
from fem_selection.typing import Floats, real_number, whole_number

__all__ = ["RankResult", "RankRound", "train_rank"]

RankVerdict = Literal[
    "no pair lowers the objective",
    "no size of a pair lowers the objective",
    "largest rank",
    "rounds used",
    "stopped",
]

_LONGEST = 12  # divisions by four of the size of new pairs, until J falls


@dataclass(frozen=True)
class RankRound:
    """One round.

    Attributes:
        rank: The rank at which was trained.
        objective: J after the training.
        iterations: Its iterations.
        rank_after: The rank after cutting.
        error: The largest ‖w − w_r'‖ of all intervals in L²(Y × Y).
        relative_error: The tolerance ε that it obeys: it is at most ε ‖w‖.
        objective_after: J after cutting.
        residual: The largest s_k / |I_c|.
        threshold: What it must exceed for a new pair: α, plus τ times the first round's residual.
        added: How many pairs were added.
    """

    rank: int
    objective: float
    iterations: int
    rank_after: int
    error: float
    relative_error: float
    objective_after: float
    residual: float
    threshold: float
    added: int


@dataclass(frozen=True)
class RankResult:
    """What was found.

    Attributes:
        problem: The problem with a kernel of the rank that was found.
        controls: Shard of x.
        objective: J there.
        rank: The rank.
        rounds: All rounds.
        verdict: Why they ended.
    """

    problem: LearningProblem
    controls: Floats
    objective: float
    rank: int
    rounds: tuple[RankRound, ...]
    verdict: RankVerdict

    def as_dict(self) -> dict[str, Any]:
        """Everything but the problem and the controls, for JSON."""
        rounds = [asdict(each) for each in self.rounds]
        return {"objective": self.objective, "rank": self.rank, "verdict": self.verdict, "rounds": rounds}


def train_rank(
    build: Callable[[int], LearningProblem],
    optimizer: OptimizerSettings | None = None,
    *,
    first_rank: int = 1,
    largest_rank: int = 64,
    pairs: int = 4,
    cut: float = 1e-6,
    residual_part: float = 1e-3,
    max_rounds: int = 20,
    folder: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> RankResult:
    """Train with a rank that grows and is cut (collective).

    Args:
        build: Makes the problem with a separable kernel of a given rank, the same otherwise.
        optimizer: Settings of each training.
        first_rank: The rank of the first training, which begins at the start of its problem.
        largest_rank: No training has a larger one.
        pairs: At most so many pairs are added in a round.
        cut: ε of cutting.
        residual_part: τ, the part of the first round's residual that counts as none.
        max_rounds: Largest number of trainings.
        folder: Folder whose folders 0, 1, … receive the trainings; None to write none.
        seed: As for `train`.
        progress: As for `train`.
        stop: As for `train`.

    Raises:
        InvalidInput: as `train`, and if the kernel is not separable, or not a control.

    Example:
        >>> from fem_selection.config import parse_case
        >>> def build(rank):
        ...     return fs.build_problem(parse_case({"domain": {"shape": "interval", "cells": 16},
        ...         "dynamics": {"layers": 2, "representation": "separable", "rank": rank},
        ...         "data": {"initial": "cos(3*y + 2*s) + s", "target": "sin(4*y + 3*s) - s", "samples": 6},
        ...         "objective": {"loss": "tracking"}, "regularization": {"kernel": 1e-3, "bias": 1e-2}}))
        >>> newton = fs.OptimizerSettings(method="ntr", gradient_tolerance=1e-8)
        >>> found = fs.studies.train_rank(build, newton)  # 1, then 3
        >>> found.rank, found.verdict
        (3, 'no pair lowers the objective')
    """
    optimizer = settings_or_default(optimizer, OptimizerSettings)
    rank, largest_rank = whole_number(first_rank, "first_rank", 1), whole_number(largest_rank, "largest_rank", 1)
    pairs, max_rounds = whole_number(pairs, "pairs", 1), whole_number(max_rounds, "max_rounds", 1)
    real_number(residual_part, "residual_part")
    rounds: list[RankRound] = []
    problem = build(rank)
    verdict: RankVerdict | None = None
    while verdict is None:
        where = None if folder is None else Path(folder) / str(len(rounds))
        output = OutputSettings(figures=False, fields=False)
        result = train(problem, optimizer, folder=where, output=output, seed=seed, progress=progress, stop=stop)
        if result.report is None:
            controls, verdict = result.controls, "stopped"
            break
        problem, controls, error = _cut(build, problem, result.controls, cut)
        found = find_pairs(problem.functional, controls, pairs)
        first = rounds[0].residual if rounds else float(found.values.max(initial=0.0))
        threshold = problem.functional.regularization.kernel + residual_part * first
        wanted = int(np.count_nonzero((found.values > threshold).any(axis=0)))
        count = min(wanted, largest_rank - _kernel_of(problem).rank)
        verdict = _verdict(wanted, count, is_last=len(rounds) + 1 == max_rounds)
        rounds.append(
            RankRound(
                rank=rank,
                objective=float(result.report.objective),
                iterations=result.report.iterations,
                rank_after=_kernel_of(problem).rank,
                error=error,
                relative_error=cut,
                objective_after=float(problem.functional.evaluate(controls)[0]),
                residual=float(found.values.max(initial=0.0)),
                threshold=threshold,
                added=0 if verdict else count,
            )
        )
        if verdict is None:
            grown = _grow(build, problem, controls, pairs=_first(found, count), threshold=threshold)
            if grown is None:
                verdict = "no size of a pair lowers the objective"
                rounds[-1] = replace(rounds[-1], added=0)
            else:
                problem, controls = grown
                rank = _kernel_of(problem).rank
    return RankResult(
        problem=problem,
        controls=controls,
        objective=float(problem.functional.evaluate(controls)[0]),
        rank=_kernel_of(problem).rank,
        rounds=tuple(rounds),
        verdict=verdict,
    )


def _verdict(wanted: int, count: int, *, is_last: bool) -> RankVerdict | None:
    """Why the rounds end, or None if they go on."""
    if wanted == 0:
        return "no pair lowers the objective"
    if count <= 0:
        return "largest rank"
    return "rounds used" if is_last else None


def _cut(
    build: Callable[[int], LearningProblem], problem: LearningProblem, controls: Floats, cut: float
) -> tuple[LearningProblem, Floats, float]:
    """The problem and the controls after truncation of the kernel, and the truncation's error."""
    problem.functional.set_controls(controls)
    kernel = _kernel_of(problem)
    shorter, error = kernel.compress(tolerance=cut)
    target = problem if shorter.rank == kernel.rank else build(shorter.rank)
    spaces = problem.functional.control_space, target.functional.control_space
    return target, replace_factors(*spaces, controls, kernel=shorter), error


def _grow(
    build: Callable[[int], LearningProblem],
    problem: LearningProblem,
    controls: Floats,
    *,
    pairs: NewPairs,
    threshold: float,
) -> tuple[LearningProblem, Floats] | None:
    """The problem of higher rank, which starts at controls at which J is lower; None if no size of the pairs lowers it.

    J falls to first order, so that this means that round-off hides the fall, or that J jumps.
    """
    rank = _kernel_of(problem).rank
    target = build(rank + pairs.values.shape[1])
    spaces = problem.functional.control_space, target.functional.control_space
    value = problem.functional.evaluate(controls)[0]
    gain = np.where(pairs.values > threshold, pairs.values - threshold, 0.0)
    size = gain / gain.max()
    for _ in range(_LONGEST):
        moved = add_pairs(*spaces, controls, pairs=pairs, size=size)
        try:
            if target.functional.evaluate(moved)[0] < value:
                return replace(target, scaled_start=target.scaled_functional.to_scaled(moved)), moved
        except NonFinite:
            pass
        size = 0.25 * size
    return None


def _first(pairs: NewPairs, count: int) -> NewPairs:
    return NewPairs(
        values=pairs.values[:, :count],
        left=[block[:, :count] for block in pairs.left],
        right=[block[:, :count] for block in pairs.right],
    )


def _kernel_of(problem: LearningProblem) -> SeparableKernel:
    kernel = problem.functional.stepper.kernel
    if not isinstance(kernel, SeparableKernel) or "kernel" not in problem.functional.control_space.parts:
        raise InvalidInput("the rank of a kernel is found for a separable kernel that is a control")
    return kernel
