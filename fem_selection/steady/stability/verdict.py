# SPDX-License-Identifier: MIT
"""The verdict on stability that a spectrum justifies.

If K is compact, 0 is in the spectrum of the linearization A.  Stability then holds modulo the kernel of A only, and
there is no uniform exponential rate; on a mesh the dimension N − rank A of the kernel grows with N.  Perturbations
within ker K move f* to another steady state.  Where σ' vanishes, ker A is larger, and the linearization does not
decide.  If 0 or i ω is not semisimple, perturbations grow like a power of t, although no eigenvalue grows.  If the
eigenvalues of the mesh are not distinct from 0, as those of Volterra's kernels, ‖e^{tA}‖ decides: the state is stable
if A is a contraction, and not if ‖e^{tA}‖ grows, slower than exponentially.  Where σ' jumps at g*, as ReLU's does on
the contact set of a projection, there is no linearization; the rates by side (`sides`) then decide, or nothing does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.kernels import ConvolutionKernel, DenseKernel, Kernel, SeparableKernel, SumKernel
from fem_selection.linalg.staircase import DEEPEST
from fem_selection.steady.stability.degenerate import SINGULAR, DegeneratePart
from fem_selection.steady.stability.eigenvalues import COSINE
from fem_selection.steady.stability.essential import EssentialSpectrum
from fem_selection.steady.stability.sides import SideRates
from fem_selection.steady.stability.slow_growth import SlowGrowth
from fem_selection.steady.stability.spectrum import Spectrum

__all__ = ["Verdict", "is_compact", "judge", "judge_unsteady"]


@dataclass(frozen=True)
class Verdict:
    """A verdict on the stability of a steady state.

    Attributes:
        kind: "unstable", "linear growth", "polynomial growth", "subexponential growth", "contraction", "neutral",
            "stable modulo kernel", "stable", "undecided" or "not steady".
        rate: The largest real part, which decides the verdict; 0 for a neutral state.
        sentence: The verdict as a sentence.
        growth: The law of growth where eigenvalues do not decide; else None.
    """

    kind: str
    rate: float
    sentence: str
    growth: SlowGrowth | None = None


def is_compact(kernel: Kernel) -> bool:
    """Whether K is compact on L²(Y): an integral operator of a kernel in L², or a sum of such, without local parts."""
    if isinstance(kernel, SumKernel):
        return all(is_compact(part) for part in kernel.parts)
    return isinstance(kernel, ConvolutionKernel | DenseKernel | SeparableKernel)


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


def judge(spectrum: Spectrum, is_compact: bool, finer: Spectrum | None = None) -> Verdict:
    """The verdict on a steady state.

    Args:
        spectrum: The spectrum of the linearization at it.
        is_compact: Whether K is compact (an L² kernel, without local parts).
        finer: The spectrum on a finer mesh, against which laws of growth are checked, or None.
    """
    zero = spectrum.tolerance * spectrum.norm
    if spectrum.kinks:
        return _judge_kinks(spectrum, zero)
    if spectrum.norm == 0.0 or spectrum.flat == 1.0:
        return Verdict(kind="neutral", rate=0.0, sentence="neutral: the linearization is zero, which decides nothing")
    if (unstable := _judge_growing(spectrum, zero)) is not None:
        return unstable
    if spectrum.failure is not None and (spectrum.essential is None or not spectrum.essential.is_continuous):
        return Verdict(kind="undecided", rate=0.0, sentence=f"undecided: no eigenvalue was found: {spectrum.failure}")
    part = spectrum.degenerate
    law = None if part is None else part.law(None if finer is None else finer.degenerate)
    if part is not None and law is not None and (part.radius or part.index > 1 or law.law == "contraction"):
        is_resolved = not spectrum.unresolved or not spectrum.values.size
        if law.law != "bounded" and (law.law != "undecided" or is_resolved):
            return _judge_law(spectrum, part, law, None if finer is None else finer.degenerate)
    if (undecided := _judge_doubts(spectrum, zero)) is not None:
        return undecided
    if spectrum.essential is not None:
        found = _judge_essential(spectrum, spectrum.essential, zero)
        if found is not None:
            return found
    if not spectrum.is_complete:
        return _judge_leading(spectrum, zero)
    return _judge_all(spectrum, zero, is_compact)


def _judge_kinks(spectrum: Spectrum, zero: float) -> Verdict:
    """The verdict where σ' jumps: that of the rays, if they decide."""
    sided = None if spectrum.sides is None else _judge_sides(spectrum, spectrum.sides, zero)
    if sided is not None:
        return sided
    rate = float(spectrum.values[0].real) if spectrum.values.size else 0.0
    by_side = "" if spectrum.sides is None else f"; rates by side: {spectrum.sides.name}"
    return Verdict(
        kind="undecided",
        rate=rate,
        sentence=f"undecided: σ' jumps at the value of K f* + b at {spectrum.kinks} points, so that there is no "
        f"linearization; of the one with σ' as it is evaluated there the largest real part is {rate:.6g}{by_side}",
    )


def _judge_growing(spectrum: Spectrum, zero: float) -> Verdict | None:
    """The verdict if an eigenvalue, or the essential spectrum, has a positive real part; None otherwise."""
    essential = spectrum.essential
    if spectrum.values.size:
        first = spectrum.values[0]
        if first.real > max(zero, _doubt(spectrum, 0)):
            count = int((spectrum.values.real > zero).sum())
            is_real = abs(first.imag) <= max(zero, _doubt(spectrum, 0))
            how = "" if is_real else f", oscillating with frequency {abs(first.imag):.6g}"
            more = "" if spectrum.is_complete else " at least"
            beside = "" if essential is None else f"; beside them the {essential.name}"
            return Verdict(
                kind="unstable",
                rate=max(float(first.real), 0.0 if essential is None else essential.upper),
                sentence=f"unstable with rate {first.real:.6g}{how}: "
                f"{count} eigenvalue{'s' if count > 1 else ''}{more} with positive real part{beside}",
            )
    if essential is None or essential.upper <= zero:
        return None
    return Verdict(
        kind="unstable",
        rate=essential.upper,
        sentence=f"unstable: the {essential.name} has positive numbers, which are no eigenvalues: "
        "perturbations near where they are attained grow at that rate",
    )


def _judge_doubts(spectrum: Spectrum, zero: float) -> Verdict | None:
    """The verdict if an eigenvalue may lie on either side of the imaginary axis; None otherwise."""
    if spectrum.is_complete:
        for k in range(len(spectrum.values)):
            rate, doubt = float(spectrum.values[k].real), float(spectrum.uncertainties[k])
            if abs(spectrum.values[k]) <= doubt and rate + doubt > zero:
                return _undecided(spectrum, rate, doubt)
    if spectrum.method not in ("factors", "truncated factors"):  # those of factors are already free of noise
        for k in spectrum.shown:
            rate, doubt = float(spectrum.values[k].real), _doubt(spectrum, k)
            if rate + doubt > zero and doubt > zero:
                return _undecided(spectrum, rate, doubt)
    return None


def _why_open(spectrum: Spectrum, part: DegeneratePart, law: SlowGrowth) -> str:
    """Why the eigenvalues do not decide although none grows, as a phrase."""
    none_grows = "no eigenvalue has a positive real part"
    if part.radius and law.law != "polynomial":
        where = f"of modulus up to {part.radius:.3g}"
        level = f"lie in the pseudospectrum of 0 at the level {part.level:.1e}"
        if spectrum.values.size:
            return f"{none_grows}; those {where} {level} and mean nothing"
        return f"no eigenvalue but 0: those of the mesh, {where}, {level} (quasi-nilpotent)"
    if part.frequency:
        blocks = f"Jordan blocks of size up to {part.index}, staircase ranks at {SINGULAR:.0e} ‖A‖"
        return f"{none_grows}, but ±{part.frequency:.6g} i are not semisimple ({blocks})"
    if part.index == 1:
        return "the eigenvalues are far from normal, and round-off may move some by their own modulus"
    ranks = f"rank A² = {spectrum.rank_of_square} < rank A = {spectrum.rank}"
    least = " at least" if part.index >= DEEPEST else ""
    return f"{none_grows}, but 0 is not semisimple ({ranks}, index{least} {part.index}, cosines below {COSINE:g})"


def _judge_law(spectrum: Spectrum, part: DegeneratePart, law: SlowGrowth, finer: DegeneratePart | None) -> Verdict:
    """The verdict if no eigenvalue grows, but those on or near the imaginary axis do not decide."""
    what = _why_open(spectrum, part, law)
    if law.law == "contraction":
        size = max(abs(law.abscissa), part.zero)
        return Verdict(
            kind="contraction",
            rate=0.0,
            sentence=f"stable, a contraction: the numerical abscissa is 0 (to {size:.1e}), so that no perturbation of "
            f"the linearization ever grows; {what}",
            growth=law,
        )
    if law.law == "polynomial":
        power = int(law.power)
        how = "linearly in t" if power == 1 else f"like t^{power}"
        measured = (
            f"‖e^{{tA}}‖ ≈ {law.coefficient:.4g} t^{power}"
            if np.isfinite(law.misfit)
            else "known by the ranks; the times are too short to show it"
        )
        return Verdict(
            kind="linear growth" if power == 1 else "polynomial growth",
            rate=0.0,
            sentence=f"not stable: {what}: perturbations grow {how} ({measured})",
            growth=law,
        )
    if law.law == "subexponential":
        return Verdict(
            kind="subexponential growth",
            rate=0.0,
            sentence=f"not stable: perturbations grow, slower than any exponential: log ‖e^{{tA}}‖ ~ "
            f"{law.coefficient:.3g} t^{law.power:.2f} up to t = {law.until:.3g}, where ‖e^{{tA}}‖ = {law.largest:.3g}; "
            f"{what}",
            growth=law,
        )
    mesh = ""
    if finer is not None:
        mesh = (
            f"; on the finer mesh the numerical abscissa is {finer.abscissa:.3g} instead of {part.abscissa:.3g}, and "
            f"the two ‖e^{{tA}}‖ agree up to t = {law.until:.3g} only"
        )
    return Verdict(
        kind="undecided",
        rate=0.0,
        sentence=f"undecided: {what}; the largest ‖e^{{tA}}‖ that is not an effect of the mesh is {law.largest:.4g}, "
        f"up to t = {law.until:.3g}{mesh}",
        growth=law,
    )


def _judge_sides(spectrum: Spectrum, sides: SideRates, zero: float) -> Verdict | None:
    """The verdict where σ' jumps, if the rays decide; None if they do not."""
    rates = f"σ' jumps at the value of K f* + b at {spectrum.kinks} points; rates by side: {sides.name}"
    if sides.known and max(sides.known) > zero:
        return Verdict(
            kind="unstable",
            rate=max(sides.known),
            sentence=f"unstable: {rates}; along that ray the sides stay, and the perturbation grows",
        )
    if sides.rank == 1 and len(sides.known) == 2 and max(sides.known) < -zero:
        return Verdict(
            kind="stable modulo kernel",
            rate=max(sides.known),
            sentence=f"stable modulo the kernel of K, of rank one, so that the two sides are all there is: {rates}",
        )
    return None


def _judge_essential(spectrum: Spectrum, essential: EssentialSpectrum, zero: float) -> Verdict | None:
    """The verdict if no eigenvalue grows and the essential spectrum decides; None if it does not."""
    if essential.is_continuous and essential.upper >= -max(zero, essential.spacing):
        return Verdict(
            kind="neutral",
            rate=0.0,
            sentence=f"neutral: the {essential.name} ends at the imaginary axis; the linearization does not decide",
        )
    rates = [essential.upper, *(float(value.real) for value in spectrum.values[:1])]
    if max(rates) >= -zero:
        return None
    count = f"{len(spectrum.values)} eigenvalue{'' if len(spectrum.values) == 1 else 's'}"
    outside = f"{count if spectrum.is_complete else 'the eigenvalues'} outside"
    up_to = f" with real parts up to {rates[1]:.6g}" if spectrum.values.size else ""
    nullity = 0 if spectrum.rank is None else spectrum.num_nodes - spectrum.rank  # of 0, which is not essential
    start = f"stable modulo a kernel of dimension {nullity}, semisimple: beside it the" if nullity else "stable: the"
    return Verdict(
        kind="stable modulo kernel" if nullity else "stable",
        rate=max(rates),
        sentence=f"{start} {essential.name}, {outside}{up_to}: perturbations decay at the rate {-max(rates):.6g}",
    )


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
    rate = float(spectrum.values[0].real) if spectrum.values.size else 0.0
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
        "so that growth slower than exponential is not excluded",
    )


def _judge_all(spectrum: Spectrum, zero: float, is_compact: bool) -> Verdict:
    """The verdict if all eigenvalues that differ from zero are known and none grows."""
    n, rank = spectrum.num_nodes, spectrum.rank or 0
    kernel = f"a kernel of dimension {n - rank} of {n}: numerical rank {rank} at tolerance {spectrum.tolerance:g} ‖A‖"
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
            f"says nothing; {kernel}",
        )
    if spectrum.unresolved:
        near = f"what is nearer to 0 than {spectrum.unresolved:.2g} is not resolved on so many nodes"
        return Verdict(
            kind="stable",
            rate=rate,
            sentence=f"stable as far as it is resolved: the {len(spectrum.values)} eigenvalues of modulus above "
            f"{zero:.2g} have real parts up to {rate:.6g}; {near}",
        )
    if rank == n:
        end = "; the continuum's operator is compact: there 0 belongs to its spectrum" if is_compact else ""
        return Verdict(
            kind="stable",
            rate=rate,
            sentence=f"stable on this mesh: the largest real part is {rate:.6g}, with no kernel{end}",
        )
    no_rate = "; 0 belongs to the spectrum of the compact operator, so that no exponential rate is uniform"
    tail = no_rate if is_compact else ""
    count = len(spectrum.values)
    if not count:
        return Verdict(
            kind="undecided",
            rate=0.0,
            sentence=f"undecided: no eigenvalue differs from zero by more than its uncertainty; {kernel}{tail}",
        )
    others = f"the {count} other eigenvalues have real parts from {float(spectrum.values[-1].real):.6g} to {rate:.6g}"
    if count == 1:
        others = f"the other eigenvalue is {rate:.6g}"
    return Verdict(
        kind="stable modulo kernel",
        rate=rate,
        sentence=f"stable modulo {kernel}, semisimple (rank A² = rank A); {others}{tail}",
    )
