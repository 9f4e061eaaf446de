# SPDX-License-Identifier: MIT
"""Settings of the computations without learning: large times, steady states, stability, the value function."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fem_selection.settings.fields import Ends, ListOrScalar, one_of
from fem_selection.settings.names import INTEGRATORS, SPACINGS
from fem_selection.settings.tables import settings_class

__all__ = [
    "ForwardSettings",
    "HjbSettings",
    "LimitSettings",
    "NewtonSettings",
    "StabilitySettings",
    "SteadySettings",
    "StepSettings",
]

#: Times, or values of a parameter, of which a list is made before the work begins: more would fill the memory.
MOST = 1_000_000


@settings_class
class StepSettings:
    """The keys of `[forward]` that choose the steps and end the run.

    Attributes:
        rtol: Local error allowed relative to ‖f_j‖, the L² norm of a state.
        atol: Local error allowed in addition, in units of ‖f_j‖; times the size of the sample if that is below 1.
        method: `explicit` or `implicit` steps, or `auto`, explicit ones until stability limits them.
        steady_tolerance: The run ends where ‖∂_t f_j‖ is at most this, times the largest ‖f_j‖ so far where that is
            below 1, for all samples, and their limits are near; 0 for no such end.
        growth_bound: The run of a sample ends where its ‖f_j‖ exceeds this; `inf` for no bound.
        first_step: Length of the first step; 0 lets the integrator choose it.
        max_step: The longest step; no limit by default.  If kernel or bias depend on t, steps are also limited by where
            they vary.
        max_steps: Number of steps, rejected ones included, after which the run ends with what it has.
    """

    rtol: float = Field(default=1e-8, ge=1e-14, lt=1)
    atol: float = Field(default=1e-10, gt=0)
    method: Annotated[str, one_of(INTEGRATORS)] = "auto"
    steady_tolerance: float = Field(default=1e-9, ge=0)
    growth_bound: float = Field(default=1e8, gt=0, allow_inf_nan=True)
    first_step: float = Field(default=0.0, ge=0)
    max_step: float = Field(default=float("inf"), gt=0, allow_inf_nan=True)
    max_steps: int = Field(default=10_000_000, ge=1)


@settings_class
class ForwardSettings(StepSettings):
    """`[forward]`: the equation over large times, with adaptive steps; the keys of `StepSettings`, and these.

    Attributes:
        until: The last time; `dynamics.horizon` if left out.
        times: Number of times, 0 and `until` among them, at which states are kept and estimates are evaluated.
        spacing: `linear` times, or `logarithmic` ones, which begin at `until`/10⁶ after 0.
        estimates: Whether the bounds of the theory are computed and compared with the solution.
        shown: Number of times, and of samples, in the figure of states.
    """

    until: float | None = Field(default=None, gt=0)
    times: int = Field(default=101, ge=2, le=MOST)
    spacing: Annotated[str, one_of(SPACINGS, {"log": "logarithmic"})] = "linear"
    estimates: bool = True
    shown: int = Field(default=5, ge=1)


@settings_class
class NewtonSettings:
    """The keys of `[steady]` that end Newton's method.

    Attributes:
        residual: ‖σ(K f + b)‖ at which Newton's method stops.
        max_iterations: Largest number of Newton steps.
    """

    residual: float = Field(default=1e-11, gt=0)
    max_iterations: int = Field(default=60, ge=1)


@settings_class
class LimitSettings:
    """The keys of `[steady]` about the run of each initial state to its limit.

    Attributes:
        horizon: The last time; the run ends there if not before.
        steady_tolerance: ‖∂_t f‖ below which a state counts as steady.
        growth: Factor over 1 + max ‖f^I‖ beyond which a state counts as unbounded.
        rtol: Local error of the run allowed relative to ‖f_j‖.
        atol: Local error of the run allowed in addition, in units of ‖f_j‖.
        snapshots: Number of times, 0 among them, at which distances to the limit are recorded; spaced geometrically.
        max_steps: Number of steps, rejected ones included, after which the run ends with what it has found.
    """

    horizon: float = Field(default=1e6, gt=1e-3)
    steady_tolerance: float = Field(default=1e-8, gt=0)
    growth: float = Field(default=1e6, gt=1)
    rtol: float = Field(default=1e-8, ge=1e-14, lt=1)
    atol: float = Field(default=1e-11, gt=0)
    snapshots: int = Field(default=121, ge=2, le=MOST)
    max_steps: int = Field(default=40_000, ge=1)


@settings_class
class SteadySettings(LimitSettings, NewtonSettings):
    """`[steady]`: steady states, their Fredholm analysis, and the limits of the initial states.

    These keys, and those of `NewtonSettings` and `LimitSettings`.

    Attributes:
        within: The zeros of the activation are sought in [−within, within].
        starts: Number of random starts of Newton's method, beside the first five initial states.
        states: Largest number of steady states.
        tolerance: Size, relative to the largest singular value, below which one counts as zero.
        triplets: Largest number of singular values.
    """

    within: float = Field(default=20.0, gt=0)
    starts: int = Field(default=4, ge=0, le=MOST)
    states: int = Field(default=8, ge=1)
    tolerance: float = Field(default=1e-10, gt=0, lt=1)
    triplets: int = Field(default=200, ge=1)


@settings_class
class StabilitySettings:
    """`[stability]`: spectrum and growth at a steady state, and the branch of steady states in a parameter.

    Attributes:
        state: Formula in y of the steady state, or of a start from which Newton's method reaches it.
        number: Number of eigenvalues with eigenfunctions: those that grow, then those of largest modulus, or of largest
            real part if the kernel has a local part.
        tolerance: Size, relative to the norm of the linearization, that counts as zero.
        perturbation: L² norm of the perturbations whose growth is measured.
        refine: Whether eigenvalues are computed on other spaces too, for error bars: on twice the cells or, on a mesh
            file, one degree more, and on a third space that shows the order of the errors.
        exponents: Number of finite-time Lyapunov exponents of each sample; 0 leaves them out.
        samples: Number of samples, the first ones, whose exponents are computed.
        parameter: Name of the parameter in which the steady state is continued; none if left out.
        range: Values of the parameter between which it is continued, both ways from where the state is given; towards
            the second value first.
        step: Largest step along a branch; a fiftieth of the range if left out.
        points: Largest number of points on a branch.
        branches: Largest number of branches.
        searches: Number of values of the parameter at which branches that no other reaches are sought by deflation.
        seconds: Time after which no further branch or point is begun.
        cycles: Whether the normal forms of Hopf points and the cycles that leave them are computed.
    """

    state: str = "0"
    number: int = Field(default=6, ge=1)
    tolerance: float = Field(default=1e-10, gt=0, lt=1)
    perturbation: float = Field(default=1e-6, gt=0)
    refine: bool = True
    exponents: int = Field(default=4, ge=0)
    samples: int = Field(default=4, ge=1)
    parameter: str | None = None
    range: Ends | None = None
    step: float | None = Field(default=None, gt=0)
    points: int = Field(default=400, ge=2)
    branches: int = Field(default=12, ge=1)
    searches: int = Field(default=5, ge=0, le=MOST)
    seconds: float = Field(default=60.0, gt=0)
    cycles: bool = True


@settings_class
class HjbSettings:
    """`[hjb]`: the value function by the Hamilton–Jacobi–Bellman equation, for states of at most three numbers.

    Attributes:
        cells: Cells of the finest mesh in each direction of the state; one number stands for every direction.
        levels: Number of meshes of the refinement study, each with half the cells of the next.
        lower: Lower corner of the box in the space of states; if left out, a box around initial and target states that
            grows until it is large enough.
        upper: Upper corner, above `lower` in every direction.
        snapshots: Number of times at which the value function is kept.
        starts: Number of random starts of the open-loop optimization, beside the case's own.
        witness: Whether dynamic programming on the same mesh is run for comparison.
    """

    cells: Annotated[tuple[Annotated[int, Field(ge=2)], ...], ListOrScalar, Field(min_length=1, max_length=3)] = Field(
        default=(64,), validate_default=True
    )
    levels: int = Field(default=3, ge=1)
    lower: Annotated[tuple[float, ...], ListOrScalar] | None = None
    upper: Annotated[tuple[float, ...], ListOrScalar] | None = None
    snapshots: int = Field(default=41, ge=2, le=MOST)
    starts: int = Field(default=6, ge=0, le=MOST)
    witness: bool = True
