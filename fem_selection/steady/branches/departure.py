# SPDX-License-Identifier: MIT
"""Where a state goes that leaves an unstable steady state: to a cycle, to rest, or away.

A run of the reduced equation starts beside the steady state, in the plane of its leading eigenvalue.  A windowed
amplitude cannot tell a cycle from a ramp.  Therefore the run counts as *on a cycle* only if it returns to a Poincaré
section near where it left it and shooting from there finds an orbit that closes; as *at rest* if the rate falls to the
error of the run; as *growing* once the state has grown by a factor of ten thousand, with the law of growth that fits
(`fem_selection.evolution.growth`), if one does.  Otherwise, when the time ends, the outcome is not decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fem_selection.errors import NotConverged
from fem_selection.evolution.growth import fit_growth
from fem_selection.steady.branches.flow import Budget, Flow
from fem_selection.steady.branches.periodic_orbits import SEGMENTS, Guess, PeriodicOrbit, solve_orbit
from fem_selection.steady.equilibria.newton import solve_newton
from fem_selection.steady.equilibria.reduction import LINE_SEARCH, ReducedFamily
from fem_selection.typing import Floats

__all__ = ["Departure", "follow_departure"]

_START = 1e-2  # distance from the steady state, relative to 1 + |c|
_WINDOW = 12  # length of a window in periods of the leading eigenvalue
_WINDOWS = 80
_RTOL = 1e-8
_FAR = 1e4  # growth at which a run ends, relative to 1 + |c|
_AT_REST = 1e-7  # rate that counts as zero, relative to 1 + |c| and the frequency
_NEAR = 0.02  # distance of a return, relative to the extent of the window, from which shooting starts
_SAMPLES = 400
_TURNS = 8  # largest distances from which a law is fitted to them alone


@dataclass(frozen=True, kw_only=True)
class Departure:
    """The outcome of a run from beside an unstable steady state.

    Attributes:
        parameter: μ.
        outcome: "cycle", "rest", "growth" or "not decided".
        sentence: The outcome with its numbers.
        time: The time at which the run ended.
        size: |c − c₀| then, c₀ the steady state.
        orbit: The cycle that the run reached, or None.
    """

    parameter: float
    outcome: str
    sentence: str
    time: float
    size: float
    orbit: PeriodicOrbit | None


def follow_departure(
    family: ReducedFamily, coordinates: Floats, parameter: float, *, budget: Budget | None = None
) -> Departure:
    """Run the reduced equation from beside an unstable steady state until its outcome is known (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        coordinates: c near the steady state, shape (r,).
        parameter: μ.
        budget: The evaluations of G that are left; those of one computation if None.

    Raises:
        NotConverged: if there is no unstable steady state near `coordinates`.
    """
    flow = Flow(family, parameter, budget)
    rest, mode, frequency = _unstable_state(family, flow, coordinates)
    size = 1 + float(np.linalg.norm(rest))
    state = rest + _START * size * mode
    window, time = _WINDOW * 2 * np.pi / frequency, 0.0
    times, sizes = [0.0], [_START * size]
    for _ in range(_WINDOWS):
        try:
            found = flow.run(
                state,
                window,
                rtol=_RTOL,
                t_eval=np.linspace(0.0, window, _SAMPLES + 1),
                events=_leaves(rest, _FAR * size),
            )
        except NotConverged as error:
            return _end(parameter, "not decided", f"is lost: {error}", time, sizes[-1])
        states = found.y.T
        times += (time + found.t[1:]).tolist()
        sizes += np.linalg.norm(states[1:] - rest, axis=1).tolist()
        state, time = states[-1], time + float(found.t[-1])
        if found.status == 1:
            times.append(time - float(found.t[-1]) + float(found.t_events[0][0]))
            sizes.append(_FAR * size)
            time = times[-1]
            return _end(parameter, "growth", _growth(np.array(times), np.array(sizes)), time, sizes[-1])
        speed = float(np.linalg.norm(flow.field.rate(state)))
        if speed <= _AT_REST * size * frequency and sizes[-1] > _START * size:
            text = f"comes to rest at a distance of {sizes[-1]:.3g} from the steady state (rate {speed:.1e})"
            return _end(parameter, "rest", text, time, sizes[-1])
        if (orbit := _close(flow, family, states, found.t)) is not None:
            text = (
                f"reaches a cycle of amplitude {orbit.amplitude:.6g} and period {orbit.period:.6g}, which closes "
                f"within {orbit.closure:.1e} (tolerance {orbit.closure_tolerance:.1e})"
            )
            return _end(parameter, "cycle", text, time, sizes[-1], orbit)
        if time > 0 and sizes[-1] > 100 * size:
            window *= 2  # far away a run is slow to change
    text = f"is at a distance of {sizes[-1]:.3g} from the steady state when the time ends, t = {time:.4g}"
    return _end(parameter, "not decided", text, time, sizes[-1])


def _unstable_state(family: ReducedFamily, flow: Flow, coordinates: Floats) -> tuple[Floats, Floats, float]:
    """The steady state, the direction of its leading eigenvalue, of unit length, and this eigenvalue's modulus."""
    run = solve_newton(family.at(flow.parameter), coordinates, line_search=LINE_SEARCH)
    if not run.converged:
        raise NotConverged(f"no steady state near the start at {flow.parameter:.9g}: {run.reason}")
    values, vectors = np.linalg.eig(flow.field.rate_and_jacobian(run.solution)[1])
    leading = int(np.argmax(values.real))
    if values[leading].real <= 0:
        raise NotConverged(f"the steady state at {flow.parameter:.9g} is not unstable")
    mode = vectors[:, leading].real
    return run.solution, mode / np.linalg.norm(mode), max(abs(values[leading]), 1e-300)


def _end(
    parameter: float, outcome: str, sentence: str, time: float, size: float, orbit: PeriodicOrbit | None = None
) -> Departure:
    return Departure(parameter=parameter, outcome=outcome, sentence=sentence, time=time, size=size, orbit=orbit)


def _leaves(rest: Floats, far: float) -> Callable[[float, Floats], float]:
    """An event of `solve_ivp`: the state is far away."""

    def distance(_: float, c: Floats) -> float:
        return float(np.linalg.norm(c - rest)) - far

    distance.terminal = True  # type: ignore[attr-defined]
    return distance


def _growth(times: Floats, sizes: Floats) -> str:
    """The growth of the sizes with its law, if there is one, as a phrase."""
    grown = f"grows to {sizes[-1]:.3g} until t = {times[-1]:.4g}"
    inner = sizes[1:-1]
    peaks = 1 + np.flatnonzero((inner > sizes[:-2]) & (inner >= sizes[2:]) & (inner > 10 * sizes[0]))
    if peaks.size >= _TURNS:  # states that turn grow from one largest distance to the next
        times, sizes = times[peaks], np.maximum.accumulate(sizes[peaks])
    law = fit_growth(times, sizes, sizes * np.gradient(np.log(sizes), times))
    known = "no law fits" if law is None or law.kind == "other" else f"the distance {law.sentence}"
    return f"{grown}; {known}"


def _close(flow: Flow, family: ReducedFamily, states: Floats, times: Floats) -> PeriodicOrbit | None:
    """The cycle at the end of a window, if the run returns near its last state and shooting closes it."""
    last = states[-1]
    direction = states[-1] - states[-2]
    heights = (states - last) @ direction
    crossings = np.flatnonzero((heights[:-1] < 0) & (heights[1:] >= 0))[:-1]
    extent = float(np.max(np.linalg.norm(states - states.mean(axis=0), axis=1)))
    for k in crossings[::-1].tolist():
        part = heights[k] / (heights[k] - heights[k + 1])
        back = states[k] + part * (states[k + 1] - states[k])
        if np.linalg.norm(back - last) > _NEAR * extent:
            continue
        period = float(times[-1] - (times[k] + part * (times[k + 1] - times[k])))
        begin = times[-1] - period
        nodes = begin + period * np.arange(SEGMENTS) / SEGMENTS
        points = np.array([np.interp(nodes, times, column) for column in states.T]).T
        try:
            orbit, _ = solve_orbit(
                family, Guess(points=points, period=period, parameter=flow.parameter), budget=flow.budget
            )
        except NotConverged:
            return None
        away = float(np.linalg.norm(orbit.samples.mean(axis=0) - states[times >= begin].mean(axis=0)))
        is_the_same = away <= 0.1 * extent and abs(orbit.period / period - 1) < 0.1
        return orbit if is_the_same and orbit.unstable == 0 else None
    return None
