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

References:
    G. Benettin et al., Meccanica 15 (1980) 9, doi:10.1007/BF02128236.
    A. W. Bojanczyk, M. Ewerbring, F. T. Luk, P. Van Dooren, An accurate product SVD algorithm, Signal Processing 25
    (1991) 189, doi:10.1016/0165-1684(91)90062-N.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.adjoint.backward import step_back
from fem_selection.adjoint.tangent import step_tangent
from fem_selection.dynamics.stepper import Stepper, Tape
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.linalg.operators import random_block
from fem_selection.linalg.orthonormal import orthonormalize
from fem_selection.typing import Block, Floats

__all__ = ["LyapunovExponents", "finite_time_exponents", "layer_adjoint", "layer_tangent"]

_LARGEST_LOG = 500.0
_LARGEST_SPREAD = 18.0  # e^18 = 7e7
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
    """

    state: Floats
    adjoint: Floats
    change: float
    sweeps: int
    horizon: float

    @property
    def amplification(self) -> Floats:
        """e^{λ T}, the singular values of Φ, shape (samples, count)."""
        return np.exp(self.state * self.horizon)


def finite_time_exponents(
    stepper: Stepper, initial: Block, count: int, *, tolerance: float = 1e-8, max_sweeps: int = 40, seed: int = 0
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
    space, samples = stepper.space, initial.shape[1]
    if not 1 <= count <= space.num_nodes:
        raise InvalidInput(f"{count} exponents are wanted; between 1 and {space.num_nodes} exist")
    tape = stepper.tape(samples)
    final = stepper.advance(np.asfortranarray(initial), tape)
    if not all(space.comm.allgather(bool(np.all(np.isfinite(final))))):
        raise NonFinite("the state", layer=stepper.grid.layers)
    carried = min(space.num_nodes, 2 * count + _MORE)
    start = random_block(space, carried, seed)
    frames, _ = orthonormalize(space, np.stack([start] * samples))
    forward = back = np.full((samples, carried), np.nan)
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
    return LyapunovExponents(state=sort[0], adjoint=sort[1], change=change / horizon, sweeps=sweep, horizon=horizon)


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
