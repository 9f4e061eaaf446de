# SPDX-License-Identifier: MIT
"""`LocalKernel`: multiplication, convection and diffusion with learned coefficients, the continuum of a convolution.

Find K f ∈ V_h with, for all φ ∈ V_h,

    (K f, φ) = (a f, φ) + (β·∇f, φ) − (D ∇f, ∇φ),        a, β_1 … β_d, D ∈ V_h

No function w represents this K: its kernel is a distribution, a δ(y − z) + …, and K is not compact.  Its parameters are
the coefficients.  They have different dimensions; a length ℓ combines them into one inner product,

    ⟨(a, β, D), (a', β', D')⟩ = (a, a') + ℓ⁻² (β, β') + ℓ⁻⁴ (D, D'),

in which coefficients of equal norm act equally on functions that vary over ℓ.  A regularization uses this inner
product, and an optimizer measures gradients in it; with ℓ = 1 on a finer mesh the diffusion is by far the steepest of
the three.

The boundary condition of the diffusion is the natural one, no flux.  The form is stated in UFL, compiled once and
assembled into one sparse matrix A for each control interval, K = M⁻¹ A.

All integrals use the measure of the space's inner product: full quadrature in Galerkin mode, quadrature at the nodes in
collocated mode.  In collocated mode the multiplication is exactly a_i f_i at the nodes, M⁻¹ is a division, and the
diffusion is that of the spectral element method, whose quadrature is exact for constant coefficients on affine meshes.
Explicit schemes need steps below the inverse of the largest eigenvalue of K, which grows as D h⁻².

Gradients of functions that jump between cells are not in L²: convection and diffusion need continuous elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from petsc4py import PETSc

from fem_selection.discretization.block_products import BlockProducts
from fem_selection.discretization.coefficients import Source, function_values
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.discretization.transfer import Transfer
from fem_selection.disposal import clean_petsc
from fem_selection.errors import InvalidInput
from fem_selection.kernels.base import OperatorByParameters, as_parameters, map_functions
from fem_selection.kernels.local_forms import LocalForms
from fem_selection.kernels.sums import Summable
from fem_selection.settings.names import LOCAL_TERMS
from fem_selection.typing import Block, Floats, Integers, real_number, whole_number

__all__ = ["LocalKernel"]


class LocalKernel(Summable, OperatorByParameters):
    """A local operator of at most second order, time-dependent (several intervals) or constant in depth (one).

    The coefficients are zero at first, which is no stationary point: K is linear in them.

    Args:
        space: The state space V_h.
        num_intervals: Number of control intervals.
        terms: Some of `LOCAL_TERMS`, or the forms of another kernel.
        length: ℓ of the inner product, in the units of Y.

    Attributes:
        names: Names of the coefficients (see `LocalForms`).
        orders: Orders of the derivatives that they multiply, shape (len(names),).

    Raises:
        InvalidInput: if ℓ is not positive, or the terms cannot be used (see `LocalForms`).

    Note:
        Arrays of parameters have the nodal values of the coefficients at this rank's nodes, shape (num_intervals,
        number of coefficients, num_local) in C order, flattened; the coefficients in the order of `names`.  A diffusion
        coefficient that becomes negative makes modes grow as fast as the mesh resolves them: bound it from below.
    """

    is_linear = True

    def __init__(
        self,
        space: StateSpace,
        num_intervals: int,
        terms: Sequence[str] | LocalForms = LOCAL_TERMS,
        *,
        length: float = 1.0,
    ) -> None:
        num_intervals, length = whole_number(num_intervals, "num_intervals", 1), real_number(length, "length")
        if not length > 0:
            raise InvalidInput(f"length {length} of a local kernel: it must be positive")
        self.space, self.num_intervals, self.length = space, num_intervals, length
        self._forms = terms if isinstance(terms, LocalForms) else LocalForms(space, terms)
        self.names = self._forms.names
        self._shape = (num_intervals, len(self.names), space.num_local)
        self.orders = np.array([LOCAL_TERMS.index(name.split("_")[0]) for name in self.names])
        self._factors = length ** (-2.0 * self.orders[:, None])
        self.num_parameters = int(np.prod(self._shape))
        self.num_global_parameters = num_intervals * len(self.names) * space.num_nodes
        clean_petsc(space.comm)  # matrices of earlier kernels
        self._matrices = [self._forms.create_matrix() for _ in range(num_intervals)]
        self._products = [BlockProducts(matrix) for matrix in self._matrices]
        self._transposes: list[BlockProducts | None] = [None] * num_intervals
        self.assign(np.zeros(self.num_parameters))

    @classmethod
    def interpolate(
        cls,
        space: StateSpace,
        coefficients: Mapping[str, Source | Sequence[Source]],
        grid: DepthGrid,
        *,
        length: float = 1.0,
    ) -> LocalKernel:
        """Create the kernel of the terms that have coefficients, with their values at the sample times (collective).

        Args:
            space: The state space.
            coefficients: Sources by term (see `discretization.coefficients`); for the convection a sequence of d
                sources, or one source for all directions.
            grid: The depth grid.
            length: ℓ of the inner product.

        Raises:
            InvalidInput: if the convection has another number of sources than d, or for a source or term that cannot be
                used.
        """
        kernel = cls(space, grid.intervals, tuple(coefficients), length=length)
        kernel.assign(kernel.interpolated(coefficients, grid))
        return kernel

    def interpolated(self, coefficients: Mapping[str, Source | Sequence[Source]], grid: DepthGrid) -> Floats:
        """Return the parameters that `interpolate` gives a new kernel with the terms of this one (collective).

        Args:
            coefficients: Sources by term, as for `interpolate`.
            grid: The depth grid, with as many intervals as this kernel.

        Raises:
            InvalidInput: as for `interpolate`.
        """
        sources: list[Source] = []
        for term in self._forms.terms:
            given, count = coefficients[term], self.space.domain.dimension if term == "convection" else 1
            several = list(given) if isinstance(given, list | tuple) else [given] * count
            if len(several) != count:
                raise InvalidInput(f"{term} has {len(several)} coefficients where {count} were expected")
            sources += several
        times = grid.sample_times
        return np.array([[function_values(self.space, source, float(t)) for source in sources] for t in times]).ravel()

    @property
    def coefficients(self) -> Floats:
        """Nodal values of the coefficients, shape (num_intervals, len(names), num_local); `assign` changes them."""
        return self._values

    def sparse_operator(self, interval: int) -> PETSc.Mat:
        """Return A of an interval, (K f, φ_i) = Σ_k A_ik F_k; the kernel's own matrix, which `assign` renews."""
        return self._matrices[interval]

    def assign(self, parameters: Floats) -> None:
        """Set the coefficients of all intervals and assemble A; the array is kept by reference."""
        self._values = as_parameters(parameters, self.num_parameters).reshape(self._shape)
        for values, matrix in zip(self._values, self._matrices, strict=True):
            self._forms.assemble(values, matrix)
        self._transposed = [False] * self.num_intervals

    def prolong(self, parameters: Floats, transfer: Transfer) -> Floats:
        """Interpolate the coefficients.  See `Prolongable.prolong`."""
        return transfer.apply_to_functions(as_parameters(parameters, self.num_parameters).reshape(self._shape)).ravel()

    def parameters(self) -> Floats:
        """Return a copy of the nodal values of the coefficients, flattened."""
        return self._values.ravel().copy()

    def by_interval(self, parameters: Floats) -> list[Floats]:
        """Return one view: the coefficients of each interval."""
        return [parameters.reshape(self.num_intervals, -1)]

    def create_direction(self) -> LocalKernel:
        """Return a local kernel of zeros with the same forms: K is linear in its coefficients."""
        return LocalKernel(self.space, self.num_intervals, self._forms, length=self.length)

    def canonical_indices(self) -> Integers:
        """Return (interval, coefficient, node) in the canonical numbering of the nodes, as one number."""
        leading = np.arange(self.num_intervals * len(self.names)).reshape(*self._shape[:2], 1)
        return (leading * self.space.num_nodes + self.space.canonical).ravel()

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = M⁻¹ A F, plus what `out` held if `keep`.  See `Kernel.apply`."""
        result = self.space.riesz(self._product(self._products[interval], block))
        if keep:
            out += result
        else:
            out[...] = result

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · Aᵀ M⁻¹ Q.  See `Kernel.add_transpose`."""
        result = self._product(self._transpose(interval), self.space.riesz(dual))
        result *= scale
        out += result

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Return zeros of shape (num_intervals, number of coefficients, quadrature points); `buffer` is not used."""
        return np.zeros((*self._shape[:2], self._forms.points.num_points))

    def add_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Add the densities of ⟨A F, M⁻¹ Q⟩ (see `LocalForms.products`) to `out[interval]`.

        See `Kernel.add_pullback`.
        """
        representative = self.space.riesz(dual)
        for target, density in zip(out[interval], self._forms.products(block, representative), strict=True):
            target += scale * density

    def add_second_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Do nothing: K is linear in its coefficients.  See `KernelDirection.add_second_pullback`."""

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """Return ∫ density φ_i for all coefficients.  See `Kernel.parameter_dual`."""
        densities = np.array(pullback.reshape(-1, pullback.shape[-1]).T, order="F")
        duals = self.space.create_block(densities.shape[1])
        self._forms.points.integrate(densities, duals)
        result = np.empty(self.num_parameters) if out is None else out
        result.reshape(duals.shape[::-1])[...] = duals.T
        return result

    def apply_mass(self, parameters: Floats) -> Floats:
        """Return M times every coefficient, times its power of ℓ⁻²."""
        return (self._factors * map_functions(self.space.apply_mass, parameters.reshape(self._shape))).ravel()

    def riesz(self, dual: Floats) -> Floats:
        """Return the inverse of `apply_mass`."""
        return (map_functions(self.space.riesz, dual.reshape(self._shape)) / self._factors).ravel()

    def lumped_mass(self) -> Floats:
        """Return the nodal weights times the power of ℓ⁻², for each coefficient."""
        return np.broadcast_to(self._factors * self.space.weights, self._shape).ravel()

    def _transpose(self, interval: int) -> BlockProducts:
        """Aᵀ of an interval, made when it is needed first and renewed when A has changed (collective)."""
        products = self._transposes[interval]
        if products is None:
            products = self._transposes[interval] = BlockProducts(self._matrices[interval].transpose(PETSc.Mat()))
        elif not self._transposed[interval]:
            self._matrices[interval].transpose(products.matrix)
        self._transposed[interval] = True
        return products

    def _product(self, products: BlockProducts, block: Block) -> Block:
        result = self.space.create_block(block.shape[1])
        products.apply(block, result)
        return result
