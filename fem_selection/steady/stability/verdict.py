# SPDX-License-Identifier: MIT
"""The verdict on stability that a spectrum justifies.

If K is compact, 0 is in the spectrum of the linearization A.  Stability then holds modulo the kernel of A only, and
there is no uniform exponential rate; on a mesh the dimension N − rank A of the kernel grows with N.  Perturbations
within ker K move f* to another steady state.  Where σ' vanishes, ker A is larger, and the linearization does not
decide.  If 0 is not semisimple (rank A² < rank A), perturbations grow at least linearly in t, although all eigenvalues
may be zero.  Where σ' jumps at g*, as ReLU's does on the contact set of a projection, there is no linearization, and no
verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

from fem_selection.kernels import DenseKernel, Kernel, SeparableKernel, SumKernel
from fem_selection.steady.stability.spectrum import COSINE, Spectrum

__all__ = ["Verdict", "is_compact", "judge", "judge_unsteady"]


@dataclass(frozen=True)
class Verdict:
    """A verdict on the stability of a steady state.

    Attributes:
        kind: "unstable", "linear growth", "neutral", "stable modulo kernel", "stable" or "undecided".
        rate: The largest real part, which decides the verdict; 0 for a neutral state.
        sentence: The verdict as a sentence.
    """

    kind: str
    rate: float
    sentence: str


def is_compact(kernel: Kernel) -> bool:
    """Whether K is compact on L²(Y): a dense or separable kernel, in L², or a sum of such, without local parts."""
    if isinstance(kernel, SumKernel):
        return all(is_compact(part) for part in kernel.parts)
    return isinstance(kernel, DenseKernel | SeparableKernel)


def judge_unsteady(residual: float, rest: float) -> Verdict:
    """Withhold the verdict at a state that is not steady.

    Args:
        residual: ‖σ(K f + b)‖.
        rest: The largest residual of a state that counts as steady.
    """
    return Verdict(
        kind="not steady",
        rate=0.0,
        sentence=f"no verdict: the state is not steady: ‖σ(K f + b)‖ = {residual:.3g}, and at most {rest:.2g} counts "
        "as rest; the eigenvalues are those of the linearization there",
    )


def judge(spectrum: Spectrum, is_compact: bool) -> Verdict:
    """The verdict on a steady state.

    Args:
        spectrum: The spectrum of the linearization at it.
        is_compact: Whether K is compact (an L² kernel, without local parts).
    """
    zero = spectrum.tolerance * spectrum.norm
    if spectrum.kinks:
        rate = float(spectrum.values[0].real) if spectrum.values.size else 0.0
        return Verdict(
            kind="undecided",
            rate=rate,
            sentence=f"undecided: σ' jumps at the value of K f* + b at {spectrum.kinks} points, so that there is no "
            f"linearization; of the one with σ' as it is evaluated there the largest real part is {rate:.6g}",
        )
    if spectrum.norm == 0.0 or spectrum.flat == 1.0:
        return Verdict(kind="neutral", rate=0.0, sentence="neutral: the linearization is zero, which decides nothing")
    if spectrum.values.size:
        first = spectrum.values[0]
        if first.real > max(zero, _doubt(spectrum, 0)):
            count = int((spectrum.values.real > zero).sum())
            how = f", oscillating with frequency {abs(first.imag):.6g}" if abs(first.imag) > zero else ""
            more = "" if spectrum.is_complete else " at least"
            return Verdict(
                kind="unstable",
                rate=float(first.real),
                sentence=f"unstable with rate {first.real:.6g}{how}: "
                f"{count} eigenvalue{'s' if count > 1 else ''}{more} with positive real part",
            )
    if spectrum.is_complete and (spectrum.rank_of_square or 0) < (spectrum.rank or 0):
        return _judge_all(spectrum, zero, is_compact)
    if spectrum.method != "factors":  # the eigenvalues of factors are already free of noise
        for k in spectrum.shown:
            rate, doubt = float(spectrum.values[k].real), _doubt(spectrum, k)
            if rate + doubt > zero and doubt > zero:
                return _undecided(spectrum, rate, doubt)
    if not spectrum.is_complete:
        return _judge_leading(spectrum, zero)
    return _judge_all(spectrum, zero, is_compact)


def _doubt(spectrum: Spectrum, number: int) -> float:
    """The uncertainty of an eigenvalue that the verdict takes into account.

    That of Krylov–Schur is only an estimate: it is multiplied by three, and by ten for the leading eigenvalue, whose
    rate the verdict states.
    """
    if spectrum.is_complete:
        return float(spectrum.uncertainties[number])
    return float(spectrum.uncertainties[number]) * (3.0 if number else 10.0)


def _undecided(spectrum: Spectrum, rate: float, doubt: float) -> Verdict:
    """The verdict if an eigenvalue may lie on either side of the imaginary axis."""
    more = "" if spectrum.is_complete else "; fewer nodes allow a better method"
    return Verdict(
        kind="undecided",
        rate=rate,
        sentence=f"undecided: of an eigenvalue found to have the real part {rate:.6g}, the method's own error may be "
        f"{doubt:.2g}, for the linearization is far from normal, as with strong convection{more}",
    )


def _judge_leading(spectrum: Spectrum, zero: float) -> Verdict:
    """The verdict if only the eigenvalues of largest real part are known."""
    rate = float(spectrum.values[0].real)
    if rate < -zero:
        return Verdict(
            kind="stable",
            rate=rate,
            sentence=f"stable: the largest real part of the spectrum on this mesh is {rate:.6g}, with no kernel",
        )
    return Verdict(
        kind="neutral",
        rate=0.0,
        sentence="neutral: the largest real part is zero; the rank of the linearization is too large to be found, "
        "so that "
        "growth slower than exponential is not excluded",
    )


def _judge_all(spectrum: Spectrum, zero: float, is_compact: bool) -> Verdict:
    """The verdict if all eigenvalues that differ from zero are known and none grows."""
    n, rank, square = spectrum.num_nodes, spectrum.rank or 0, spectrum.rank_of_square or 0
    kernel = f"a kernel of dimension {n - rank} of {n}: numerical rank {rank} at tolerance {spectrum.tolerance:g} ‖A‖"
    if square < rank:
        return Verdict(
            kind="linear growth",
            rate=0.0,
            sentence=f"not stable: no eigenvalue has a positive real part, but 0 is not semisimple "
            f"(rank A² = {square} < rank A "
            f"= {rank}, cosines below {COSINE:g}): perturbations grow at least linearly in t",
        )
    if spectrum.values.size and float(spectrum.values[0].real) >= -max(zero, float(spectrum.uncertainties[0])):
        frequency = abs(spectrum.values[0].imag)
        what = f"eigenvalues ±{frequency:.6g} i on the imaginary axis" if frequency > zero else "real parts of zero"
        return Verdict(
            kind="neutral", rate=0.0, sentence=f"neutral: {what}; the linearization does not decide on stability"
        )
    rate = float(spectrum.values[0].real) if spectrum.values.size else 0.0
    if spectrum.slope_range[0] <= spectrum.tolerance * spectrum.slope_range[1]:
        return Verdict(
            kind="undecided",
            rate=rate,
            sentence=f"undecided: no eigenvalue grows, but σ' vanishes on part of Y, where the linearization "
            "says nothing; "
            f"{kernel}",
        )
    if rank == n:
        end = "; the continuum's operator is compact: there 0 belongs to its spectrum" if is_compact else ""
        return Verdict(
            kind="stable",
            rate=rate,
            sentence=f"stable on this mesh: the largest real part is {rate:.6g}, with no kernel{end}",
        )
    tail = (
        "; 0 belongs to the spectrum of the compact operator, so that no exponential rate is uniform"
        if is_compact
        else ""
    )
    count = len(spectrum.values)
    others = f"the {count} other eigenvalues have real parts from {float(spectrum.values[-1].real):.6g} to {rate:.6g}"
    if count == 1:
        others = f"the other eigenvalue is {rate:.6g}"
    return Verdict(
        kind="stable modulo kernel",
        rate=rate,
        sentence=f"stable modulo {kernel}, semisimple (rank A² = rank A); {others}{tail}",
    )
