# SPDX-License-Identifier: MIT
"""`ViscousScheme`: the space discretization of the Hamilton–Jacobi–Bellman equation, and its explicit steps.

    M_L dV/dτ = M_L L(V),   the right-hand side of `fem_selection.hjb.forms`

Array code computes H_K = H(x_K, ∇V|_K) at the centroids x_K, the velocities and the viscosity from the current V; the
forms read them when they are assembled.  Use `fem_selection.hjb.value.solve_value` for a whole solution.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
from dolfinx import fem, la
from dolfinx import mesh as dmesh
from mpi4py import MPI
from scipy.ndimage import maximum_filter

from fem_selection.compilation import compile_with
from fem_selection.hjb.forms import step_forms
from fem_selection.hjb.grid import Grid
from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.typing import Floats

__all__ = ["ViscousScheme"]

_SAFETY = 0.9  # of the step bound
_REACH = 1  # a cell's viscosity covers the velocities of the cells within this many grid cells
_FLAT = 1e-13  # differences that count as zero, relative to V


def _create_mesh(grid: Grid, comm: MPI.Intracomm) -> dmesh.Mesh:
    """The simplicial mesh of a grid (collective).

    It has a layer of ghost cells: without one, dolfinx counts the vertex between two ranks' intervals as boundary.
    """
    ends = [np.asarray(grid.lower), np.asarray(grid.upper)]
    cells, ghosts = list(grid.cells), dmesh.GhostMode.shared_facet
    if grid.dimension == 1:
        return dmesh.create_interval(comm, cells[0], (grid.lower[0], grid.upper[0]), ghost_mode=ghosts)
    if grid.dimension == 2:
        return dmesh.create_rectangle(comm, ends, cells, dmesh.CellType.triangle, ghost_mode=ghosts)
    return dmesh.create_box(comm, ends, cells, dmesh.CellType.tetrahedron, ghost_mode=ghosts)


class ViscousScheme:
    """The forms on one mesh, the fields that they read, and explicit steps.

    Args:
        problem: The reduced problem, which gives H.
        grid: The box and its cells.
        comm: The ranks of the mesh.
        speeds: As in `solve_value`.
    """

    def __init__(self, problem: ReducedProblem, grid: Grid, comm: MPI.Intracomm, *, speeds: Floats | None) -> None:
        self.problem, self.grid, self.comm = problem, grid, comm
        mesh = _create_mesh(grid, comm)
        n = grid.dimension
        self.space = fem.functionspace(mesh, ("Lagrange", 1))
        self.V = fem.Function(self.space)
        self.H = fem.Function(fem.functionspace(mesh, ("DG", 0)))
        self.v = fem.Function(fem.functionspace(mesh, ("DG", 0, (n,))))
        self.D, self.S = (fem.Function(fem.functionspace(mesh, ("DG", 0, (n + 1,)))) for _ in range(2))
        self._speeds = None if speeds is None else np.asarray(speeds, dtype=np.float64)
        forms = step_forms(self.V, self.H, self.v, D=self.D, S=self.S, keep_flux=speeds is None)
        self._rate, self._leaving, self._outflow = (
            compile_with(comm, partial(fem.form, form)) for form in (forms.rate, forms.leaving, forms.outflow)
        )
        self._dual = la.vector(self.space.dofmap.index_map)
        self.mass = self._assemble(compile_with(comm, lambda: fem.form(forms.mass)))
        self._boundary = self._integral(compile_with(comm, lambda: fem.form(forms.boundary)))
        self.num_owned = self.space.dofmap.index_map.size_local
        self._locate(mesh)

    def _locate(self, mesh: dmesh.Mesh) -> None:
        """Compute centroids, boxes and gradients of the owned cells, and the places of the owned nodes on the grid."""
        n = self.grid.dimension
        cells = mesh.topology.index_map(n).size_local
        self._nodes = self.space.tabulate_dof_coordinates()[:, :n]
        self._dofs = self.space.dofmap.list[:cells]
        vertices = self._nodes[self._dofs]
        self._centroids = vertices.mean(axis=1)
        place = (self._centroids - np.asarray(self.grid.lower)) / self.grid.widths
        boxes = tuple(place.astype(np.int64).T)
        number = np.ravel_multi_index(boxes, self.grid.cells)
        self._order = np.argsort(number, kind="stable")  # of the cells, by their boxes
        self._filled, self._first = np.unique(number[self._order], return_index=True)
        self._boxes = boxes
        self._inverse = np.linalg.inv(vertices[:, 1:] - vertices[:, :1])
        steps = np.moveaxis(self._inverse, 2, 1)
        self._slopes = np.concatenate([-steps.sum(axis=1, keepdims=True), steps], axis=1)  # ∇φ_k, (cells, n + 1, n)
        self._of_H, self._of_v, self._of_D = (f.function_space.dofmap.list[:cells, 0] for f in (self.H, self.v, self.D))
        near = 1e-9 * self.grid.widths
        outer = (self._nodes < self.grid.lower + near) | (self._nodes > self.grid.upper - near)
        self._at_boundary = outer.any(axis=1)
        self._places = self.comm.allgather(self.grid.number(self._nodes[: self.num_owned]))
        self._policy: Floats | None = None

    def set_terminal(self, terminal: Callable[[Floats], Floats]) -> None:
        """Set V at τ = 0."""
        self.V.x.array[:] = terminal(self._nodes)

    def refresh(self, fresh: bool) -> None:
        """Compute H_K, v and the viscosity from the current V; with `fresh` from all starts (collective)."""
        at = self.V.x.array[self._dofs]
        xi = np.einsum("cij,cj->ci", self._inverse, at[:, 1:] - at[:, :1])
        warm = None if fresh else self._policy
        self.H.x.array[self._of_H], velocity, self._policy = self.problem.hamiltonian(self._centroids, xi, warm)
        self.v.x.array.reshape(-1, self.grid.dimension)[self._of_v] = velocity
        self.D.x.array.reshape(-1, self.grid.dimension + 1)[self._of_D] = self._fastest(velocity)
        self.S.x.array.reshape(-1, self.grid.dimension + 1)[self._of_D] = self._roughness(at)

    def bounds(self) -> tuple[float, float]:
        """The step bound, and the share of the boundary with outward velocity, from the last `refresh` (collective)."""
        leaving = self._assemble(self._leaving)[: self.num_owned] / self.mass[: self.num_owned]
        fastest = self.comm.allreduce(float(np.max(leaving, initial=0.0)), op=MPI.MAX)
        outward = self._integral(self._outflow) / self._boundary
        return (_SAFETY / fastest if fastest > 0 else np.inf), outward

    def _fastest(self, velocity: Floats) -> Floats:
        """D_k of each cell, shape (cells, n + 1) (collective)."""
        if self._speeds is not None:
            return np.asarray(np.abs(self._slopes) @ self._speeds)
        if self.grid.dimension == 1:
            return np.maximum(0.0, -np.einsum("ckl,cl->ck", self._slopes, velocity))
        field = np.zeros((*self.grid.cells, self.grid.dimension))
        if len(velocity):
            largest = np.maximum.reduceat(np.abs(velocity)[self._order], self._first, axis=0)
            field.reshape(-1, self.grid.dimension)[self._filled] = largest
        self.comm.Allreduce(MPI.IN_PLACE, field, op=MPI.MAX)
        size = (2 * _REACH + 1,) * self.grid.dimension
        near = maximum_filter(field, (*size, 1), mode="nearest")[self._boxes]
        return np.einsum("ckl,cl->ck", np.abs(self._slopes), near)

    def _roughness(self, at: Floats) -> Floats:
        """S at the vertices of each cell, shape (cells, n + 1); 1 with fixed bounds (collective)."""
        if self._speeds is not None:
            return np.ones_like(at)
        sums, sizes = np.zeros_like(at), np.zeros_like(at)
        for i, j in combinations(range(at.shape[1]), 2):
            difference = at[:, i] - at[:, j]
            sums[:, i] += difference
            sums[:, j] -= difference
            size = np.abs(difference)
            sizes[:, i] += size
            sizes[:, j] += size
        parts = []
        for values in (sums, sizes):
            self._dual.array[:] = np.bincount(self._dofs.ravel(), values.ravel(), minlength=self._dual.array.size)
            self._dual.scatter_reverse(la.InsertMode.add)
            self._dual.scatter_forward()
            parts.append(self._dual.array.copy())
        rough = self._at_boundary | (parts[1] <= _FLAT * np.abs(self.V.x.array).max(initial=0.0))
        sensor = np.where(rough, 1.0, np.abs(parts[0]) / np.where(rough, 1.0, parts[1]))
        return np.asarray(sensor[self._dofs])

    def step(self, step: float) -> None:
        """Take one time step: V + Δτ L(V) with fixed bounds, else the mean of V and of the result of two such steps.

        The latter is Heun's method, a convex combination of explicit steps, so that the same step bound holds.
        """
        start = self.V.x.array.copy()
        self.advance(step)
        if self._speeds is None:
            self.refresh(fresh=False)
            self.advance(step)
            self.V.x.array[:] = 0.5 * (start + self.V.x.array)

    def advance(self, step: float) -> None:
        """Replace V by V + Δτ L(V), with the fields of the last `refresh` (collective)."""
        self.V.x.array[: self.num_owned] += step * self.rate()
        self.V.x.scatter_forward()

    def rate(self) -> Floats:
        """L(V) at the owned nodes, with the fields of the last `refresh` (collective)."""
        n = self.num_owned
        return np.asarray(self._assemble(self._rate)[:n] / self.mass[:n])

    def gather(self) -> Floats:
        """V as an array of the grid's shape on every rank (collective)."""
        result = np.empty(int(np.prod(self.grid.shape)))
        for places, values in zip(self._places, self.comm.allgather(self.V.x.array[: self.num_owned]), strict=True):
            result[places] = values
        return result.reshape(self.grid.shape)

    def _integral(self, form: fem.Form) -> float:
        return float(self.comm.allreduce(fem.assemble_scalar(form), op=MPI.SUM))

    def _assemble(self, form: fem.Form) -> Floats:
        """The vector of a linear form; its entries at the owned nodes are complete (collective)."""
        self._dual.array[:] = 0.0
        fem.assemble_vector(self._dual.array, form)
        self._dual.scatter_reverse(la.InsertMode.add)
        return self._dual.array.copy()
