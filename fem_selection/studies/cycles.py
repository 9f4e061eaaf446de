# SPDX-License-Identifier: MIT
"""What is said of a Hopf point: its normal form, the cycles that leave it, and where states go beyond it.

Three routes to the same cycles: the first Lyapunov coefficient, from derivatives of σ at the point; the family of
cycles, from shooting; a run from beside the unstable steady state.  Where they disagree, nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.steady.branches.bifurcations import Bifurcation
from fem_selection.steady.branches.continuation import solve_steady
from fem_selection.steady.branches.cycles import CycleFamily, follow_cycles
from fem_selection.steady.branches.departure import Departure, follow_departure
from fem_selection.steady.branches.flow import Budget
from fem_selection.steady.branches.hopf import HopfPoint, analyze_hopf
from fem_selection.steady.equilibria.reduction import ReducedFamily
from fem_selection.typing import Floats

__all__ = ["HopfFindings", "find_cycles"]

_NUMBER = 16  # largest number of cycles of a family
_BESIDE = 0.1  # of the range: distance from the Hopf point at which the run starts
_STEPS = 8  # steps along the branch to that place


@dataclass(frozen=True, kw_only=True)
class HopfFindings:
    """The findings about one Hopf point.

    Attributes:
        hopf: The normal form, or None.
        cycles: The cycles that leave the point, or None.
        departure: The run from beside the unstable steady state, or None.
        declined: The reason for each part that is missing, by its name.
    """

    hopf: HopfPoint | None
    cycles: CycleFamily | None
    departure: Departure | None
    declined: dict[str, str]

    @property
    def contradiction(self) -> str | None:
        """How the cycles contradict the normal form, or None."""
        if self.hopf is None or self.cycles is None or not self.cycles.orbits or not self.hopf.side:
            return None
        first = self.cycles.orbits[0]
        if np.sign(first.parameter - self.hopf.parameter) != self.hopf.side:
            return (
                f"l₁ predicts cycles on the other side of the point than at {first.parameter:.9g}, where one was found"
            )
        return None

    @property
    def criticality(self) -> str:
        """ "supercritical", "subcritical", or "" if normal form and cycles do not decide it together."""
        return "" if self.hopf is None or self.contradiction else self.hopf.criticality

    def phrases(self, parameter: str) -> list[str]:
        """The findings in words, with the tolerance of each.

        Args:
            parameter: Name of the parameter.
        """
        said = []
        if (hopf := self.hopf) is not None:
            said.append(f"frequency {hopf.frequency:.6g}, period {hopf.period:.6g}")
            said.append(f"l₁ = {hopf.lyapunov:.6g} ± {hopf.lyapunov_error:.1e}")
            said += [] if self.criticality else [f"criticality not decided: {self._why_not_decided}"]
        if (cycles := self.cycles) is not None and cycles.orbits:
            said.append(_in_words(cycles))
        if (run := self.departure) is not None:
            said += [] if self._has_attracting_cycle else ["no attracting cycle was found"]
            said.append(f"at {parameter} = {run.parameter:.6g} a run from beside the steady state {run.sentence}")
        return said + [f"{name} declined: {reason}" for name, reason in self.declined.items()]

    @property
    def _has_attracting_cycle(self) -> bool:
        known = list(self.cycles.orbits) if self.cycles is not None else []
        known += [self.departure.orbit] if self.departure is not None and self.departure.orbit is not None else []
        return any(orbit.is_decided and orbit.unstable == 0 for orbit in known)

    @property
    def _why_not_decided(self) -> str:
        return self.contradiction or (self.hopf.criticality_declined if self.hopf is not None else None) or ""

    def content(self) -> dict[str, Any]:
        """The entries of a report."""
        entries: dict[str, Any] = {"criticality": self.criticality}
        if self.hopf is not None:
            entries |= {"frequency": self.hopf.frequency, "normal_form": self.hopf.as_dict()}
            entries["normal_form"]["criticality_declined"] = self._why_not_decided or None
        if self.cycles is not None and self.cycles.orbits:
            entries["cycles"] = _cycle_entries(self.cycles)
        if self.departure is not None:
            run = self.departure
            entries["departure"] = {
                "parameter": run.parameter,
                "outcome": run.outcome,
                "sentence": run.sentence,
                "time": run.time,
                "size": run.size,
            }
        return entries | {"cycles_declined": self.declined or None}


def find_cycles(family: ReducedFamily, found: Bifurcation, budget: Budget) -> HopfFindings:
    """Compute normal form, cycles and a run from beside the steady state at a Hopf point (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        found: The Hopf point.
        budget: The evaluations that are left; shared by all Hopf points of a study.
    """
    declined: dict[str, str] = {}
    hopf: HopfPoint | None = None
    cycles: CycleFamily | None = None
    departure: Departure | None = None
    try:
        hopf = analyze_hopf(family, found.point.coordinates, found.parameter, uncertainty=found.uncertainty)
        cycles = follow_cycles(family, hopf, _NUMBER, budget=budget)
        if cycles.declined is not None:
            declined["cycles"] = cycles.declined
    except (InvalidInput, NotConverged) as error:
        declined["normal form"] = str(error)
    room = family.upper - found.parameter if found.side > 0 else found.parameter - family.lower
    parameter = found.parameter + found.side * min(_BESIDE * family.scale, 0.5 * room)
    try:
        rest = _steady_state_at(family, found, parameter)
        departure = follow_departure(family, rest, parameter, budget=budget)
    except NotConverged as error:
        declined["departure"] = str(error)
    return HopfFindings(hopf=hopf, cycles=cycles, departure=departure, declined=declined)


def _steady_state_at(family: ReducedFamily, found: Bifurcation, parameter: float) -> Floats:
    """The steady state of the branch of a Hopf point at another value of the parameter, by short steps."""
    start = found.point.coordinates
    states = [start, start]
    for value in np.linspace(found.parameter, parameter, _STEPS + 1)[1:].tolist():
        states.append(solve_steady(family, 2 * states[-1] - states[-2], value))
    return states[-1]


def _in_words(cycles: CycleFamily) -> str:
    """The cycles of a family in a phrase."""
    orbits, exponent = cycles.orbits, cycles.exponent
    kinds = list(dict.fromkeys(orbit.stability for orbit in orbits))
    law = f"amplitude exponent {exponent:.3f}, " if np.isfinite(exponent) else ""
    worst = max(orbits, key=lambda orbit: orbit.closure / orbit.closure_tolerance)
    drifting = [orbit for orbit in orbits if orbit.drift > orbit.drift_error]
    more = [f"{kind} between {a:.6g} and {b:.6g}" for kind, a, b in cycles.changes]
    if drifting:
        largest = max(drifting, key=lambda orbit: orbit.drift)
        more.append(f"only K f + b is periodic there, f drifts by up to {largest.drift:.3g} a period")
    where = f"from {orbits[0].parameter:.6g} to {orbits[-1].parameter:.6g}"
    many = f"{len(orbits)} cycles {where}" if len(orbits) > 1 else f"one cycle at {orbits[0].parameter:.6g}"
    return (
        f"{law}{many}, "
        f"{', then '.join(kinds)}, closing within {worst.closure:.1e} (tolerance {worst.closure_tolerance:.1e}), until "
        f"{cycles.ending}{''.join('; ' + text for text in more)}"
    )


def _cycle_entries(cycles: CycleFamily) -> dict[str, Any]:
    orbits = cycles.orbits
    return {
        "parameters": cycles.parameters,
        "amplitudes": cycles.amplitudes,
        "exponent": cycles.exponent,
        "periods": [orbit.period for orbit in orbits],
        "stability": [orbit.stability for orbit in orbits],
        "multipliers": [[[float(m.real), float(m.imag)] for m in orbit.multipliers] for orbit in orbits],
        "multiplier_errors": [orbit.multiplier_errors for orbit in orbits],
        "closures": [orbit.closure for orbit in orbits],
        "closure_tolerances": [orbit.closure_tolerance for orbit in orbits],
        "drifts": [orbit.drift for orbit in orbits],
        "drift_errors": [orbit.drift_error for orbit in orbits],
        "changes": [{"kind": kind, "between": [a, b]} for kind, a, b in cycles.changes],
        "ending": cycles.ending,
    }
