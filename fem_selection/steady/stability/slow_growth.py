# SPDX-License-Identifier: MIT
"""Growth slower than exponential: what e^{tA} does if the spectrum of A decides nothing.

    0 has index d (its largest Jordan block):    ‖e^{tA}‖ ~ c t^{d−1}
    A is quasi-nilpotent (its spectrum is {0}):  log ‖e^{tA}‖ = o(t);  Volterra's kernel 1_{z<y}: e^{2√t}, −1_{z<y}: ≤ 1

A quasi-nilpotent operator has no eigenvalue but perhaps 0, while its matrix on a mesh has some, and these mean nothing:
(A − z)⁻¹ is so large near them that a change of A by round-off moves them to 0.  So the law of growth is read off
‖e^{tA}‖ itself, at the times at which it is that of the continuum:

* the matrix exponentials are accurate: n ε (1 + t ‖A‖) ‖e^{tA/2}‖² ≤ 10⁻⁶ ‖e^{tA}‖;
* on a finer mesh ‖e^{tA}‖ is the same to a tenth of its logarithm, or of itself; without a finer mesh the eigenvalues
  that mean nothing, of modulus up to ρ, have no part in it: ρ t ≤ log ‖e^{tA}‖ / 10, or ρ t ≤ 1/10.

If the numerical abscissa ω(A) is 0, then ‖e^{tA}‖ ≤ 1 for all times: a contraction, whatever the eigenvalues are.

References:
    L. N. Trefethen, M. Embree, Spectra and Pseudospectra, Princeton 2005, chapters 14 and 15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg

from fem_selection.typing import Floats

__all__ = ["Exponentials", "Law", "SlowGrowth", "exponential_norms", "law_of_growth"]

Law = Literal["contraction", "polynomial", "subexponential", "bounded", "undecided"]
"""What ‖e^{tA}‖ does: at most 1, like a power of t, growing slower than exponentials, bounded, or unknown."""

_EPSILON = float(np.finfo(float).eps)
_ACCURATE = 1e-6
_LARGEST = 1e30
_NORM, _ITERATIONS = 1e-7, 300  # of the norm of a large matrix: the last relative change, the largest number of steps
_OCTAVES = 16
_MORE = 20  # further octaves while ‖e^{tA}‖ has not settled: if ‖A‖ is large, t ‖A‖ = 1000 is a short time
_PER_OCTAVE, _FEW = 6, 2
_MANY = 120  # orders above this get few samples
_SHARE = 0.1
_GREW = 10.0  # a smaller growth has no law
_SLOPE = 0.05  # relative error of a polynomial's degree
_LONG = 6  # octaves, to which the fit of an oscillating power of t extends
_LAST = 8.0  # the power of log ‖e^{tA}‖ is fitted to the last times, from an eighth of the last one on
_BELOW_ONE = 0.9  # the p of log ‖e^{tA}‖ ~ t^p that is told from an exponential


@dataclass(frozen=True)
class Exponentials:
    """‖e^{tA}‖ at increasing times, the first one 0; all are accurate.

    Attributes:
        times: t.
        norms: ‖e^{tA}‖.
        per_octave: Number of times between t and 2t.
        is_cut: Whether round-off, or overflow, ended the times.
    """

    times: Floats
    norms: Floats
    per_octave: int
    is_cut: bool

    @property
    def has_settled(self) -> bool:
        """Whether the norm has fallen below its largest value at the end, or there is no growth."""
        largest = float(np.max(self.norms))
        return bool(self.norms[-1] < (1.0 - 1e-6) * largest or largest <= 1.0 + 1e-9)

    @property
    def is_bounded(self) -> bool:
        """Whether the norm has settled, or stands still, as where e^{tA} tends to a projection."""
        stands = len(self.norms) > self.per_octave and self.norms[-1] <= (1.0 + 1e-6) * self.norms[-1 - self.per_octave]
        return self.has_settled or bool(stands and not self.is_cut)


@dataclass(frozen=True, kw_only=True)
class SlowGrowth:
    """A law of growth, and what it rests on.

    Attributes:
        law: The law.
        power: p of ‖e^{tA}‖ ~ c t^p or log ‖e^{tA}‖ ~ c t^p; 0 where there is none.
        coefficient: c.
        misfit: Relative deviation of the measured power from p, or of a fit of p from the values.
        until: The last time at which the law was looked at; infinite for a contraction.
        largest: The largest ‖e^{tA}‖ up to this time.
        abscissa: ω(A).
    """

    law: Law
    power: float
    coefficient: float
    misfit: float
    until: float
    largest: float
    abscissa: float


def exponential_norms(matrix: Floats, norm: float, *, has_rest: bool) -> Exponentials:
    """‖e^{tA}‖ for t from 1/64 ‖A‖⁻¹ to 1000 ‖A‖⁻¹, or longer if it has not settled there.

    Since e^{2tA} is the square of e^{tA}, few matrix exponentials suffice for all times.

    Args:
        matrix: A in an orthonormal basis of a subspace, shape (n, n).
        norm: ‖A‖, positive.
        has_rest: Whether the subspace is a proper one; beside it e^{tA} is the identity.
    """
    per_octave = _FEW if len(matrix) > _MANY else _PER_OCTAVE
    lengths = 2.0 ** (np.arange(per_octave) / per_octave - 6.0)
    powers = [scipy.linalg.expm(length / norm * matrix) for length in lengths]
    times, norms, before = [0.0], [1.0], [0.0] * per_octave
    for octave in range(_OCTAVES + _MORE):
        for k, power in enumerate(powers):
            size = _spectral_norm(power)
            with np.errstate(invalid="ignore", over="ignore"):
                moved = (1.0 + 2.0**octave * lengths[k]) * len(matrix) * _EPSILON  # round-off in A moves e^{tA} by it
                lost = moved * before[k] ** 2 > _ACCURATE * size
            if not size < _LARGEST or lost:
                return Exponentials(times=np.array(times), norms=np.array(norms), per_octave=per_octave, is_cut=True)
            before[k] = size
            times.append(2.0**octave * lengths[k] / norm)
            norms.append(max(size, 1.0) if has_rest else size)
        found = Exponentials(times=np.array(times), norms=np.array(norms), per_octave=per_octave, is_cut=False)
        if octave + 1 >= _OCTAVES and found.has_settled:
            break
        powers = [power @ power for power in powers]
    return found


def law_of_growth(
    curve: Exponentials,
    *,
    abscissa: float,
    zero: float,
    index: int,
    radius: float,
    finer: Exponentials | None = None,
) -> SlowGrowth:
    """The law by which ‖e^{tA}‖ grows if no eigenvalue of A has a positive real part.

    Args:
        curve: ‖e^{tA}‖.
        abscissa: ω(A).
        zero: The size that counts as zero.
        index: d, the size of the largest Jordan block of an eigenvalue on the imaginary axis; 1 if there is none.
        radius: ρ, the largest modulus of the eigenvalues that mean nothing.
        finer: ‖e^{tA}‖ on a finer mesh, or None.
    """
    if abscissa <= zero:
        return _law("contraction", curve, float("inf"), abscissa)
    times, norms = _trusted(curve, radius, finer)
    if len(times) <= 2 * curve.per_octave:
        return _law("undecided", curve, float(times[-1]), abscissa)
    until, largest = float(times[-1]), float(np.max(norms))
    for octaves in (
        (2, _LONG) if index > 1 else ()
    ):  # powers of t that oscillate, as beside eigenvalues ± i ω, take more
        tail = slice(-octaves * curve.per_octave, None)
        slope = float(np.polyfit(np.log(times[tail]), np.log(norms[tail]), 1)[0])
        if len(times) > octaves * curve.per_octave and abs(slope - (index - 1)) <= _SLOPE * (index - 1):
            ratios = norms[tail] / times[tail] ** (index - 1)
            return SlowGrowth(
                law="polynomial",
                power=index - 1,
                coefficient=float(ratios[-1] if octaves == 2 else np.median(ratios)),
                misfit=abs(slope - (index - 1)) / (index - 1),
                until=until,
                largest=largest,
                abscissa=abscissa,
            )
    if largest < _GREW:
        # a finer mesh ends the times only if the curves part: what they do later is not known
        ends = curve.is_bounded and len(times) == len(curve.times)
        return _law("bounded" if ends else "undecided", curve, until, abscissa, largest)
    seen = (times >= until / _LAST) & (norms >= 2.0)
    x, y = np.log(times[seen]), np.log(np.log(norms[seen]))
    power, shift = np.polyfit(x, y, 1)
    misfit = float(np.max(np.abs(y - power * x - shift)))
    law: Law = "subexponential" if 0 < power < _BELOW_ONE and misfit < _SHARE and norms[-1] == largest else "undecided"
    return SlowGrowth(
        law=law,
        power=float(power),
        coefficient=float(np.exp(shift)),
        misfit=misfit,
        until=until,
        largest=largest,
        abscissa=abscissa,
    )


def _law(law: Law, curve: Exponentials, until: float, abscissa: float, largest: float | None = None) -> SlowGrowth:
    """A law without a power."""
    size = float(np.max(curve.norms)) if largest is None else largest
    return SlowGrowth(law=law, power=0.0, coefficient=0.0, misfit=0.0, until=until, largest=size, abscissa=abscissa)


def _trusted(curve: Exponentials, radius: float, finer: Exponentials | None) -> tuple[Floats, Floats]:
    """The first times and norms that are those of the continuum."""
    logs = np.log(np.maximum(curve.norms, 1.0))
    if finer is None:
        good = radius * curve.times <= np.maximum(_SHARE, _SHARE * logs)
    else:
        with np.errstate(divide="ignore"):
            others = np.interp(curve.times, finer.times, np.log(finer.norms))
            own = np.log(curve.norms)
        good = (np.abs(own - others) <= _SHARE * np.maximum(1.0, logs)) & (curve.times <= finer.times[-1])
    end = len(good) if np.all(good) else int(np.argmin(good))
    return curve.times[:end], curve.norms[:end]


def _spectral_norm(matrix: Floats) -> float:
    """The largest singular value; infinite if an entry is not finite."""
    largest = float(np.max(np.abs(matrix), initial=0.0)) if np.all(np.isfinite(matrix)) else float("inf")
    if not 0.0 < largest < float("inf"):
        return largest
    scaled = matrix / largest
    if len(matrix) <= _MANY:
        return largest * float(np.linalg.norm(scaled, 2))
    v, size = np.ones(len(matrix)), 0.0
    for _ in range(_ITERATIONS):  # power iteration: the value converges though the vector may not
        v /= np.linalg.norm(v)
        u = scaled @ v
        before, size = size, float(np.linalg.norm(u))
        if size - before <= _NORM * size:
            break
        v = scaled.T @ u
    return largest * size
