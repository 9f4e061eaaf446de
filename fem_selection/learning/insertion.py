# SPDX-License-Identifier: MIT
"""Whether a lower Hamiltonian is a lower objective: the minimisers that were found are inserted, and J is evaluated.

    J(u with v in layer n) − J(u) = −Δt (H_n(u_n) − H_n(v)) + r_n,    r_n = O(Δt²)                          one layer

For layers Pontryagin's principle holds up to O(Δt): at a global minimum of J all these differences are ≥ 0, so that the
gap Δt Σ_n (H_n − min H_n) is at most Σ r_n, which is O(Δt) and need not be small.  An open gap therefore refutes
nothing by itself.  A lower objective does.  The trials are the minimisers of all layers, parts of the way to them, and
those of one layer or of one node in one layer, in which the remainder is smaller still; each costs a forward sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fem_selection.learning.extremals import MaximumPrinciple
from fem_selection.learning.functional import Functional
from fem_selection.typing import Floats

__all__ = [
    "NOT_OPTIMAL",
    "NO_LOWER_HAMILTONIAN",
    "UP_TO_GRADIENT",
    "WITHIN_STEP",
    "Insertion",
    "Insertions",
    "PontryaginVerdict",
    "insert_minimizers",
]

PontryaginVerdict = Literal["not optimal", "optimal up to its gradient", "within O(Δt)", "no lower Hamiltonian found"]
NOT_OPTIMAL: PontryaginVerdict = "not optimal"
UP_TO_GRADIENT: PontryaginVerdict = "optimal up to its gradient"
WITHIN_STEP: PontryaginVerdict = "within O(Δt)"
NO_LOWER_HAMILTONIAN: PontryaginVerdict = "no lower Hamiltonian found"

_BASINS = 4
_PARTS = (1.0, 0.5, 0.25, 0.125, 1.0 / 64, 1.0 / 1024)


@dataclass(frozen=True)
class Insertion:
    """One trial.

    Attributes:
        where: What was inserted, as a phrase.
        first_order: The change of J to first order, −Δt times the gaps that it closes; None for a part of the way,
            along which H need not fall evenly.
        change: J at the trial minus J at the control; infinite where there are no states.
    """

    where: str
    first_order: float | None
    change: float


@dataclass(frozen=True)
class Insertions:
    """All trials at a control.

    Attributes:
        trials: The trials, in the order in which they were made.
        lowest: The trial of the lowest objective.
        controls: Shard of x of that trial.
        whole: Shards of x with the minimisers of all layers and of each of the four layers with the widest gaps, by
            what was inserted: points in the basins of other minima, from which a descent may begin.
        remainder: Σ_n r_n over the layers that were tried alone; None if not all with a gap were.
    """

    trials: tuple[Insertion, ...]
    lowest: Insertion
    controls: Floats
    whole: dict[str, Floats]
    remainder: float | None


def insert_minimizers(
    functional: Functional, controls: Floats, principle: MaximumPrinciple, *, value: float, budget: int
) -> Insertions:
    """Insert the minimisers of the Hamiltonians and evaluate J (collective).

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x.
        principle: The minimisers and gaps at x.
        value: J(x).
        budget: Largest number of single layers, and of single nodes, that are tried.
    """
    space, step = functional.control_space, functional.stepper.grid.step
    present = space.gather(controls)
    moving = _moving(functional)
    trials: list[Insertion] = []
    best: tuple[float, Floats] = (np.inf, controls)
    whole: dict[str, Floats] = {}

    def attempt(where: str, first_order: float | None, mask: Floats, *, is_whole: bool = False) -> float:
        nonlocal best
        trial = present + mask * (principle.local_minimizer - present)
        np.copyto(trial, principle.local_minimizer, where=mask == 1.0)
        shard = trial[space.shard]
        final = functional.final_states(shard)
        found = functional.value_at(shard, final)
        change = found - value if np.isfinite(found) else np.inf
        if is_whole and len(whole) <= _BASINS:
            whole[where] = shard.copy()
        trials.append(Insertion(where=where, first_order=first_order, change=change))
        if change < best[0] or not best[1].size:
            best = (change, shard.copy())
        return change

    for part in _PARTS:
        everything = part == 1.0
        where = "all layers" if everything else f"all layers, {part:.3g} of the way"
        attempt(where, -principle.gap if everything else None, part * moving.sum(axis=0), is_whole=everything)
    open_layers = [int(n) for n in np.argsort(-principle.gaps, kind="stable") if principle.gaps[n] > 0]
    remainder: float | None = 0.0 if len(open_layers) <= budget else None
    for n in open_layers[:budget]:
        fall = step * float(principle.gaps[n])
        change = attempt(f"layer {n}", -fall, moving[n], is_whole=True)
        if remainder is not None:
            remainder += change + fall
    if space.space.num_nodes > 1 and principle.row_gaps.size + space.space.num_local:
        for gap, n, node in _widest_rows(functional, principle, budget):
            rows = _rows_of(functional, node)
            attempt(f"layer {n}, node {node}", -step * gap, moving[n] * rows)
    if remainder is not None and not np.isfinite(remainder):
        remainder = None
    lowest = min(trials, key=lambda trial: trial.change)
    return Insertions(trials=tuple(trials), lowest=lowest, controls=best[1], whole=whole, remainder=remainder)


def _moving(functional: Functional) -> Floats:
    """1 where a local array holds kernel or bias of a layer, shape (layers, local_size)."""
    space, layers = functional.control_space, functional.stepper.grid.layers
    masks = np.zeros((layers, space.local_size))
    for n in range(layers):
        for name in ("kernel", "bias"):
            part = masks[n, space.slices[name]]
            if part.size:
                part.reshape(layers, -1)[n] = 1.0
    return masks


def _rows_of(functional: Functional, node: int) -> Floats:
    """1 where a local array of a dense kernel holds the row of a node, by its canonical number."""
    space = functional.control_space
    own = (space.space.canonical == node).astype(np.float64)
    mask = np.zeros(space.local_size)
    for name in ("kernel", "bias"):
        part = mask[space.slices[name]]
        if part.size:
            part.reshape(-1, len(own))[:] = own
    return mask


def _widest_rows(functional: Functional, principle: MaximumPrinciple, count: int) -> list[tuple[float, int, int]]:
    """The rows with the largest shares in the gaps: (share, layer, canonical number), the same on all ranks."""
    space = functional.control_space.space
    gaps = principle.row_gaps
    if not functional.control_space.ensemble.any(gaps.size > 0):
        return []
    order = np.argsort(-gaps, axis=None, kind="stable")[:count]
    layers, rows = np.unravel_index(order, gaps.shape) if gaps.size else (order, order)
    own = [(float(gaps[n, i]), int(n), int(space.canonical[i])) for n, i in zip(layers, rows, strict=True)]
    everything = [item for part in space.comm.allgather(own) for item in part if item[0] > 0]
    return sorted(everything, key=lambda item: (-item[0], item[1], item[2]))[:count]
