# SPDX-License-Identifier: MIT
"""`StateSpace`: the finite element space V_h ⊂ L²(Y) of the states, its inner product and its nodal blocks.

    (f, g) = Σ_ik F_i M_ik G_k,   M_ik = ∫_Y φ_i φ_k dy

by nodal quadrature in collocated mode (M diagonal, its entries m_k > 0 the quadrature weights), by full quadrature in
Galerkin mode.  A functional's derivative is a vector of duals d_i = ⟨J'(f), φ_i⟩; its Riesz representative has the
nodal values M⁻¹ d.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fem_petsc
from mpi4py import MPI
from petsc4py import PETSc

from fem_selection.compilation import compile_with
from fem_selection.discretization.block_products import BlockProducts, create_dense
from fem_selection.discretization.block_solver import BlockSolver
from fem_selection.discretization.elements import Family, Mode, create_element, create_measure
from fem_selection.discretization.meshes.domains import Domain
from fem_selection.discretization.numbering import canonical_numbering
from fem_selection.disposal import clean_petsc, hold, release_dropped
from fem_selection.errors import InvalidInput
from fem_selection.typing import Block, Floats, create_block, describe_array, real_array, real_block, whole_number

__all__ = ["StateSpace"]

_TINY = 1e-290  # squares below this have lost digits to underflow


class StateSpace:
    """Scalar Lagrange elements on a domain, in collocated or Galerkin mode.

    Args:
        domain: Y with its mesh.
        degree: Polynomial degree p.
        family: "lagrange" (continuous) or "dg".
        mode: "collocated" or "galerkin".
        quadrature_degree: Degree of the full quadrature of Galerkin mode; 2p + 2 by default.

    Raises:
        InvalidInput: if the cell, family, degree or mode is not supported, collocated mode has no positive nodal rule,
            the quadrature has too few points, a rank has no nodes, or a nodal weight is not positive.

    Note:
        Collective over the domain's communicator.  `num_nodes` is N, `num_local` the number of owned nodes; blocks on
        a rank have `num_local` rows.

    Example:
        >>> space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=4), degree=2)
        >>> y = space.coordinates[:, :1]
        >>> print(space.num_nodes, space.norm(y).round(6))  # ‖y‖ = 1/√3
        9 [0.57735]
    """

    def __init__(
        self,
        domain: Domain,
        degree: int = 1,
        family: Family = "lagrange",
        *,
        mode: Mode = "collocated",
        quadrature_degree: int | None = None,
    ) -> None:
        degree = whole_number(degree, "degree", 0)
        if quadrature_degree is not None:
            quadrature_degree = whole_number(quadrature_degree, "quadrature_degree", 0)
        element = create_element(domain.cell, family, degree)
        self.dx = create_measure(domain.mesh, domain.cell, mode, degree=degree, quadrature_degree=quadrature_degree)
        self.domain, self.degree, self.family, self.mode = domain, degree, family, mode
        release_dropped(domain.comm)
        self.V = V = compile_with(domain.comm, lambda: fem.functionspace(domain.mesh, element))
        if domain.comm.size > 1:
            hold(domain.comm, self, release=lambda: clean_petsc(V.mesh.comm))
        index_map = self.V.dofmap.index_map
        self.num_nodes = int(index_map.size_global)
        self.num_local = int(index_map.size_local)
        self.comm: MPI.Intracomm = domain.comm
        counts = self.comm.allgather(self.num_local)
        if min(counts) == 0:
            raise InvalidInput(
                f"a mesh of {self.num_nodes} nodes on {self.comm.size} ranks leaves a rank without nodes: "
                "use fewer ranks for each mesh (parallel.space) or a finer mesh"
            )
        self.counts = counts
        self.offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.canonical_global = canonical_numbering(self.V)
        self.coordinates: Floats = self.V.tabulate_dof_coordinates()[: self.num_local, : domain.dimension].copy()
        self.mass = self._assemble_mass()
        self._mass_products = BlockProducts(self.mass)
        self._solver: BlockSolver | None = None
        if mode == "galerkin" and quadrature_degree is not None and quadrature_degree < 2 * degree:
            self._require_invertible_mass(quadrature_degree)
        self.weights = self._lump_mass()
        if not self._all(bool(np.all(self.weights > 0))):
            raise InvalidInput(
                f"the nodal weights of {mode} mode on this mesh are not all positive: is a cell inverted?"
            )

    @property
    def owned(self) -> slice:
        """The range of global node numbers that this rank owns."""
        return slice(int(self.offsets[self.comm.rank]), int(self.offsets[self.comm.rank + 1]))

    @property
    def canonical(self) -> np.ndarray:
        """Partition-independent numbers of the owned nodes, shape (num_local,)."""
        return self.canonical_global[self.owned]

    @property
    def is_collocated(self) -> bool:
        """Whether nodal quadrature makes the mass matrix diagonal."""
        return bool(self.mode == "collocated")

    def create_block(self, num_samples: int) -> Block:
        """Return a block of zeros, shape (num_local, num_samples)."""
        return create_block(self.num_local, whole_number(num_samples, "num_samples", 0))

    def to_block(self, values: npt.ArrayLike, what: str, *, fewest: int = 0) -> Block:
        """Return nodal values that a user gives as a block, shape (num_local, any) (collective).

        Args:
            values: Lists or an array of any real type and memory order, not changed; a vector is one sample.
            what: Their name in the message.
            fewest: Least number of columns.

        Raises:
            InvalidInput: on all ranks, if what any rank gives is no array of real numbers, or of another shape.
        """
        shape, kind = describe_array(values)
        own = (shape if len(shape) != 1 else (*shape, 1), kind)
        for (shape, kind), nodes in zip(self.comm.allgather(own), self.counts, strict=True):
            if kind is not None:
                raise InvalidInput(f"{what}: expected an array of real numbers, got {kind}")
            if len(shape) != 2 or shape[0] != nodes:
                raise InvalidInput(f"{what} of shape {shape} for {nodes} nodes: expected ({nodes}, number of samples)")
            if shape[1] < fewest:
                raise InvalidInput(f"{what} of shape {shape}: give {fewest} sample at least, one in each column")
        return np.asfortranarray(real_block(values, self.num_local, what))

    # ── inner product, norm, Riesz map ────────────────────────────────────────────────────────────────────────────

    def apply_mass(self, block: Block) -> Block:
        """Return M F, the duals of the states F; column by column ⟨M F, G⟩ = (F, G) (collective)."""
        block = real_block(block, self.num_local, "a block")
        if self.is_collocated:
            return np.asfortranarray(self.weights[:, None] * block)
        result = self.create_block(block.shape[1])
        self._mass_products.apply(block, result)
        return result

    def riesz(self, dual: Block) -> Block:
        """Return M⁻¹ D, the nodal values of the L² Riesz representatives of duals D (collective).

        It is the inverse of `apply_mass`.
        """
        dual = real_block(dual, self.num_local, "a block of duals")
        if self.is_collocated:
            return np.asfortranarray(dual / self.weights[:, None])
        result = self.create_block(dual.shape[1])
        if self._solver is None:
            self._solver = BlockSolver(self.mass, "cholesky")
        self._solver.solve(dual, result)
        return result

    def inner(self, f: Block, g: Block) -> Floats:
        """Return the L² inner products (f_j, g_j) of the columns of two blocks, shape (J,) (collective).

        Args:
            f: Shape (num_local, J).
            g: Shape (num_local, J).
        """
        g = real_block(g, self.num_local, "a block")
        products = np.einsum("ij,ij->j", self.apply_mass(f), g)
        self.comm.Allreduce(MPI.IN_PLACE, products)
        return products

    def norm(self, f: Block) -> Floats:
        """Return the L² norms of the columns of a block, shape (J,) (collective).

        Columns whose squares overflow or vanish in double precision are scaled first.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            squares = self.inner(f, f)
        if np.all((squares > _TINY) & np.isfinite(squares)):
            return np.sqrt(squares)
        f = real_block(f, self.num_local, "a block")
        largest = np.abs(f).max(axis=0, initial=0.0)
        self.comm.Allreduce(MPI.IN_PLACE, largest, op=MPI.MAX)
        scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
        scaled = np.asfortranarray(f / scale)
        return np.sqrt(self.inner(scaled, scaled)) * scale

    # ── functions and blocks ──────────────────────────────────────────────────────────────────────────────────────

    def function(self, values: Floats | None = None, name: str = "f") -> fem.Function:
        """Return a finite element function of this space (collective).

        Args:
            values: Its nodal values at the owned nodes, shape (num_local,); zero if None.
            name: Its name.
        """
        f = fem.Function(self.V, name=name)
        if values is not None:
            f.x.array[: self.num_local] = real_array(values, name, (self.num_local,))
            f.x.scatter_forward()
        return f

    def block(self, *functions: fem.Function) -> Block:
        """Return the nodal values of functions of this space, one per column."""
        return np.asfortranarray(np.column_stack([f.x.array[: self.num_local] for f in functions]))

    def dense(self, block: Block) -> PETSc.Mat:
        """Return the block as a PETSc `MATDENSE` on the same memory; the caller destroys it (collective).

        Raises:
            InvalidInput: if the block is not in Fortran order.
        """
        return create_dense(self.mass.comm, (self.num_local, self.num_nodes), block.shape[1], block=block)

    def gather(self, block: Block) -> Block:
        """Return all N rows of a block, on every rank, in canonical order; for figures and files (collective)."""
        parts = self.comm.allgather(np.ascontiguousarray(block))
        everything = np.empty((self.num_nodes, *block.shape[1:]), order="F")
        everything[self.canonical_global] = np.concatenate(parts)
        return everything

    # ── the mass matrix ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def mass_columns(self) -> Floats | sparse.csr_matrix:
        """The whole mass matrix on every rank: its diagonal, shape (N,), if collocated, else a CSR matrix (collective).

        With it, kernels multiply their rows by M from the right without communication.
        """
        if not hasattr(self, "_mass_columns"):
            if self.is_collocated:
                self._mass_columns: Any = np.concatenate(self.comm.allgather(self.weights))
            else:
                rows, columns, values = self.mass.getValuesCSR()
                parts = self.comm.allgather((np.diff(rows), columns, values))
                lengths, columns, values = (np.concatenate(p) for p in zip(*parts, strict=True))
                indptr = np.concatenate([[0], np.cumsum(lengths)])
                self._mass_columns = sparse.csr_matrix((values, columns, indptr), shape=(self.num_nodes,) * 2)
        return self._mass_columns

    def _assemble_mass(self) -> PETSc.Mat:
        u, v = ufl.TrialFunction(self.V), ufl.TestFunction(self.V)
        form = compile_with(self.comm, lambda: fem.form(ufl.inner(u, v) * self.dx))
        mass = fem_petsc.assemble_matrix(form)
        mass.assemble()
        return mass

    def _require_invertible_mass(self, quadrature_degree: int) -> None:
        """Raise an error if too few quadrature points leave functions that vanish at all of them."""
        values = np.asfortranarray(np.cos(self.canonical)[:, None])
        with np.errstate(all="ignore"):
            error = np.abs(self.riesz(self.apply_mass(values)) - values)
        if not self._all(bool(np.all(error < 1e-6))):
            raise InvalidInput(
                f"space.quadrature_degree = {quadrature_degree} has too few points for space.degree = {self.degree}: "
                f"functions that are not zero vanish at all of them; {2 * self.degree} is enough"
            )

    def _lump_mass(self) -> Floats:
        """The nodal weights: exact if collocated, else row sums, or the scaled diagonal if these are not positive."""
        ones, sums, diagonal = self.mass.createVecRight(), self.mass.createVecLeft(), self.mass.createVecLeft()
        ones.set(1.0)
        self.mass.mult(ones, sums)
        self.mass.getDiagonal(diagonal)
        weights = sums.array.copy()
        if not self._all(bool(np.all(weights > 1e-12 * diagonal.array))):
            weights = diagonal.array * (sums.sum() / diagonal.sum())
        for v in (ones, sums, diagonal):
            v.destroy()
        return weights

    def _all(self, flag: bool) -> bool:
        return bool(self.comm.allreduce(flag, op=MPI.LAND))
