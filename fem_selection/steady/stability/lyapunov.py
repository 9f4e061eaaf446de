# SPDX-License-Identifier: MIT
"""Finite-time Lyapunov exponents of state and adjoint: how fast perturbations and gradients grow through the layers.

With Φ = D_L ⋯ D_1 the derivative of the final state in the initial one, D_n the exact tangent of layer n,

    λ_i = (1/T) log s_i(Φ),   s_i the singular values in L²

for the state, and the same numbers for the adjoint Φ* = D_1* ⋯ D_L*, which carries gradients: they explode for λ > 0
and vanish for λ < 0.

A sweep carries an orthonormal block forward through the layers and orthonormalises it after each layer; then it carries
the resulting block back by the adjoints.  Sweeps forward and back converge to the leading singular vectors, the i-th
like (s_{m+1}/s_i)^{2 · sweeps} with m vectors in the block.  The block has more vectors than wanted exponents, since
neighbouring s_i differ by little.  The triangular factors R_n of a sweep give the exponents: their product has the
singular values s_i.  For singular values so small that the product would lose them to round-off, Σ_n log (R_n)_ii is
taken, which tends to log s_i with the sweeps.

`finite_time_exponents` takes the layers as they are.  `flow_exponents` wants the exponents of the equation itself: it
doubles the number of layers of the classical Runge–Kutta scheme until the exponents stand still, or until a budget of
work is spent.  The change in the last doubling is reported; for a scheme of order p it is about 2^p − 1 times the error
of the result.

References:
    G. Benettin et al., Meccanica 15 (1980) 9, doi:10.1007/BF02128236.
    A. W. Bojanczyk, M. Ewerbring, F. T. Luk, P. Van Dooren, An accurate product SVD algorithm, Signal Processing 25
    (1991) 189, doi:10.1016/0165-1684(91)90062-N.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fem_selection.adjoint.backward import step_back
from fem_selection.adjoint.tangent import step_tangent
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import SelectionField
from fem_selection.dynamics.resolvent import has_local_part
from fem_selection.dynamics.schemes import find_scheme
from fem_selection.dynamics.stepper import Stepper
from fem_selection.dynamics.tape import Tape
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.evolution.stiffness import StiffnessProbe
from fem_selection.linalg.operators import random_block
from fem_selection.linalg.orthonormal import orthonormalize
from fem_selection.typing import Block, Floats, whole_number

__all__ = ["LyapunovExponents", "finite_time_exponents", "flow_exponents", "layer_adjoint", "layer_tangent"]

_SETTLED, _MAX_SWEEPS = 1e-8, 40
_LARGEST_LOG = 500.0
_LARGEST_SPREAD = 18.0  # e^18 = 7e7
_ACCURACY, _OF_LOCAL = 1e-6, 1e-4  # relative errors at which the layers are doubled no more
_PASSES = 4000  # of blocks through layers, after which the layers are doubled no more
_PASSES_OF_ONE = 16000  # by which all sweeps through one number of layers end; two sweeps are made in any case
_OF_ASSEMBLED = 128  # layers by array code take about as long as one by assembled forms
_FULL = 128  # nodes up to which blocks span the whole space, so that sweeps need not converge
_FEWEST, _MOST = 8, 8192  # layers
_MOST_NUMBERS = 2**26  # of a tape
_STEP = 0.5  # of the first layers, times the spectral radius
_PROBES = 4
_MORE = 8  # the block has so many vectors more than twice the number of wanted exponents


@dataclass(frozen=True)
class LyapunovExponents:
    """Exponents by decreasing size, per unit of t.

    Attributes:
        state: λ from the last sweep forward, shape (samples, count).
        adjoint: λ from the last sweep back, shape (samples, count).
        change: Largest change in the last sweep; −∞ − (−∞) counts as no change.
        sweeps: Number of sweeps forward and back.
        horizon: T.
        layers: Number of layers.
        scheme: Name of their scheme.
        error: Largest change of an exponent when the layers were doubled last, a bound of the error of the layers as
            far as their order is observed; 0 if the layers themselves are what is asked about.  If the sweeps did not
            settle, at least their number times the last change: they converge slowly where exponents lie close.
    """

    state: Floats
    adjoint: Floats
    change: float
    sweeps: int
    horizon: float
    layers: int
    scheme: str
    error: float = 0.0

    @property
    def amplification(self) -> Floats:
        """e^{λ T}, the singular values of Φ, shape (samples, count)."""
        return np.exp(self.state * self.horizon)


def finite_time_exponents(
    stepper: Stepper,
    initial: Block,
    count: int,
    *,
    tolerance: float = _SETTLED,
    max_sweeps: int = _MAX_SWEEPS,
    seed: int = 0,
) -> LyapunovExponents:
    """The leading exponents along the trajectories of some samples.

    Args:
        stepper: The discrete dynamics, with any scheme; for an autonomous equation with one control interval.
        initial: Nodal values of the initial states, shape (num_local, samples).
        count: Number of exponents of each sample, at most N.
        tolerance: Change of the exponents times T at which to stop.
        max_sweeps: Largest number of sweeps; 1 gives the plain QR method, whose result for a short depth depends on the
            random start.
        seed: Seed of the random start.

    Raises:
        InvalidInput: if `count` is less than 1 or larger than N.
        NonFinite: if a trajectory is not finite.

    Note:
        Collective over space; memory is one tape of all samples.
    """
    _require_count(stepper.space, count)
    start = random_block(stepper.space, min(stepper.space.num_nodes, 2 * count + _MORE), seed)
    frames, _ = orthonormalize(stepper.space, np.stack([start] * initial.shape[1]))
    return _exponents(stepper, initial, count, frames, tolerance=tolerance, max_sweeps=max_sweeps)[0]


def flow_exponents(field: SelectionField, initial: Block, count: int, *, horizon: float) -> LyapunovExponents:
    """The leading exponents of the equation ∂_t f = σ(K f + b) from t = 0 to a horizon, without layers of its own.

    The first layers are steps of half the inverse of the spectral radius of F'.  Their number is doubled until every
    exponent changes by at most (2^p − 1) 10⁻⁶ (1 + |λ|), p the order of the scheme; it is doubled no more if all sweeps
    together have passed 4000 layers, if there are 8192 layers, or if the tape would be too large.  Sweeps through one
    number of layers end after 16,000 layers, and what they still changed is part of the error.  Where forms are
    assembled, these numbers are divided by 128.  For a kernel with a
    local part the scheme is that of Crank and Nicolson, which is stable for any step, and 10⁻⁴ takes the place of 10⁻⁶.

    Args:
        field: F, which must not depend on time.
        initial: Nodal values of the initial states, shape (num_local, samples).
        count: Number of exponents of each sample, at most N.
        horizon: T.

    Raises:
        InvalidInput: if F depends on time, the horizon is not positive, or `count` is less than 1 or larger than N.
        NonFinite: if a trajectory is not finite, however many layers there are.

    Note:
        Collective over space; memory is one tape of all samples.
    """
    if not field.is_autonomous or not 0.0 < horizon < np.inf:
        raise InvalidInput(f"exponents of a flow need an equation without t and a positive horizon, got {horizon}")
    _require_count(field.space, count)
    space, samples = field.space, initial.shape[1]
    is_local = has_local_part(field.kernel)
    scheme = find_scheme("crank_nicolson" if is_local else "rk4")
    probe = StiffnessProbe(field, samples)
    radius = max((probe.radius(initial) for _ in range(_PROBES)), default=0.0) if samples else 0.0
    per_layer = max(space.num_nodes * samples * (2 * scheme.num_stages + 1), 1)
    costs = _OF_ASSEMBLED if field.evaluation == "assembled" else 1
    most = int(np.clip(_MOST_NUMBERS // per_layer, 2 * _FEWEST, max(_MOST // costs, 2 * _FEWEST)))
    wanted = np.nan_to_num(np.ceil(horizon * radius / _STEP), nan=_FEWEST, posinf=_MOST)
    layers = int(np.clip(wanted, _FEWEST, min(_FEWEST * 8, most // 2) if is_local else most // 2))
    columns = space.num_nodes if space.num_nodes <= _FULL else min(space.num_nodes, 2 * count + _MORE)
    frames, _ = orthonormalize(space, np.stack([random_block(space, columns, 0)] * samples))
    accuracy = (2.0**scheme.order - 1.0) * (_OF_LOCAL if is_local else _ACCURACY)
    before: LyapunovExponents | None = None
    passes = 0
    while True:
        grid = DepthGrid(layers=layers, horizon=horizon, intervals=1)
        stepper = Stepper(
            space,
            field.kernel,
            field.bias[None, :],
            activation=field.activation,
            scheme=scheme,
            grid=grid,
            evaluation=field.evaluation,
        )
        try:
            most_sweeps = int(np.clip(_PASSES_OF_ONE // (costs * layers), 2, _MAX_SWEEPS))
            found, frames = _exponents(stepper, initial, count, frames, max_sweeps=most_sweeps)
        except NonFinite:
            if 2 * layers > most:
                raise
            found = None
        passes += layers * (1 if found is None else found.sweeps)
        if found is not None and before is not None:
            with np.errstate(invalid="ignore"):
                moved = np.where(found.state == before.state, 0.0, np.abs(found.state - before.state))
            unsettled = found.change * found.sweeps if found.change * horizon > _SETTLED else 0.0
            error = max(float(np.max(moved, initial=0.0)), unsettled)
            within = bool(np.all(moved <= accuracy * (1.0 + np.abs(found.state))))
            if within or 2 * layers > most or costs * passes >= _PASSES:
                return replace(found, error=error)
        before, layers = found, 2 * layers


def _require_count(space: StateSpace, count: int) -> None:
    if not 1 <= whole_number(count, "count") <= space.num_nodes:
        raise InvalidInput(f"{count} exponents are wanted; between 1 and {space.num_nodes} exist")


def _exponents(
    stepper: Stepper,
    initial: Block,
    count: int,
    frames: Floats,
    *,
    tolerance: float = _SETTLED,
    max_sweeps: int = _MAX_SWEEPS,
) -> tuple[LyapunovExponents, Floats]:
    """The exponents of the layers, by sweeps that begin with given orthonormal frames; and the last frames."""
    space, samples = stepper.space, initial.shape[1]
    tape = stepper.tape(samples)
    final = stepper.advance(np.asfortranarray(initial), tape)
    if not all(space.comm.allgather(bool(np.all(np.isfinite(final))))):
        raise NonFinite("the state", layer=stepper.grid.layers)
    forward = back = np.full((samples, frames.shape[2]), np.nan)
    change, sweep = np.inf, 0
    while sweep < max_sweeps and not change <= tolerance:
        sweep += 1
        before = forward
        frames, forward = _sweep(stepper, tape, frames, reverse=False)
        frames, back = _sweep(stepper, tape, frames, reverse=True)
        with np.errstate(invalid="ignore"):
            difference = np.abs(forward - before)[:, :count]
        known = np.where((forward == before)[:, :count], 0.0, difference)
        change = float(np.max(known)) if not np.any(np.isnan(known)) else np.inf
    horizon = stepper.grid.horizon
    sort = [np.sort(logs, axis=1)[:, ::-1][:, :count] / horizon for logs in (forward, back)]
    found = LyapunovExponents(
        state=sort[0],
        adjoint=sort[1],
        change=change / horizon,
        sweeps=sweep,
        horizon=horizon,
        layers=stepper.grid.layers,
        scheme=stepper.scheme.name,
    )
    return found, frames


def layer_tangent(stepper: Stepper, n: int, slopes: list[Block], *, block: Block) -> Block:
    """Apply D_n, the tangent of layer n, to a block (collective over space).

    Args:
        stepper: The dynamics.
        n: Number of the layer.
        slopes: The tapes of σ' of its stages, with as many columns as the block.
        block: δF_n, shape (num_local, columns); not changed.
    """
    result = block.copy(order="F")
    step_tangent(stepper, n, [], slopes=slopes, state=result)
    return result


def layer_adjoint(stepper: Stepper, n: int, slopes: list[Block], *, block: Block) -> Block:
    """Apply D_n* = M⁻¹ D_nᵀ M, the adjoint of `layer_tangent` in L², to a block (collective over space).

    Args:
        stepper: The dynamics.
        n: Number of the layer.
        slopes: The tapes of σ' of its stages, with as many columns as the block.
        block: Nodal values, shape (num_local, columns); not changed.
    """
    dual = stepper.space.apply_mass(block)
    step_back(stepper, n, [], slopes=slopes, dual=dual, kernel_pullback=None, bias_dual=None)
    return stepper.space.riesz(dual)


def _sweep(stepper: Stepper, tape: Tape, frames: Floats, reverse: bool) -> tuple[Floats, Floats]:
    """Carry frames, shape (samples, num_local, m), through all layers; also return the logarithms, (samples, m)."""
    samples, rows, count = frames.shape
    act = layer_adjoint if reverse else layer_tangent
    logs = np.zeros((samples, count))
    product = np.broadcast_to(np.eye(count), (samples, count, count))
    layers = range(stepper.grid.layers)
    for n in reversed(layers) if reverse else layers:
        slopes = [np.asfortranarray(np.repeat(slope, count, axis=1)) for slope in tape.slopes[n]]
        block = np.asfortranarray(np.moveaxis(frames, 1, 0).reshape(rows, samples * count))
        moved = act(stepper, n, slopes, block=block)
        stack = np.moveaxis(moved.reshape(rows, samples, count), 0, 1)
        frames, triangles = orthonormalize(stepper.space, stack)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            logs += np.log(np.diagonal(triangles, axis1=1, axis2=2))
            product = triangles @ product
    k = _separable(logs)
    if k:
        rotation, values, _ = np.linalg.svd(product[:, :k, :k])
        frames[:, :, :k], logs[:, :k] = frames[:, :, :k] @ rotation, np.log(values)
    return frames, logs


def _separable(logs: Floats) -> int:
    """The number of leading columns of the triangles whose product has singular values above its round-off."""
    with np.errstate(invalid="ignore"):
        spread = np.maximum.accumulate(logs, axis=1) - np.minimum.accumulate(logs, axis=1)
    fits = (np.maximum.accumulate(np.abs(logs), axis=1) < _LARGEST_LOG) & (spread < _LARGEST_SPREAD)
    return int(np.min(np.sum(np.logical_and.accumulate(fits, axis=1), axis=1), initial=logs.shape[1]))
