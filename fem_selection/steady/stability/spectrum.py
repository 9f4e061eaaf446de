# SPDX-License-Identifier: MIT
"""The spectrum of the linearization A = Π σ'(g*) K at a state f*: eigenvalues, their error, the kernel of A.

    ∂_t v = A v,   g* = K f* + b

*Kernels without a local part*: A = U S V* to round-off (`factors`), on up to 2048 nodes whatever its rank, and beyond
if the rank is at most 400.  All nonzero eigenvalues are those of the small matrix S V*U.  Krylov–Schur also computes
the eigenvalues of largest real part, and the difference is recorded.  If the rank is larger, the leading 400 singular
triplets make up the *compact part* A_k, and all statements hold up to δ = ‖A − A_k‖, which is measured and takes the
place of round-off.  *Local parts*: all eigenvalues of the balanced nodal matrix (`balanced`); on many nodes only those
that Krylov–Schur finds, applied to the resolvent if necessary.

If K is compact, the eigenvalues accumulate at 0.  Therefore eigenvalues that do not grow are selected by modulus, but
the one of largest real part always; with a local part the largest real parts are selected.  Of a local part that only
multiplies, the values on a continuous spectrum are left out (`essential`).

The uncertainty of an eigenvalue depends on its condition κ: λ may be off by κ ε ‖A‖, where ε is the tolerance of the
factors.  Where this is |λ| or more, the pseudospectrum says whether λ is distinct from 0 (`degenerate`); the computed
eigenvalues of a nilpotent A are not, and count as zero.  Krylov–Schur is applied a second time, to A + E with E of rank
one and norm 3·10⁻¹⁰ ‖A‖.  This moves an eigenvalue λ by about κ ‖E‖ / N.  A number that is not an eigenvalue, but has
‖(A − λ)⁻¹‖ > 1/‖E‖, moves anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.dynamics.resolvent import has_local_part, resolvents_of
from fem_selection.errors import NonFinite, NotConverged
from fem_selection.linalg.factors import MAX_RANK, MAX_WHOLE, Factors, factorize
from fem_selection.linalg.krylov import (
    Eigenpairs,
    Resolvents,
    leading_eigenpairs,
    normalize_modes,
    residual_norms,
)
from fem_selection.linalg.operators import Disturbed, Operator
from fem_selection.settings import StabilitySettings
from fem_selection.steady.stability.degenerate import DegeneratePart
from fem_selection.steady.stability.eigenvalues import ON_SPECTRUM, eigenvalues_of_factors, eigenvalues_of_matrix
from fem_selection.steady.stability.essential import EssentialSpectrum, essential_spectrum
from fem_selection.steady.stability.regularity import count_kinks, flat_share
from fem_selection.steady.stability.sides import SideRates, rates_by_side
from fem_selection.typing import Block, Complexes, Floats, whole_number

__all__ = ["Spectrum", "analyze_spectrum", "spectrum_of_operator"]

_WITNESS_RESTARTS = 60
_DISTURBANCE = 3e-10  # of ‖A‖: some thirty times the residuals that Krylov–Schur is allowed
_LARGEST_MATRIX = 1024  # nodes: balancing such a matrix takes a few seconds


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of A, the selected eigenfunctions, and how certain they are.

    Attributes:
        values: Eigenvalues that differ from zero, by decreasing real part: all of them if `is_complete`; else those of
            largest real part, which may include 0.
        modes: Eigenfunctions of the selected eigenvalues, of unit L² norm, complex, shape (num_local, k).
        duals: Left eigenfunctions w of the selected eigenvalues, A* w = λ̄ w, of unit L² norm; None by Krylov–Schur.
        shown: The places in `values` of the selected eigenvalues.
        residuals: ‖A v − λ v‖ of the selected pairs, shape (k,).
        uncertainties: How far round-off may move each of `values`: κ ε ‖A‖, or the change seen at a disturbed A.
        norm: ‖A‖ in L².
        num_nodes: N.
        rank: Number of singular values of A above `tolerance` ‖A‖; None if there are too many to compute.
        rank_of_square: The rank of A², by the same tolerance; None if it is not known.
        tolerance: Size, relative to ‖A‖, that counts as zero.
        krylov_schur: Eigenvalues of largest real part by Krylov–Schur; empty if it does not converge.
        slope_range: Smallest and largest |σ'(g*)|.
        factors: The factors of A = U S V*, to `unresolved`; None for other methods.
        method: "factors", "truncated factors", "balanced matrix" or "Krylov–Schur", which finds the leading eigenvalues
            only.
        kinks: Number of points at which σ' jumps within 10⁻⁸ (1 + max |g*|) of g*.
        sides: Rates by side if there are such points and K has no local part; else None.
        flat: Share of the nodes at which g* is near a multiple zero of σ, so that σ' would vanish if f* were exact.
        unresolved: ‖A − A_k‖ if A is truncated; what lies so near to 0 is not known.  Else 0.
        degenerate: Jordan blocks, and eigenvalues that are not distinct from 0; None if only leading ones are known.
        failure: Why no eigenvalue was found, or None.
        essential: The essential spectrum of a local part that multiplies, whose values are not among `values`; else
            None.
    """

    values: Complexes
    modes: Complexes
    duals: Complexes | None
    shown: tuple[int, ...]
    residuals: Floats
    uncertainties: Floats
    norm: float
    num_nodes: int
    rank: int | None
    rank_of_square: int | None
    tolerance: float
    krylov_schur: Complexes
    slope_range: tuple[float, float]
    factors: Factors | None
    method: str
    kinks: int = 0
    sides: SideRates | None = None
    flat: float = 0.0
    unresolved: float = 0.0
    degenerate: DegeneratePart | None = None
    failure: str | None = None
    essential: EssentialSpectrum | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all eigenvalues that differ from zero are known."""
        return self.method != "Krylov–Schur"

    @property
    def leading(self) -> Complexes:
        """The selected eigenvalues: those that grow, then by modulus, or by real part with a local kernel."""
        return self.values[list(self.shown)]

    @property
    def num_growing(self) -> int:
        """The number of known eigenvalues whose real part is positive beyond tolerance and uncertainty."""
        return int(np.sum(self.values.real > np.maximum(self.tolerance * self.norm, self.uncertainties)))

    @property
    def krylov_schur_difference(self) -> float:
        """Difference of the largest real parts by the two methods, relative to ‖A‖; 0 if there is only one method.

        0 counts as an eigenvalue where A has a kernel.
        """
        if not self.is_complete or not self.krylov_schur.size:
            return 0.0
        known = float(self.values[0].real) if self.values.size else 0.0
        if self.rank is None or self.rank < self.num_nodes:
            known = max(known, 0.0)
        return abs(known - float(self.krylov_schur[0].real)) / self.norm


def analyze_spectrum(
    field: SelectionField,
    f: Block,
    number: int = StabilitySettings.number,
    *,
    tolerance: float = StabilitySettings.tolerance,
    max_rank: int = MAX_RANK,
    has_witness: bool = True,
) -> Spectrum:
    """The spectrum of the linearization at one state (collective over space).

    Args:
        field: The right-hand side.
        f: Nodal values of f*, shape (num_local, 1).
        number: Number of eigenvalues to select, for which eigenfunctions are computed.
        tolerance: Size, relative to ‖A‖, that counts as zero.
        max_rank: Largest rank of A for which factors are computed.
        has_witness: Whether Krylov–Schur computes the leading eigenvalues too, where factors give all.

    Raises:
        NonFinite: if σ' is not finite at the state.
    """
    number = whole_number(number, "number", 1)
    linearization: Linearization = field.linearize(f)
    space, slope = field.space, np.abs(linearization.derivative())
    lowest = float(np.min(slope, initial=np.inf))
    highest = float(np.max(slope, initial=0.0))
    bounds = space.comm.allgather((lowest, highest if np.all(np.isfinite(slope)) else np.inf))
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    if not np.isfinite(high):
        raise NonFinite("the derivative of the activation at the state")
    found = spectrum_of_operator(
        space,
        linearization,
        (low, high),
        number=number,
        tolerance=tolerance,
        max_rank=max_rank,
        has_witness=has_witness,
    )
    flat = flat_share(linearization)
    slope_range = (0.0 if flat > 0 else low, high)
    kinks = count_kinks(linearization, high)
    sides = rates_by_side(linearization) if kinks and not has_local_part(field.kernel, field.interval) else None
    return replace(found, kinks=kinks, sides=sides, flat=flat, slope_range=slope_range)


def spectrum_of_operator(
    space: StateSpace,
    operator: Operator,
    slope_range: tuple[float, float],
    *,
    number: int = StabilitySettings.number,
    tolerance: float = StabilitySettings.tolerance,
    max_rank: int = MAX_RANK,
    has_witness: bool = True,
) -> Spectrum:
    """The spectrum of any operator A on V_h (collective over space).

    Args:
        space: The state space V_h.
        operator: A.
        slope_range: Smallest and largest |σ'(g*)|, for the result.
        number: As in `analyze_spectrum`.
        tolerance: As in `analyze_spectrum`.
        max_rank: As in `analyze_spectrum`.
        has_witness: As in `analyze_spectrum`.

    Raises:
        NonFinite: if A has a local part and an entry of its matrix is not finite.
    """
    local = operator if isinstance(operator, Linearization) else None
    is_local = local is not None and has_local_part(local.field.kernel, local.field.interval)
    essential = essential_spectrum(local) if local is not None and is_local else None
    is_small = not is_local and space.num_nodes <= MAX_WHOLE
    factors = factorize(space, operator, max_rank=space.num_nodes if is_small else max_rank)
    norm, krylov = factors.norm, np.zeros(0, complex)
    if is_local and space.num_nodes <= max(max_rank, _LARGEST_MATRIX):
        found = eigenvalues_of_matrix(space, operator, tolerance, norm=norm, essential=essential)
    elif factors.is_complete or not is_local:
        found = eigenvalues_of_factors(space, operator, factors, tolerance=tolerance)
        krylov = _witness(space, operator, norm) if has_witness and factors.is_complete else krylov
    else:
        return _leading(space, operator, slope_range, number, tolerance, norm, local)
    rank, nullities = found.rank, found.nullities
    square = None if rank is None else rank - (nullities[1] if len(nullities) > 1 else 0)
    shown = _choose(found.values, number, found.tolerance * norm, by_modulus=not is_local)
    modes, duals = found.vectors(list(shown))
    modes = normalize_modes(space, modes)
    residuals = residual_norms(space, operator, found.values[list(shown)], modes=modes)
    return Spectrum(
        values=found.values,
        modes=modes,
        duals=normalize_modes(space, duals),
        shown=shown,
        residuals=residuals,
        uncertainties=found.uncertainties,
        norm=norm,
        num_nodes=space.num_nodes,
        rank=rank,
        rank_of_square=square,
        tolerance=found.tolerance,
        krylov_schur=krylov,
        slope_range=slope_range,
        factors=None if found.method == "balanced matrix" else factors,
        method=found.method,
        unresolved=found.unresolved,
        degenerate=found.degenerate,
        essential=essential,
    )


def _leading(
    space: StateSpace,
    operator: Operator,
    slope_range: tuple[float, float],
    number: int,
    tolerance: float,
    norm: float,
    local: Linearization | None,
) -> Spectrum:
    """The eigenvalues of largest real part only, and how far a small disturbance of A moves them."""
    try:
        found = leading_eigenpairs(space, operator, number, norm=norm, resolvents=_resolvents(local, operator))
        failure = None
    except NotConverged as error:
        nothing = np.zeros((space.num_local, 0), complex)
        found, failure = Eigenpairs(values=np.zeros(0, complex), modes=nothing, residuals=np.zeros(0)), str(error)
    disturbed = Disturbed(space, operator, _DISTURBANCE * norm)
    try:
        other = leading_eigenpairs(space, disturbed, number, norm=norm, resolvents=_resolvents(local, disturbed)).values
        moved = np.array([np.min(np.abs(other - value), initial=np.inf) for value in found.values])
    except NotConverged:
        moved = np.full(len(found.values), np.inf)
    essential = None if local is None else essential_spectrum(local)
    if essential is not None:
        outside = ~essential.holds(found.values, ON_SPECTRUM * norm)
        found = Eigenpairs(
            values=found.values[outside], modes=found.modes[:, outside], residuals=found.residuals[outside]
        )
        moved = moved[outside]
    shown = tuple(range(len(found.values)))
    return Spectrum(
        values=found.values,
        modes=found.modes,
        duals=None,
        shown=shown,
        residuals=found.residuals,
        uncertainties=moved,
        norm=norm,
        num_nodes=space.num_nodes,
        rank=None,
        rank_of_square=None,
        tolerance=tolerance,
        krylov_schur=found.values,
        slope_range=slope_range,
        factors=None,
        method="Krylov–Schur",
        failure=failure,
        essential=essential,
    )


def _resolvents(local: Linearization | None, operator: Operator) -> Resolvents | None:
    """The resolvents of an operator that equals the linearization or is close to it; None without a linearization."""
    return None if local is None else resolvents_of(local, operator)


def _witness(space: StateSpace, operator: Operator, norm: float) -> Complexes:
    """The eigenvalues of largest real part by Krylov–Schur; empty if it fails, as for a Volterra operator."""
    try:
        return leading_eigenpairs(space, operator, 2, norm=norm, max_restarts=_WITNESS_RESTARTS).values
    except NotConverged:
        return np.zeros(0, complex)


def _choose(values: Complexes, number: int, zero: float, by_modulus: bool) -> tuple[int, ...]:
    """Select those that grow, the first, and those of largest modulus, or real part; pairs stay together."""
    growing = [k for k in range(len(values)) if values[k].real > zero]
    others = [k for k in range(len(values)) if values[k].real <= zero]
    if by_modulus:
        others.sort(key=lambda k: -float(abs(values[k])))
    chosen = [*growing, *others][: max(number, 0)]
    if chosen and 0 not in chosen:
        chosen[-1] = 0
    partners = {
        j
        for k in chosen
        for j in range(len(values))
        if values[k].imag != 0 and abs(values[j] - values[k].conjugate()) <= 1e-12 * abs(values[k])
    }
    return tuple(sorted({*chosen, *partners}))
