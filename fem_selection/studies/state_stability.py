# SPDX-License-Identifier: MIT
"""The stability of a case's steady state, and the branch of steady states that it lies on.

state → spectrum of σ'(g*) K → error bars from a finer space → verdict → growth in runs → exponents → branch
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fem_selection.cases.field import FieldProblem, build_field
from fem_selection.cases.kernel import is_random
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.elements import MAX_DEGREE
from fem_selection.dynamics import Stepper, find_scheme
from fem_selection.errors import InvalidInput, NonFinite, NotConverged
from fem_selection.kernels import DenseKernel, Kernel, SeparableKernel
from fem_selection.steady import (
    Cycles,
    Diagram,
    GrowthRun,
    LyapunovExponents,
    ReducedFamily,
    Spectrum,
    TransientGrowth,
    Verdict,
    analyze_spectrum,
    continue_branches,
    finite_time_exponents,
    has_local_part,
    judge,
    measure_cycles,
    measure_growth,
    numerical_abscissa,
    steady_state_near,
    transient_growth,
)
from fem_selection.typing import Block, Floats

__all__ = ["Continuation", "StateStability", "assess_state", "continue_case", "find_state", "is_compact"]

_STEADY = 1e-9  # ‖σ(K f + b)‖ of what passes for a steady state
_CERTAIN = 0.1  # part of an eigenvalue that may be uncertain where a run is to show it
_MEASURED = 1e-3  # of ‖A‖: smaller eigenvalues would take long runs
_STEPS = 20_000  # of a run, at most
_STIFF_STEPS = 2000  # of runs where a local part makes ‖A‖ large: a short way, but the rate is known to 1e-6
_LARGEST_MATRIX = 4e9  # bytes of the finer space's dense kernel
_DISTANCES = (0.32, 0.16, 0.08, 0.04, 0.02, 0.01)  # of the range: where cycles are run to


@dataclass(frozen=True)
class StateStability:
    """What was found at one steady state.

    Attributes:
        problem: The case.
        state: f*, shape (num_local, 1).
        residual: ‖σ(K f* + b)‖.
        spectrum: Of the linearization at f*.
        error_bars: Distances of the leading eigenvalues to those on a mesh of twice the cells or, on a mesh file, of
            functions of one degree more; None without a finer space.
        unstable_on_finer_space: Eigenvalues with positive real part there.
        error_bars_declined: Why there are none.
        verdict: In words.
        growth: Perturbed runs of those leading eigenvalues that differ from zero by enough; of none if one blew up.
        growth_declined: Then, what happened.
        abscissa: Numerical abscissa.
        transient: ‖e^{tA}‖; None for an operator without factors.
        exponents: Finite-time Lyapunov exponents along the trajectories of the first samples, or None.
        exponents_declined: Why there are none although the case asks for them: a trajectory may blow up.
    """

    problem: FieldProblem
    state: Block
    residual: float
    spectrum: Spectrum
    error_bars: Floats | None
    unstable_on_finer_space: int | None
    error_bars_declined: str | None
    verdict: Verdict
    growth: GrowthRun
    growth_declined: str | None
    abscissa: float
    transient: TransientGrowth | None
    exponents: LyapunovExponents | None
    exponents_declined: str | None

    @property
    def growth_rate_measured(self) -> float | None:
        """The measured rate of the mode of largest real part; None if no run was made."""
        return float(self.growth.measured[0].real) if self.growth.predicted.size else None

    @property
    def growth_rate_predicted(self) -> float | None:
        """The eigenvalue's real part beside it."""
        return float(self.growth.predicted[0].real) if self.growth.predicted.size else None


@dataclass(frozen=True)
class Continuation:
    """Branches in a parameter.

    Attributes:
        parameter: Its name.
        family: The reduced equation over it.
        diagram: Branches and bifurcations.
        cycles: Limit cycles beside each Hopf point, by its number among the bifurcations.
    """

    parameter: str
    family: ReducedFamily
    diagram: Diagram
    cycles: dict[int, Cycles]


def is_compact(kernel: Kernel) -> bool:
    """Whether the continuum's operator is compact: a kernel in L², without local parts."""
    return isinstance(kernel, DenseKernel | SeparableKernel)


def find_state(problem: FieldProblem) -> tuple[Block, float]:
    """The steady state that `stability.state` leads to, and its residual (collective).

    Raises:
        InvalidInput: if the equation depends on t, or there is no steady state near the start.
    """
    text = problem.case.stability.state
    if not problem.field.is_autonomous:
        raise InvalidInput("dynamics.kernel, dynamics.bias: steady states need an equation that does not depend on t")
    start = np.asfortranarray(problem.values("stability.state", text)[:, None])
    try:
        state, residual = steady_state_near(problem.field, start)
    except NotConverged as error:
        raise InvalidInput(f"stability.state: {text!r}: {error}; give a formula nearer to one") from error
    if residual > _STEADY:
        raise InvalidInput(
            f"stability.state: from {text!r} Newton's method reaches a state at which K f + b stands still, but not f: "
            f"‖σ(K f + b)‖ = {residual:.3g}. There, K f + b = s has no solution with σ(s) = 0"
        )
    return state, residual


def assess_state(problem: FieldProblem, state: Block, residual: float) -> StateStability:
    """The stability of a steady state (collective).

    Args:
        problem: The case.
        state: f*, shape (num_local, 1), as `find_state` returns it.
        residual: ‖σ(K f* + b)‖.
    """
    settings, field, space = problem.case.stability, problem.field, problem.space
    spectrum = analyze_spectrum(field, state, settings.number, settings.tolerance)
    bars, unstable, declined = _error_bars(problem, spectrum)
    linearization = field.linearize(state)
    is_local = has_local_part(field.kernel)
    chosen = _to_measure(spectrum, is_local)
    steps = _STIFF_STEPS if is_local else _STEPS

    def measure(which: list[int]) -> GrowthRun:
        pairs = spectrum.leading[which], spectrum.modes[:, which]
        return measure_growth(field, state, *pairs, spectrum.norm or 1.0, settings.perturbation, max_steps=steps)

    growth, growth_declined = _if_finite(lambda: measure(chosen))
    exponents, exponents_declined = _if_finite(lambda: _exponents(problem))
    return StateStability(
        problem=problem,
        state=state,
        residual=residual,
        spectrum=spectrum,
        error_bars=bars,
        unstable_on_finer_space=unstable,
        error_bars_declined=declined,
        verdict=judge(spectrum, is_compact(field.kernel)),
        growth=measure([]) if growth is None else growth,
        growth_declined=growth_declined,
        abscissa=numerical_abscissa(space, linearization, spectrum.norm, spectrum.factors),
        transient=None if spectrum.factors is None else transient_growth(space, spectrum.factors),
        exponents=exponents,
        exponents_declined=exponents_declined,
    )


def continue_case(problem: FieldProblem) -> Continuation | None:
    """The branch through the steady state in `stability.parameter`; None if the case names none (collective)."""
    settings, space = problem.case.stability, problem.space
    if settings.parameter is None or settings.range is None:
        return None
    name, (lower, upper) = settings.parameter, settings.range
    family = ReducedFamily(space, lambda value: problem.field_at({name: value}), lower, upper)
    start = family.coordinates(problem.values("stability.state", settings.state)[:, None])
    try:
        diagram = continue_branches(family, start, lower, upper, settings.step, settings.points)
    except NotConverged as error:
        raise InvalidInput(f"stability.state: at {name} = {lower:g}: {error}") from error
    cycles = {}
    if settings.cycles:
        for k, found in enumerate(diagram.bifurcations):
            room = upper - found.parameter if found.side > 0 else found.parameter - lower
            distances = tuple(d for d in (upper - lower) * np.array(_DISTANCES) if d <= room)
            if found.kind == "hopf" and distances:
                cycles[k] = measure_cycles(family, found, distances)
    return Continuation(name, family, diagram, cycles)


def _if_finite[T](action: Callable[[], T]) -> tuple[T | None, str | None]:
    """What an action returns, or why it returns nothing: a run that blows up says nothing against the rest."""
    try:
        return action(), None
    except NonFinite as error:
        return None, str(error)


def _to_measure(spectrum: Spectrum, is_local: bool) -> list[int]:
    """Those leading eigenvalues whose growth a run can show, one of each pair; with a local part ‖A‖ is no scale."""
    values = spectrum.leading
    if spectrum.flat == 1.0:
        return []
    large = np.abs(values) >= _MEASURED * spectrum.norm
    growing = values.real > spectrum.tolerance * spectrum.norm
    first = is_local & (np.arange(len(values)) == 0) & (np.abs(values) > spectrum.tolerance * spectrum.norm)
    certain = spectrum.uncertainties[list(spectrum.shown)] <= _CERTAIN * np.abs(values)
    return np.flatnonzero((large | growing | first) & certain & (values.imag >= 0) & (values != 0)).tolist()


def _error_bars(problem: FieldProblem, spectrum: Spectrum) -> tuple[Floats | None, int | None, str | None]:
    """Distances of the leading eigenvalues to those of a finer discretization, and the number that grow there.

    Or why there are none.  A shape gets twice the cells; on a mesh file, which holds one mesh, functions get one degree
    more, with full quadrature; what its cells leave out of a curved domain is not seen.
    """
    case, is_dense = problem.case, isinstance(problem.field.kernel, DenseKernel)
    degree = case.space.degree
    factor = 2.0 if case.domain.file is None else (degree + 1) / max(degree, 1)
    nodes = int(spectrum.num_nodes * factor**problem.space.domain.mesh.topology.dim)
    if not case.stability.refine:
        return None, None, "stability.refine is false"
    if is_random(case):
        return None, None, "a random kernel is another one on another mesh"
    if is_dense and 16.0 * nodes**2 > _LARGEST_MATRIX:
        return None, None, f"the dense kernel of a finer space, {nodes} nodes, would be too large"
    if case.domain.file is not None and degree >= MAX_DEGREE:
        return None, None, f"there is no degree above {MAX_DEGREE}, and a mesh file holds one mesh"
    if case.domain.file is None:
        finer = replace(case, domain=replace(case.domain, cells=tuple(2 * n for n in case.domain.cells)))
    else:
        more = replace(case.space, degree=degree + 1, mode="galerkin", quadrature_degree=None)
        finer = replace(case, space=more)
    other_problem = build_field(finer, problem.space.comm)
    try:
        state, _ = find_state(other_problem)
        other = analyze_spectrum(other_problem.field, state, case.stability.number, case.stability.tolerance)
    except (InvalidInput, NotConverged) as error:
        return None, None, f"on the finer space: {error}"
    distances = np.array([np.min(np.abs(other.values - value), initial=np.inf) for value in spectrum.leading])
    growing = other.values.real > np.maximum(other.tolerance * other.norm, other.uncertainties)
    return distances, int(np.sum(growing)), None


def _exponents(problem: FieldProblem) -> LyapunovExponents | None:
    """Those of the first samples over the layers that the case gives."""
    case, space = problem.case, problem.space
    if not case.stability.exponents:
        return None
    d = case.dynamics
    grid = DepthGrid(d.layers, d.horizon, 1)
    field = problem.field
    stepper = Stepper(space, field.kernel, field.bias[None, :], field.activation, find_scheme(d.scheme), grid)
    first = np.asfortranarray(problem.initial[:, : case.stability.samples])
    return finite_time_exponents(stepper, first, min(case.stability.exponents, space.num_nodes))
