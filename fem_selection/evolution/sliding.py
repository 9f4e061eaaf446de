# SPDX-License-Identifier: MIT
"""Solutions in Filippov's sense where σ jumps: found jumps, and σ with each jump replaced by a steep ramp.

    f'(t, y) ∈ [σ(s₋), σ(s₊)]  where K f + b is at a jump s,       σ_δ(r) linear between σ(s − δ) and σ(s + δ)

Where both sides lead back to the jump, states slide along it, and steps of the equation as it stands become shorter
and shorter.  The solution of the equation with ramps tends to one in Filippov's sense as δ → 0.  Where K f + b slides
it is within δ of the jump, so that nothing is gained by steps whose local error changes K f + b by much less than δ.

References:
    Filippov, Differential Equations with Discontinuous Righthand Sides (1988), doi:10.1007/978-94-015-7793-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ufl
from mpi4py import MPI

from fem_selection.dynamics.field import SelectionField
from fem_selection.functions.activations import Activation
from fem_selection.typing import Block, Floats, UflExpression, create_block

__all__ = ["Jump", "JumpWatch", "Ramps", "find_jumps"]

_REACH, _SAMPLES = 50.0, 20001
_BISECTIONS = 60
_DIGITS, _NEAR = 12, 1e-10  # decimals of a jump's place, and distance of its two sides from it
_JUMP = 1e-6  # least jump, relative to 1 + |σ|
_MOST = 128  # ramps
_WIDTH = 1e-4  # δ relative to the largest |K f + b|
_LOOK_EVERY = 50  # tried steps after which it is asked whether they are hard
_REJECTED, _CRAWL = 0.25, 1e-3  # share of rejected steps, or least part of the time that those steps took, if they are
_ERROR = 0.1  # least error allowed to a step, as a change of K f + b, relative to δ


@dataclass(frozen=True, kw_only=True)
class Jump:
    """A jump of σ.

    Attributes:
        at: Where σ jumps.
        size: σ(s₊) − σ(s₋).
    """

    at: float
    size: float


def find_jumps(activation: Activation, reach: float = _REACH) -> tuple[Jump, ...]:
    """Return the jumps of σ in [−R, R], R = `reach`: differences that stay as the points approach each other.

    Args:
        activation: σ.
        reach: R.
    """
    s = np.unique(np.concatenate([np.linspace(-reach, reach, _SAMPLES), np.linspace(-1.0, 1.0, _SAMPLES)]))
    values = _evaluate(activation, s)
    with np.errstate(invalid="ignore"):
        first = np.abs(np.diff(values))
        large = first > _JUMP * (1.0 + np.abs(values[:-1]))
    at = np.flatnonzero(large & np.isfinite(first))
    low, high, below, above = s[at], s[at + 1], values[at], values[at + 1]
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        here = _evaluate(activation, middle)
        left = np.abs(here - below) >= np.abs(above - here)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
        below, above = np.where(left, below, here), np.where(left, here, above)
    size = above - below
    stays = (np.abs(size) > _JUMP * (1.0 + np.abs(below))) & (np.abs(size) <= 2.0 * first[at] + 1e-300)
    places = np.unique(np.round(low[stays], _DIGITS) + 0.0)
    sides = [_evaluate(activation, places + side * _NEAR * (1.0 + np.abs(places))) for side in (-1.0, 1.0)]
    return tuple(Jump(at=float(x), size=float(d)) for x, d in zip(places, sides[1] - sides[0], strict=True))


class JumpWatch:
    """Says once, where the steps of a run are hard, that it is time to look for jumps of σ.

    Steps are hard if many of them are rejected, or if they hardly advance.

    Args:
        time: Begin of the run.
    """

    def __init__(self, time: float) -> None:
        self._is_over, self._next_look, self._last_time = False, _LOOK_EVERY, time

    def is_due(self, time: float, steps: int, rejected: int) -> bool:
        """Return whether to look for jumps now.

        Args:
            time: t.
            steps: Number of steps taken.
            rejected: Number of steps tried and not taken.
        """
        tried = steps + rejected
        if self._is_over or tried < self._next_look:
            return False
        self._is_over = rejected >= _REJECTED * tried or time - self._last_time <= _CRAWL * time
        self._next_look, self._last_time = tried + _LOOK_EVERY, time
        return self._is_over


class Ramps:
    """An equation whose σ has ramps in place of its jumps.

    Args:
        field: The equation as it stands.
        jumps: The jumps of σ.
        states: States of the run, whose largest |K f + b| scales the width of the ramps.
        sample_comm: Ranks that hold other samples of the run.

    Attributes:
        field: The equation with ramps.
        jumps: The jumps that have ramps, by their places.
        found: Number of jumps given.
        width: δ.
        error: The error of a state, in L², that changes K f + b by a part of δ.

    Note:
        Collective over space.
    """

    def __init__(
        self, field: SelectionField, jumps: Sequence[Jump], states: Block, *, sample_comm: MPI.Intracomm | None
    ) -> None:
        space = field.space
        g = field.preactivation(states)
        size = space.comm.allreduce(float(np.max(np.abs(g), initial=0.0)), op=MPI.MAX)
        largest = float(np.max(space.norm(states), initial=0.0))
        if sample_comm is not None:
            size, largest = (sample_comm.allreduce(value, op=MPI.MAX) for value in (size, largest))
        self.found = len(jumps)
        self.jumps = tuple(sorted(sorted(jumps, key=lambda j: abs(abs(j.at) - size))[:_MOST], key=lambda j: j.at))
        self.width = _WIDTH * (size if size > 0 else 1.0)
        self.field = field.with_activation(_ramped(field.activation, self.jumps, self.width))
        one = create_block(space.num_local, 1)
        one[:] = 1.0
        moved = space.norm(np.asfortranarray(field.preactivation(one) - field.bias[:, None]))[0]
        norm = max(float(moved / space.norm(one)[0]), size / max(largest, 1e-300))
        self.error = _ERROR * self.width / max(norm, 1e-300)

    def sentence(self, time: float) -> str:
        """What was done, from which time on, and how accurate it is."""
        where = ", ".join(f"{j.at:.6g} (by {j.size:.3g})" for j in self.jumps[:3]) + (
            ", …" if len(self.jumps) > 3 else ""
        )
        if self.found > len(self.jumps):
            where += f"; of {self.found} jumps the {len(self.jumps)} nearest to ±max |K f + b|"
        return (
            f"σ jumps at s = {where}: from t = {time:.6g} on the solution is one in Filippov's sense, computed with "
            f"ramps of half width {self.width:.1e} in K f + b"
        )


def _ramped(activation: Activation, jumps: Sequence[Jump], width: float) -> Activation:
    """σ with ramps of a half width."""
    ends = [_evaluate(activation, np.array([j.at - width, j.at + width])) for j in jumps]

    def expression(s: UflExpression) -> UflExpression:
        return near(s, activation(s), 0, len(jumps))

    def near(s: UflExpression, value: UflExpression, first: int, end: int) -> UflExpression:
        """σ with some of the ramps, by halves: conditions inside one another as deep as log₂ of their number."""
        if end - first > 1:
            middle = (first + end) // 2
            between = 0.5 * (jumps[middle - 1].at + jumps[middle].at)
            sides = near(s, value, first, middle), near(s, value, middle, end)
            return ufl.conditional(ufl.lt(s, between), *sides)
        jump, (below, above) = jumps[first], ends[first]
        ramp = 0.5 * float(below + above) + (s - jump.at) * (0.5 * float(above - below) / width)
        return ufl.conditional(ufl.lt(abs(s - jump.at), width), ramp, value)

    return Activation(name=f"{activation.name} with ramps", expression=expression, symbols=activation.symbols)


def _evaluate(activation: Activation, s: Floats) -> Floats:
    """σ at some points."""
    block = np.asfortranarray(s.reshape(-1, 1))
    out = np.empty_like(block)
    with np.errstate(all="ignore"):
        activation.value(block, out)
    return out[:, 0]
