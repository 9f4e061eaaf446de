# SPDX-License-Identifier: MIT
"""Whether a verdict outlasts the error bars of the eigenvalues that it rests on.

    unstable    needs   Re λ > bar          for a growing eigenvalue
    stable      needs   Re λ + bar < 0      for the leading eigenvalues, or a compact K and a contraction, ω(A) = 0

The kernel (3 z − 2) y is nilpotent, and f grows linearly.  On a mesh it has an eigenvalue of size h²/2, which decays or
grows exponentially: an effect of quadrature, as the error bar shows.  The eigenvalues of a compact operator accumulate
at 0, so some always are within their bars of it.  They are named, and the verdict stays, unless ‖e^{tA}‖ is large: then
the operator may have a Jordan block at 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fem_selection.steady.stability.error_bars import ErrorBars
from fem_selection.steady.stability.nonnormality import TransientGrowth
from fem_selection.steady.stability.spectrum import Spectrum
from fem_selection.steady.stability.verdict import Verdict

__all__ = ["judge_by_error_bars"]

_LARGE = 10.0
"""‖e^{tA}‖ from which on eigenvalues that are not distinct from 0 may stand for a Jordan block."""


def judge_by_error_bars(
    verdict: Verdict,
    spectrum: Spectrum,
    bars: ErrorBars | None,
    *,
    is_compact: bool,
    abscissa: float,
    transient: TransientGrowth | None,
) -> Verdict:
    """Return the verdict, or "undecided" if the error bars leave its sign open.

    Args:
        verdict: The verdict on the matrix of the mesh.
        spectrum: The spectrum that it rests on.
        bars: The error bars of the leading eigenvalues; if None, the verdict is returned as it is.
        is_compact: Whether K is compact.
        abscissa: The numerical abscissa; nan if it is not known.
        transient: ‖e^{tA}‖; None if it is not known.
    """
    if bars is None or spectrum.kinks or not spectrum.shown:
        return verdict
    values, sizes, zero = spectrum.leading, bars.values, spectrum.tolerance * spectrum.norm
    if verdict.kind == "unstable" and (spectrum.essential is None or spectrum.essential.upper <= zero):
        growing = values.real > zero
        if np.any(growing & (values.real > sizes)):
            return verdict
        first = int(np.argmax(values.real))
        bar = f"its error bar is {sizes[first]:.1e}" if np.isfinite(sizes[first]) else "it is on no other mesh"
        return replace(
            verdict,
            kind="undecided",
            sentence=f"undecided: the largest real part on this mesh is {values[first].real:.6g}, but {bar}: it "
            "may be an effect of the mesh",
        )
    if not verdict.kind.startswith("stable"):
        return verdict
    open_ = np.isfinite(sizes) & (values.real <= 0) & (values.real + sizes >= 0)
    if not np.any(open_):
        return verdict
    near = is_compact & open_ & (np.abs(values) <= sizes)
    if np.any(open_ & ~near) and not (is_compact and abscissa <= zero):
        k = int(np.flatnonzero(open_ & ~near)[0])
        return replace(
            verdict,
            kind="undecided",
            sentence=f"undecided: no eigenvalue grows on this mesh, but the real part {values[k].real:.6g} has the "
            f"error bar {sizes[k]:.1e}",
        )
    if not np.any(near):
        return verdict
    largest, widest = float(np.max(np.abs(values[near]))), float(np.max(sizes[near]))
    what = f"eigenvalues of modulus up to {largest:.2g} are not distinct from 0 (error bars up to {widest:.1e})"
    if transient is None or transient.largest < _LARGE:
        return replace(verdict, sentence=f"{verdict.sentence}; {what}")
    return replace(
        verdict,
        kind="undecided",
        sentence=f"undecided: no eigenvalue grows on this mesh, but {what}, while ‖e^{{tA}}‖ reaches "
        f"{transient.largest:.4g}: 0 may have a Jordan block, and perturbations may grow like a power of t",
    )
