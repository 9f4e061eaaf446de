# SPDX-License-Identifier: MIT
"""Whether a state whose rate is small is at rest, near a limit, or lingers and drifts on.

A small ‖∂_t f‖ alone says nothing: f' = f from 1e-10 begins with the rate 1e-10, and log t has the rate 1/t.  A state
counts as steady if its limit is near, by two looks of which none may say the opposite:

* *forwards*: r = F(f) obeys r' = A r with A = F'(f), as long as f moves little.  Arnoldi's method, begun with r itself,
  writes r = Σ c_i x_i with A x_i ≈ θ_i x_i.  If a part with Re θ_i > 0 stands above the round-off of F, the state
  leaves.  If all parts decay, the limit is at the distance ‖Σ c_i x_i / θ_i‖.
* *backwards*: over the second half of the run the rate fell like t^{−q}.  For q > 1 the limit is at the distance
  r t / (q − 1), which is r / λ for e^{−λt}; for q ≤ 1 the state drifts without end.

A state whose rate is at the round-off of F is at rest.  The limit itself may be unstable: Arnoldi's method, begun with
a random vector, looks for directions in which a perturbation would grow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.numbering import hashed_normal
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.typing import Block, Floats

__all__ = ["Rest", "decay_exponents", "examine_rest", "round_off"]

NEAR = 1e-2
"""Largest distance of the limit, relative to the largest norm in the run, at which a state counts as steady."""
_VECTORS = 24
_LARGEST = 2**23  # numbers of the Krylov vectors of a group of samples
_ROUND_OFF = 16 * np.finfo(float).eps
_SEMISIMPLE = 1e-10  # eigenvalues below this part of ‖A‖ are zero
_FALLEN = 0.5  # the rate has fallen to this part over the second half of a run that tells about its decay
_END = 0.2  # parts of the second half of the run in which its largest rates are compared
_SUMMABLE = 1.05  # least q with which t^{−q} is called summable


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What is known of a state whose rate is small.

    Attributes:
        is_steady: Whether the state is near its limit.
        distance: Estimated distance to the limit; infinite if the state leaves or drifts, or nothing supports a number.
        reason: The finding as a phrase.
        perturbation_rate: Rate at which a perturbation of the limit would grow; 0 if no growing direction was found.
    """

    is_steady: bool
    distance: float
    reason: str
    perturbation_rate: float = 0.0


def examine_rest(
    field: SelectionField, state: Block, rate: Block, *, decay: Floats, elapsed: float, sizes: Floats
) -> list[Rest]:
    """Return what is known of each sample (collective over space).

    Args:
        field: F.
        state: f, shape (num_local, J).
        rate: F(f), of the same shape.
        decay: q of each sample over the second half of the run, NaN if its rate did not fall, shape (J,).
        elapsed: t − t₀.
        sizes: The largest ‖f_j‖ in the run, shape (J,).
    """
    found: list[Rest] = []
    per_sample = _VECTORS * -(-field.space.num_nodes // field.space.comm.size)
    width = max(_LARGEST // per_sample, 1)
    for start in range(0, state.shape[1], width):
        part = slice(start, start + width)
        found += _examine_group(field, state[:, part], rate[:, part], decay[part], elapsed, sizes[part])
    return found


def decay_exponents(times: Floats, rates: Floats) -> Floats:
    """q of ‖∂_t f‖ ~ t^{−q} for each sample, over the times given; NaN if the rate did not fall enough.

    Args:
        times: t − t₀ from half of the run to its end, shape (num_times,).
        rates: ‖∂_t f_j‖, shape (num_times, J).
    """
    if times.size < 2 or not times[0] > 0:
        return np.full(rates.shape[1] if rates.ndim == 2 else 0, np.nan)
    # the largest rates in the first and in the last part: the envelope of an oscillating decay
    span = _END * (times[-1] - times[0])
    early, late = int(np.searchsorted(times, times[0] + span, "right")), int(np.searchsorted(times, times[-1] - span))
    first, last = np.argmax(rates[:early], axis=0), late + np.argmax(rates[late:], axis=0)
    columns = np.arange(rates.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        elapsed = np.log(times[last] / times[first])
        q = np.log(rates[first, columns] / rates[last, columns]) / elapsed
    return np.where((elapsed > 0) & (2.0**-q <= _FALLEN), q, np.nan)


def round_off(field: SelectionField, state: Block) -> Floats:
    """Return the round-off with which F(f_j) is computed, in L², shape (J,) (collective over space).

    F cancels in K f + b, so that it is 16 ε ‖σ'(g)‖_∞ (‖K f‖ + ‖b‖), ε the machine's.

    Args:
        field: F.
        state: f, shape (num_local, J).
    """
    at = field.linearize(state)
    return _ROUND_OFF * _sizes_of_terms(field.space, at, state, [0.0] * state.shape[1])


def _examine_group(
    field: SelectionField, state: Block, rate: Block, decay: Floats, elapsed: float, sizes: Floats
) -> list[Rest]:
    space = field.space
    at = field.linearize(np.asfortranarray(state))
    rates = space.norm(np.asfortranarray(rate))
    forward = _arnoldi(space, at, np.asfortranarray(rate))
    floors = _ROUND_OFF * _sizes_of_terms(space, at, np.asfortranarray(state), [k.norm for k in forward])
    found = [
        _judge(float(rates[j]), forward[j], float(floors[j]), float(decay[j]), elapsed, float(sizes[j]))
        for j in range(state.shape[1])
    ]
    if not any(rest.is_steady for rest in found):
        return found
    numbers = space.canonical[:, None], np.arange(state.shape[1])[None, :]
    random = _arnoldi(space, at, np.asfortranarray(hashed_normal(2, *numbers)))
    return [
        Rest(is_steady=True, distance=rest.distance, reason=rest.reason, perturbation_rate=krylov.growth)
        if rest.is_steady
        else rest
        for rest, krylov in zip(found, random, strict=True)
    ]


def _judge(rate: float, krylov: _Krylov, floor: float, decay: float, elapsed: float, size: float) -> Rest:
    """Both looks at one sample."""
    if rate <= floor:
        return Rest(is_steady=True, distance=0.0, reason=f"the rate is at the round-off {floor:.0e} of F")
    leaves, distance, is_complete = krylov.forecast(rate, floor)
    if leaves > 0:
        reason = f"the state leaves: its rate has a part that grows at the rate {leaves:.3g}"
        return Rest(is_steady=False, distance=np.inf, reason=reason)
    if np.isfinite(decay):
        if decay <= _SUMMABLE:
            reason = f"the rate falls like t^-{decay:.2f} only: the state drifts"
            return Rest(is_steady=False, distance=np.inf, reason=reason)
        distance = max(distance, rate * elapsed / (decay - 1.0))
    elif not is_complete:
        reason = (
            "the rate has not fallen to half over the second half of the run, and the linearization does not decide"
        )
        return Rest(is_steady=False, distance=np.inf, reason=reason)
    reason = f"the limit is within {distance:.1e}"
    return Rest(is_steady=distance <= NEAR * size, distance=distance, reason=reason)


@dataclass(frozen=True, kw_only=True)
class _Krylov:
    """Arnoldi's method for one sample: A x_i ≈ θ_i x_i, and the start vector as Σ c_i x_i, of norm one.

    Attributes:
        values: θ.
        vectors: Coordinates of the x_i, each of norm one.
        parts: c.
        residuals: ‖A x_i − θ_i x_i‖.
        norm: A lower bound of ‖A‖.
    """

    values: np.ndarray
    vectors: np.ndarray
    parts: np.ndarray
    residuals: Floats
    norm: float

    @property
    def uncertain(self) -> Floats:
        """The size below which Re θ counts as zero."""
        return self.residuals + _SEMISIMPLE * self.norm

    @property
    def growth(self) -> float:
        """The largest Re θ that is positive beyond its uncertainty, or 0."""
        grows = self.values.real > 10 * self.uncertain
        return float(np.max(self.values.real[grows], initial=0.0))

    def forecast(self, rate: float, floor: float) -> tuple[float, float, bool]:
        """The rate at which a part of r grows (0 if none does), the distance to the limit, and whether it is complete.

        Args:
            rate: ‖r‖.
            floor: Parts of r below this are round-off.
        """
        parts = rate * self.parts
        counts = np.abs(parts) > floor
        grows = counts & (self.values.real > 10 * self.uncertain)
        decays = counts & (self.values.real < -self.uncertain)
        steps = np.where(decays, parts / np.where(decays, self.values, 1.0), 0.0)
        distance = float(np.linalg.norm(self.vectors @ steps))
        leaves = float(np.max(self.values.real[grows], initial=0.0))
        return leaves, distance, bool(np.all(decays | ~counts))


def _arnoldi(space: StateSpace, at: Linearization, start: Block) -> list[_Krylov]:
    """Arnoldi's method for A at each sample, from the columns of a block, in the inner product of the nodal weights."""
    n, samples = start.shape
    most = min(_VECTORS, space.num_nodes)
    vectors = np.zeros((most + 1, n, samples))
    h = np.zeros((samples, most + 1, most))
    lengths = np.full(samples, most)
    weights = space.weights

    def dots(count: int, w: Block) -> Floats:
        found = np.einsum("ikj,k,kj->ij", vectors[:count], weights, w)
        space.comm.Allreduce(MPI.IN_PLACE, found)
        return found

    def norms(w: Block) -> Floats:
        found = weights @ (w * w)
        space.comm.Allreduce(MPI.IN_PLACE, found)
        return np.sqrt(found)

    first = norms(start)
    vectors[0] = start / np.where(first > 0, first, 1.0)
    lengths[first == 0] = 0
    for i in range(most):
        w = np.asfortranarray(at.apply(np.asfortranarray(vectors[i])))
        before = norms(w)
        for _ in range(2):
            c = dots(i + 1, w)
            w -= np.einsum("ij,ikj->kj", c, vectors[: i + 1])
            h[:, : i + 1, i] += c.T
        size = norms(w)
        is_new = (size > 1e-12 * np.maximum(before, np.abs(h).max(axis=(1, 2), initial=0.0))) & (lengths == most)
        lengths[(lengths == most) & ~is_new] = i + 1
        h[:, i + 1, i] = np.where(is_new, size, 0.0)
        vectors[i + 1] = np.where(is_new, w / np.where(size > 0, size, 1.0), 0.0)
        if not is_new.any():
            break
    return [_diagonalize(h[j], int(lengths[j])) for j in range(samples)]


def _diagonalize(h: Floats, length: int) -> _Krylov:
    if length == 0 or not np.all(np.isfinite(h)):
        return _Krylov(values=np.zeros(0), vectors=np.zeros((0, 0)), parts=np.zeros(0), residuals=np.zeros(0), norm=0.0)
    square = h[:length, :length]
    values, vectors = np.linalg.eig(square)
    first = np.zeros(length)
    first[0] = 1.0
    parts = np.linalg.lstsq(vectors, first.astype(vectors.dtype), rcond=1e-15)[0]
    last = h[length, length - 1] if length < h.shape[0] else 0.0
    return _Krylov(
        values=values,
        vectors=vectors,
        parts=parts,
        residuals=np.abs(last * vectors[-1]),
        norm=float(np.linalg.norm(square, 2)),
    )


def _sizes_of_terms(space: StateSpace, at: Linearization, state: Block, norms: list[float]) -> Floats:
    """‖σ'(g)‖_∞ (‖K f‖ + ‖b‖) + ‖A‖ ‖f‖ for each sample: F is computed up to round-off in these (collective)."""
    slope = np.ones(state.shape[1])  # σ' is not known of a form that is not pointwise
    if at.field.equation.is_pointwise:
        slope = np.max(np.abs(at.derivative()), axis=0, initial=0.0)
    space.comm.Allreduce(MPI.IN_PLACE, slope, op=MPI.MAX)
    bias = np.asfortranarray(at.field.bias[:, None])
    terms = space.norm(np.asfortranarray(at.preactivation - bias)) + space.norm(bias)
    return np.nan_to_num(slope * terms + np.array(norms) * space.norm(state), posinf=0.0)
