# SPDX-License-Identifier: MIT
"""The stability of a steady state, and the branch of steady states that it lies on.

    report = fs.studies.stability(field, start, fs.StabilitySettings(number=4))
    report.verdict.sentence, report.eigenvalues, report.growth_rate_measured
    report.write("folder")

    state → spectrum of σ'(g*) K → error bars from a finer space → verdict → growth in runs → exponents → branches

    folder/report.json                verdict, eigenvalues, measured growth, exponents, bifurcations
    folder/figures/spectrum.png       eigenvalues in the complex plane; eigenfunctions.png; growth.png
    folder/figures/exponents.png      finite-time Lyapunov exponents; bifurcations.png, branches over the parameter;
                                      branch_states.png, states along them

For a network whose kernel and bias depend on depth use `network_stability` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import Linearization, Scheme, SelectionField, Stepper, find_scheme
from fem_selection.dynamics.rest import tolerance_of_rest
from fem_selection.errors import InvalidInput, NonFinite, NotConverged, TooManyCoordinates
from fem_selection.io.triangles import gather_triangles
from fem_selection.kernels import DenseKernel, KernelOperator
from fem_selection.linalg.norms import operator_norm, require_moderate
from fem_selection.settings import NewtonSettings, StabilitySettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.steady import (
    GrowthRun,
    LyapunovExponents,
    Spectrum,
    analyze_spectrum,
    find_steady_state,
    finite_time_exponents,
    flow_exponents,
    has_local_part,
    is_compact,
    judge,
    measure_growth,
    numerical_abscissa,
    transient_growth,
)
from fem_selection.steady.stability.error_bars import ErrorBars, estimate_error_bars
from fem_selection.steady.stability.growth import MAX_STEPS
from fem_selection.steady.stability.resolution import judge_by_error_bars
from fem_selection.steady.stability.verdict import judge_unsteady
from fem_selection.studies.branches_report import BranchesReport
from fem_selection.studies.continuation import Family, as_column, branches
from fem_selection.studies.report import Progress, Teller
from fem_selection.studies.stability_report import StabilityReport
from fem_selection.typing import Block, Floats

__all__ = ["PRECISE", "FinerSpace", "find_state", "stability"]

PRECISE = NewtonSettings(residual=1e-12)
"""Newton's settings for states whose spectra are computed."""

_MORE = (2, 6)  # so many eigenvalues are selected on other spaces: twice the number and six
_REFINEMENTS = 20  # runs of Newton's method, each from the end of the one before
_CERTAIN = 0.1  # largest relative uncertainty of an eigenvalue whose growth is measured by a run
_MEASURED = 1e-3  # of ‖A‖: smaller eigenvalues would take long runs
_RUN_WORK, _FEWEST_STEPS = 500_000_000, 100  # entries of dense kernels that the steps of a run pass, each counted once
_STIFF_STEPS = 2000  # of runs where a local part makes ‖A‖ large: a short way, but the rate is known to 1e-6

FinerSpace = tuple[SelectionField, Floats]
"""The equation on a finer space, and nodal values on that space of a state near the steady one."""


def stability(
    field: SelectionField,
    start: Floats,
    settings: StabilitySettings | None = None,
    *,
    state: Floats | None = None,
    finer: FinerSpace | Callable[[], FinerSpace] | None = None,
    finer_declined: str | None = None,
    third: FinerSpace | Callable[[], FinerSpace] | None = None,
    initial: Block | None = None,
    horizon: float | None = None,
    depth: DepthGrid | None = None,
    scheme: Scheme | None = None,
    family: Family | None = None,
    value: float | None = None,
    progress: Progress | None = None,
) -> StabilityReport:
    """Assess the steady state near a start, and the branch that it lies on (collective over space).

    Args:
        field: F, which must not depend on time.
        start: Nodal values of a state from which Newton's method reaches the steady one, shape (num_local,).
        settings: Which parts are computed, and how accurately; `StabilitySettings()` if None.  `settings.state` is not
            read here; it belongs to case files.
        state: Nodal values of f*, shape (num_local,), if `find_state` has found it already.  If it does not rest (see
            `dynamics.rest`), the verdict is withheld.
        finer: The equation on a finer space and a start there, or a function that returns them.  The error bars of the
            eigenvalues come from the differences to this space (see `ErrorBars`).
        finer_declined: Why there is no finer space, for the report.
        third: The same on a space finer still, or on one coarser than the field's: it shows the order of the errors.
        initial: Initial states, shape (num_local, samples), for whose trajectories exponents are computed.
        horizon: T, the end of these trajectories; the layers are refined until the exponents are those of the equation.
        depth: Layers whose exponents are computed instead, as they are.
        scheme: The scheme of these layers; the classical Runge–Kutta scheme if None.
        family: Returns the equation at a value of the parameter, if branches are wanted.
        value: The value of the parameter at which `field` is the equation of the family: the branch of f* is followed
            from there.  If None, that of the state near `start` at the first value of `settings.range` is followed.
        progress: Called on root after each part.

    Raises:
        InvalidInput: if F depends on time, if no steady state is reached, or if settings and arguments do not fit.
        NoBranch: if there is no steady state near the start at the value from which branches are followed.
        NonFinite: if σ' is not finite at the state.

    Example:
        >>> field = fs.build_field(fs.load_case("demos/pitchfork.toml")).field  # tanh(3g/2) − g with g = ∫ f
        >>> report = fs.studies.stability(field, np.zeros(field.space.num_local), fs.StabilitySettings(refine=False))
        >>> print(report.verdict.kind, report.eigenvalues[0].real.round(6))  # 3/2 − 1
        unstable 0.5
    """
    settings = settings_or_default(settings, StabilitySettings)
    space = field.space
    if not field.is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states")
    require_moderate(space, KernelOperator(field.kernel, field.interval))
    if initial is not None:
        initial = space.to_block(initial, "initial states", fewest=1)
    tell = Teller(progress if space.comm.rank == 0 else None, 4 + (family is not None))
    column = as_column(space, find_state(field, start) if state is None else state, "the state")
    spectrum = analyze_spectrum(field, column, settings.number, tolerance=settings.tolerance)
    tell("spectrum")
    bars, declined, other = _error_bars(spectrum, space, settings, finer=finer, third=third, declined=finer_declined)
    tell("error bars")
    growth, growth_declined = _measure(field, column, spectrum, settings)
    tell("growth")
    exponents, exponents_declined = _exponents(field, settings, initial, depth, scheme, horizon)
    tell("exponents")
    found, branches_declined = None, None
    if family is not None:
        found, branches_declined = _branches(family, start if value is None else column[:, 0], settings, value)
        tell("branches")
    factors = spectrum.factors
    kernel_norm = operator_norm(space, KernelOperator(field.kernel, field.interval))
    rest = float(tolerance_of_rest(field, column, norm=kernel_norm)[0])
    residual = float(space.norm(field.rate(column))[0])
    abscissa, abscissa_declined = _abscissa(space, field.linearize(column), spectrum)
    transient = None if factors is None else transient_growth(space, factors)
    compact = is_compact(field.kernel)
    verdict = judge(spectrum, compact, other) if residual <= rest else judge_unsteady(residual, rest)
    verdict = judge_by_error_bars(verdict, spectrum, bars, is_compact=compact, abscissa=abscissa, transient=transient)
    return StabilityReport(
        state=column[:, 0],
        residual=residual,
        rest=rest,
        spectrum=spectrum,
        bars=bars,
        error_bars_declined=declined,
        verdict=verdict,
        growth=growth,
        growth_declined=growth_declined,
        abscissa=abscissa,
        abscissa_declined=abscissa_declined,
        transient=transient,
        exponents=exponents,
        exponents_declined=exponents_declined,
        branches=found,
        branches_declined=branches_declined,
        mesh=(space.gather(space.coordinates), gather_triangles(space)),
        modes=_gather(space, spectrum.modes),
    )


def find_state(field: SelectionField, start: Floats, *, name: str = "the start") -> Floats:
    """Return the steady state that Newton's method reaches from a start, shape (num_local,) (collective).

    Args:
        field: F, which must not depend on time.
        start: Nodal values, shape (num_local,).
        name: The name of the start in errors.

    Raises:
        InvalidInput: if F depends on time, or Newton's method reaches no steady state from the start.
    """
    column = as_column(field.space, start, name)
    if not field.is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states")
    norm = operator_norm(field.space, KernelOperator(field.kernel, field.interval))
    state, rest, residual = column, float(tolerance_of_rest(field, column, norm=norm)[0]), np.inf
    for _ in range(_REFINEMENTS):  # near a multiple zero of σ the iterates, and with them the tolerance, shrink slowly
        try:
            found = find_steady_state(field, state[:, 0], replace(PRECISE, residual=min(PRECISE.residual, rest)))
        except NotConverged as error:
            if np.isfinite(residual):
                break
            raise InvalidInput(f"{name}: {error}; give a start nearer to one") from error
        state, before, residual = as_column(field.space, found.state, "the state"), residual, found.residual
        rest = float(tolerance_of_rest(field, state, norm=norm)[0])
        if residual <= rest or residual > 0.5 * before:
            break
    if residual > rest:
        raise InvalidInput(
            f"from {name} Newton's method reaches a state at which K f + b stands still, but not f: "
            f"‖σ(K f + b)‖ = {residual:.3g}, and at most {rest:.2g} counts as rest. There, K f + b = s has no "
            "solution with σ(s) = 0"
        )
    return np.asarray(state[:, 0])


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _if_finite[T](action: Callable[[], T]) -> tuple[T | None, str | None]:
    """The result of an action and None; if a run in it blows up, None and the reason."""
    try:
        return action(), None
    except NonFinite as error:
        return None, str(error)


def _branches(
    family: Family, start: Floats, settings: StabilitySettings, value: float | None
) -> tuple[BranchesReport | None, str | None]:
    """The branches, or the reason why none are followed from a state that can be assessed all the same."""
    if settings.range is not None and value is not None and not min(settings.range) <= value <= max(settings.range):
        name, (lower, upper) = settings.parameter or "parameter", settings.range
        return None, f"the state is given at {name} = {value:g}, outside of stability.range, {lower:g} to {upper:g}"
    try:
        return branches(family, start, settings, at=value), None
    except TooManyCoordinates as error:
        return None, str(error)


def _error_bars(
    spectrum: Spectrum,
    space: StateSpace,
    settings: StabilitySettings,
    *,
    finer: FinerSpace | Callable[[], FinerSpace] | None,
    third: FinerSpace | Callable[[], FinerSpace] | None,
    declined: str | None,
) -> tuple[ErrorBars | None, str | None, Spectrum | None]:
    """The error bars of the leading eigenvalues, or the reason why there are none, and the finer spectrum."""
    if not settings.refine:
        return None, "stability.refine is false", None
    if finer is None or declined is not None:
        return None, declined or "no finer space is given", None

    def analyze(equation: FinerSpace | Callable[[], FinerSpace]) -> tuple[Spectrum, StateSpace]:
        field, start = equation() if callable(equation) else equation
        state = as_column(field.space, find_state(field, start), "the state")
        number = _MORE[0] * settings.number + _MORE[1]
        found = analyze_spectrum(field, state, number, tolerance=settings.tolerance, has_witness=False)
        return found, field.space

    try:
        other = analyze(finer)
    except (InvalidInput, NotConverged) as error:
        return None, f"on the finer space: {error}", None
    try:
        further = None if third is None else analyze(third)
    except (InvalidInput, NotConverged):
        further = None  # the bars say how many meshes they rest on
    return estimate_error_bars(spectrum, space, other, third=further), None, other[0]


def _abscissa(space: StateSpace, linearization: Linearization, spectrum: Spectrum) -> tuple[float, str | None]:
    """The numerical abscissa and None, or nan and the reason."""
    try:
        return numerical_abscissa(space, linearization, spectrum.norm, factors=spectrum.factors), None
    except NotConverged as error:
        return float("nan"), str(error)


def _measure(
    field: SelectionField, state: Block, spectrum: Spectrum, settings: StabilitySettings
) -> tuple[GrowthRun, str | None]:
    """Runs from the state perturbed by each mode whose growth can be measured; no runs, but a reason, if one fails."""
    is_local = has_local_part(field.kernel)

    def run(which: list[int]) -> GrowthRun:
        return measure_growth(
            field,
            state,
            spectrum.leading[which],
            modes=spectrum.modes[:, which],
            duals=np.zeros((len(state), 0), complex) if spectrum.duals is None else spectrum.duals[:, which],
            norm=spectrum.norm or 1.0,
            perturbation=settings.perturbation,
            max_steps=_affordable_steps(field, is_local),
        )

    if spectrum.kinks or spectrum.duals is None:
        many = "there are no left eigenfunctions to project a run on: the kernel has a local part and many nodes"
        return run([]), "σ' jumps at the state, where the rate depends on the side" if spectrum.kinks else many
    growth, declined = _if_finite(lambda: run(_to_measure(spectrum, is_local)))
    return run([]) if growth is None else growth, declined


def _affordable_steps(field: SelectionField, is_local: bool) -> int:
    """The largest number of steps of a run: the products of a large dense kernel allow few, over shorter intervals."""
    if is_local:
        return _STIFF_STEPS
    if not isinstance(field.kernel, DenseKernel):
        return MAX_STEPS
    return int(min(MAX_STEPS, max(_FEWEST_STEPS, _RUN_WORK // field.space.num_nodes**2)))


def _to_measure(spectrum: Spectrum, is_local: bool) -> list[int]:
    """The leading eigenvalues whose growth a run can show, one of each pair; with a local part also the first."""
    values = spectrum.leading
    if spectrum.flat == 1.0:
        return []
    large = np.abs(values) >= _MEASURED * spectrum.norm
    growing = values.real > spectrum.tolerance * spectrum.norm
    first = is_local & (np.arange(len(values)) == 0) & (np.abs(values) > spectrum.tolerance * spectrum.norm)
    certain = spectrum.uncertainties[list(spectrum.shown)] <= _CERTAIN * np.abs(values)
    return np.flatnonzero((large | growing | first) & certain & (values.imag >= 0) & (values != 0)).tolist()


def _exponents(
    field: SelectionField,
    settings: StabilitySettings,
    initial: Block | None,
    depth: DepthGrid | None,
    scheme: Scheme | None,
    horizon: float | None,
) -> tuple[LyapunovExponents | None, str | None]:
    """The exponents of the first samples over the layers or up to the horizon, or the reason why there are none."""
    if not settings.exponents:
        return None, None
    if initial is None:
        return None, "no initial states are given"
    first = np.asfortranarray(initial[:, : settings.samples])
    count = min(settings.exponents, field.space.num_nodes)
    if depth is None:
        if horizon is None:
            return None, "neither horizon nor layers are given"
        return _if_finite(lambda: flow_exponents(field, first, count, horizon=horizon))
    scheme = find_scheme("rk4") if scheme is None else scheme
    grid, bias = DepthGrid(layers=depth.layers, horizon=depth.horizon, intervals=1), field.bias[None, :]
    stepper = Stepper(
        field.space,
        field.kernel,
        bias,
        activation=field.activation,
        scheme=scheme,
        grid=grid,
        evaluation=field.evaluation,
    )
    return _if_finite(lambda: finite_time_exponents(stepper, first, count))


def _gather(space: StateSpace, modes: np.ndarray) -> np.ndarray:
    """Complex functions at all nodes, on every rank (collective)."""
    parts = space.gather(np.asfortranarray(np.hstack([modes.real, modes.imag])))
    k = modes.shape[1]
    return parts[:, :k] + 1j * parts[:, k:]
