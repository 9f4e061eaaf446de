# SPDX-License-Identifier: MIT
"""The report of the study of branches: its JSON form, the states of the branches, and its figures.

folder/report.json               branches, bifurcations, and what is not decided
folder/branches.npz              for each branch the parameters, the states at all nodes, and their stability
folder/branch_0.bp               the states of a branch for ParaView, over the arc length (.xdmf without ADIOS2)
folder/figures/bifurcations.png  branches over the parameter; branch_states.png, states along the branches
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.spaces import StateSpace
from fem_selection.io.fields import write_states
from fem_selection.io.runs import replacing
from fem_selection.steady import Bifurcation, Branch, Diagram
from fem_selection.steady.equilibria.reduction import RANK_TOLERANCE
from fem_selection.studies.cycles import HopfFindings
from fem_selection.studies.report import Report
from fem_selection.typing import Floats, Integers

__all__ = ["BranchesReport"]

_SHOWN_BRANCHES, _SHOWN_STATES = 6, 7  # in the figure of states
_RESTS = 1e-8  # largest ‖σ(g)‖ along a branch whose states count as steady
_EXPECTED = ("the range ends", "the curve closes", "a bifurcation")


@dataclass(frozen=True, kw_only=True, eq=False)
class BranchesReport(Report):
    """The report of `branches`, the same on every rank.

    Attributes:
        parameter: Name of the parameter.
        diagram: Branches and bifurcations.
        cycles: Normal form and cycles of each Hopf point, by its number among the bifurcations.
        states: For each branch its states at all nodes, of each family f* + ker K the member in (ker K)^⊥, shape
            (num_points, num_nodes).
        mesh: Coordinates of all nodes, shape (num_nodes, dimension), and the triangles between them, for figures.
    """

    parameter: str
    diagram: Diagram
    cycles: Mapping[int, HopfFindings]
    states: tuple[Floats, ...] = dataclasses.field(repr=False)
    mesh: tuple[Floats, Integers | None] = dataclasses.field(repr=False)

    @property
    def bifurcations(self) -> tuple[Bifurcation, ...]:
        """The bifurcations in the order in which they were found."""
        return self.diagram.bifurcations

    @property
    def uncounted(self) -> str | None:
        """The eigenvalues whose sign is not decided along a branch, as a sentence; None if there are none."""
        values: list[float] = []
        most, size = 0, 0.0
        for branch in self.diagram.branches:
            for a, b in zip(branch.points, branch.points[1:], strict=False):
                if a.undecided and b.undecided:  # at a single point one may be passing
                    values += [a.parameter, b.parameter]
                    for rates in (a.rates, b.rates):
                        left = rates.signs == 0
                        most = max(most, int(np.sum(left)))
                        size = max(size, rates.zero, float(np.max(np.abs(rates.values.real[left]))))
        if not values:
            return None
        return (
            f"not counted between {self.parameter} = {min(values):.6g} and {max(values):.6g}: up to {most} eigenvalues "
            f"within {size:.1e} of the imaginary axis, because the tolerance of the rank, {RANK_TOLERANCE:g} ‖K‖ "
            "max |σ'|, or their error does not decide their sign"
        )

    @property
    def undecided(self) -> list[str]:
        """What is not decided, in a sentence for each reason."""
        said = [
            f"not decided between {self.parameter} = {d.lower:.6g} and {d.upper:.6g}: {d.reason}"
            for d in self.diagram.undecided
        ]
        return said if self.uncounted is None else [*said, self.uncounted]

    @property
    def sentences(self) -> list[str]:
        """Each bifurcation in a line, then what is not decided, and what was sought and followed."""
        said = []
        for number, found in enumerate(self.bifurcations):
            beside = self.cycles.get(number)
            criticality = found.criticality if beside is None else beside.criticality
            more = [criticality] if criticality else []
            if beside is not None:
                more.append("; ".join(beside.phrases(self.parameter)))
            more += [] if found.multiple is None else [found.multiple.sentence]
            more += [_at_once(found)] if found.kind == "multiple" and any(found.frequencies) else []
            doubt = f"± {found.uncertainty:.1g}"
            said.append(f"{found.kind} at {self.parameter} = {found.parameter:.9g} {doubt}  {', '.join(more)}".rstrip())
        if not said:
            said.append("no bifurcations found")
        return [*said, *self.undecided, *self._about_branches(), *self._about_searches()]

    def _about_branches(self) -> list[str]:
        """What is unusual about branches, and what was not followed."""
        said: list[str] = []
        ends: dict[str, list[str]] = {}
        for number, branch in enumerate(self.diagram.branches):
            for why, point in ((branch.beginning, branch.points[0]), (branch.ending, branch.points[-1])):
                if why not in _EXPECTED:
                    ends.setdefault(why, []).append(f"{point.parameter:.6g} (branch {number})")
        for why, places in ends.items():
            said.append(f"an end at {self.parameter} = {', '.join(places)}: {why}")
        moving = [number for number, branch in enumerate(self.diagram.branches) if branch.drift > _RESTS]
        if moving:
            largest = max(self.diagram.branches[number].drift for number in moving)
            said.append(
                f"steady in K f only, branch{'es' if len(moving) > 1 else ''} {', '.join(map(str, moving))}: f moves "
                f"within ker K, at up to ‖σ(K f + b)‖ = {largest:.2g} (tolerance {_RESTS:g})"
            )
        return [*said, *self.diagram.limits]

    def _about_searches(self) -> list[str]:
        """What the search for other branches found."""
        if not (searches := self.diagram.searches):
            return []
        places = ", ".join(f"{search.parameter:.4g}" for search in searches)
        new = sum(branch.origin == "deflation" for branch in self.diagram.branches)
        met = sum(search.continua for search in searches)
        more = (
            f"; {met} starts reached states that are not known to be isolated, which were not followed" if met else ""
        )
        return [
            f"disconnected branches: {new} found, by deflation from {searches[0].starts} starts at each of "
            f"{self.parameter} = {places}; others may exist{more}"
        ]

    def content(self) -> dict[str, Any]:
        """The content of `report.json`."""
        return {
            "bifurcations": [self._describe(k) for k in range(len(self.bifurcations))],
            "branches": [_describe_branch(branch) for branch in self.diagram.branches],
            "bifurcations_undecided": self.undecided,
            "searches": [dataclasses.asdict(search) for search in self.diagram.searches],
            "branches_limits": list(self.diagram.limits),
        }

    def _describe(self, number: int) -> dict[str, Any]:
        """An entry of the report's "bifurcations"."""
        found = self.bifurcations[number]
        entry: dict[str, Any] = {
            "kind": found.kind,
            "parameter": self.parameter,
            "value": found.parameter,
            "uncertainty": found.uncertainty,
            "accuracy": found.accuracy,
            "bordered_eigenvalues": list(found.witnesses),
            "branch": self.diagram.branch_of[number],
            "unstable": list(found.unstable),
        }
        if found.criticality:
            entry["criticality"] = found.criticality
        if found.kind == "multiple":
            entry["frequencies"] = list(found.frequencies)
        if found.multiple is not None:
            entry["multiple"] = found.multiple.as_dict()
        if number in self.cycles:
            entry |= {"frequency": found.frequency} | self.cycles[number].content()
        return entry

    def write_file(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the JSON file, and the states beside it.  See `Report.write_file`.

        Args:
            path: The JSON file; an existing one is replaced.
            about: Further entries of the JSON file.
        """
        super().write_file(path, about)
        self.write_states(path.parent / "branches.npz")

    def write_states(self, path: Path) -> None:
        """Write parameters, states, norms and stability of all branches as NPZ; called on the root rank only."""
        arrays: dict[str, Any] = {"coordinates": self.mesh[0]}
        for number, (branch, states) in enumerate(zip(self.diagram.branches, self.states, strict=True)):
            arrays[f"parameter_{number}"] = np.array([p.parameter for p in branch.points])
            arrays[f"states_{number}"] = states
            arrays[f"unstable_{number}"] = np.array([p.unstable for p in branch.points])
        with replacing(path) as partial, open(partial, "wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)

    def write_fields(self, folder: Path, space: StateSpace, comm: MPI.Intracomm) -> None:
        """Write the states of each branch for ParaView, `branch_0.bp` … (collective).  See `Report.write_fields`."""
        for number, (branch, states) in enumerate(zip(self.diagram.branches, self.states, strict=True)):
            away = np.linalg.norm(np.diff([p.x for p in branch.points], axis=0), axis=1)
            blocks = [np.asfortranarray(state[space.canonical, None]) for state in states]
            lengths = np.concatenate([[0.0], np.cumsum(away)])
            write_states(folder / f"branch_{number}", space, lengths, states=blocks, names=["f"])

    def draw(self, folder: Path) -> None:
        """Draw `bifurcations.png`, over a component that varies along all branches, and `branch_states.png`.

        See `Report.draw`.
        """
        from fem_selection import plots

        branches = self.diagram.branches
        points = [np.array([p.coordinates for p in branch.points]) for branch in branches]
        _, sizes, directions = np.linalg.svd(np.concatenate(points), full_matrices=False)
        directions *= np.sign(directions[np.arange(len(directions)), np.argmax(np.abs(directions), axis=1)])[:, None]
        direction = sizes @ directions / max(float(np.linalg.norm(sizes)), 1e-300)  # so that few branches coincide
        sides = [float(np.sum((x @ direction) * f.mean(axis=1))) for x, f in zip(points, self.states, strict=True)]
        direction = -direction if sum(sides) < 0 else direction  # upwards where states are larger on the average
        heights = [float(found.point.coordinates @ direction) for found in self.bifurcations]
        parameters = [np.array([p.parameter for p in branch.points]) for branch in branches]
        unstable = [np.array([p.unstable for p in branch.points]) for branch in branches]
        plots.draw(
            folder / "bifurcations.png",
            plots.plot_bifurcations,
            self.parameter,
            parameters,
            [x @ direction for x in points],
            unstable=unstable,
            marks=[
                (found.kind, found.parameter, height) for found, height in zip(self.bifurcations, heights, strict=True)
            ],
            cycles=[
                (c.cycles.parameters, c.cycles.amplitudes, heights[number], [o.unstable for o in c.cycles.orbits])
                for number, c in self.cycles.items()
                if c.cycles is not None and c.cycles.orbits
            ],
        )
        chosen = [_spread(branch) for branch in branches[:_SHOWN_BRANCHES]]
        plots.draw(
            folder / "branch_states.png",
            plots.plot_branch_states,
            self.parameter,
            self.mesh[0],
            [mu[k] for mu, k in zip(parameters, chosen, strict=False)],
            states=[f[k] for f, k in zip(self.states, chosen, strict=False)],
            unstable=[n[k] for n, k in zip(unstable, chosen, strict=False)],
            triangles=self.mesh[1],
        )


def _at_once(found: Bifurcation) -> str:
    """Which eigenvalues reach the imaginary axis together, as a phrase."""
    zeros, pairs = found.frequencies.count(0.0), [w for w in found.frequencies if w]
    said = [f"{zeros} zero eigenvalue{'s' * (zeros > 1)}"] if zeros else []
    said.append(f"{len(pairs)} pair{'s' * (len(pairs) > 1)} {', '.join(f'±{w:.6g} i' for w in pairs)}")
    return f"{' and '.join(said)} on the imaginary axis together; branches and cycles that leave it are not sought"


def _spread(branch: Branch) -> Integers:
    """Numbers of some points of a branch, with its ends; a bifurcation at its start is left out."""
    first, last = int(branch.origin == "bifurcation"), len(branch.points) - 1
    return np.unique(np.linspace(min(first, last), last, _SHOWN_STATES).round().astype(np.int64))


def _describe_branch(branch: Branch) -> dict[str, Any]:
    """An entry of the report's "branches"."""
    return {
        "parent": branch.parent,
        "origin": branch.origin,
        "start": branch.start,
        "beginning": branch.beginning,
        "ending": branch.ending,
        "parameter": [p.parameter for p in branch.points],
        "unstable": [p.unstable for p in branch.points],
        "undecided": [p.undecided for p in branch.points],
        "norm": [float(np.linalg.norm(p.coordinates)) for p in branch.points],
        "largest_residual": branch.drift,
    }
