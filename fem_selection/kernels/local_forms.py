# SPDX-License-Identifier: MIT
"""The weak form of a local kernel in UFL: its sparse matrix, and the integrals of its derivative in the coefficients.

⟨A F, G⟩ = (a f, g) + (β·∇f, g) − (D ∇f, ∇g)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fem_petsc
from petsc4py import PETSc

from fem_selection.compilation import compile_with
from fem_selection.discretization.quadrature.points import QuadraturePoints
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.parallel import warn_on_root
from fem_selection.settings.names import LOCAL_TERMS
from fem_selection.typing import Block, Floats

__all__ = ["LocalForms"]


class LocalForms:
    """The weak form of some terms, compiled once, and the same integrals tabulated; kernels and directions share it.

    Args:
        space: The state space.
        terms: Some of `LOCAL_TERMS`.

    Attributes:
        names: Names of the coefficients: "multiplication", "convection" or, in several dimensions, "convection_0" …,
            "diffusion".

    Raises:
        InvalidInput: for unknown or no terms, or if convection or diffusion is asked for on discontinuous elements.
    """

    def __init__(self, space: StateSpace, terms: Sequence[str] = LOCAL_TERMS) -> None:
        self.terms = tuple(term for term in LOCAL_TERMS if term in terms)
        if len(self.terms) != len(terms) or not terms:
            raise InvalidInput(
                f"terms {list(terms)} of a local kernel: choose from {', '.join(LOCAL_TERMS)}, each once"
            )
        differential = [term for term in self.terms if term != "multiplication"]
        if differential and space.family != "lagrange":
            raise InvalidInput(
                f"{' and '.join(differential)} of family {space.family!r}: functions that jump between cells have no "
                "gradient in L²; use continuous elements (space.family = 'lagrange', degree ≥ 1), or multiplication "
                "alone"
            )
        if differential and space.domain.pieces > 1:
            warn_on_root(
                f"{space.domain.name}: {space.domain.pieces} parts share no node: a local kernel does not couple them"
            )
        self.space, d = space, space.domain.dimension
        directions = ["convection"] if d == 1 else [f"convection_{k}" for k in range(d)]
        self.names = tuple(n for term in self.terms for n in (directions if term == "convection" else [term]))
        self.points = QuadraturePoints(space, gradients=bool(differential))
        self._coefficients = [fem.Function(space.V, name=name) for name in self.names]
        integrand = self._integrand(dict(zip(self.names, self._coefficients, strict=True)))
        self._form = compile_with(space.comm, lambda: fem.form(integrand * space.dx))

    def _integrand(self, coefficients: Mapping[str, fem.Function]) -> ufl.core.expr.Expr:
        u, v = ufl.TrialFunction(self.space.V), ufl.TestFunction(self.space.V)
        directions = [f for name, f in coefficients.items() if name.startswith("convection")]
        integrands = {
            "multiplication": lambda: coefficients["multiplication"] * u * v,
            "convection": lambda: ufl.inner(ufl.as_vector(directions), ufl.grad(u)) * v,
            "diffusion": lambda: -coefficients["diffusion"] * ufl.inner(ufl.grad(u), ufl.grad(v)),
        }
        return sum(integrands[term]() for term in self.terms)

    def create_matrix(self) -> PETSc.Mat:
        """Return a sparse matrix with the form's pattern (collective)."""
        return fem_petsc.create_matrix(self._form)

    def assemble(self, coefficients: Floats, matrix: PETSc.Mat) -> None:
        """Assemble the matrix A of some coefficients (collective).

        Args:
            coefficients: Nodal values, shape (len(names), num_local).
            matrix: A matrix made by `create_matrix`; overwritten.
        """
        for function, values in zip(self._coefficients, coefficients, strict=True):
            function.x.array[: self.space.num_local] = values
            function.x.scatter_forward()
        matrix.zeroEntries()
        fem_petsc.assemble_matrix(matrix, self._form)
        matrix.assemble()

    def products(self, f: Block, g: Block) -> list[Floats]:
        """Return the derivative of Σ_j (K f_j, g_j) in each coefficient, as a density (collective).

        The density is Σ_j f_j g_j for the multiplication, Σ_j ∂_k f_j g_j for the convection and −Σ_j ∇f_j·∇g_j for the
        diffusion.

        Args:
            f: Nodal values, shape (num_local, J).
            g: Nodal values, shape (num_local, J).

        Returns:
            One array of shape (num_points,) per name, at the quadrature points.
        """
        points, found = self.points, []
        g_values = points.values(g)
        gradients = points.gradients(f) if self.terms != ("multiplication",) else []
        for term in self.terms:
            if term == "multiplication":
                found.append(_sum_of_products(points.values(f), g_values))
            elif term == "convection":
                found.extend(_sum_of_products(slope, g_values) for slope in gradients)
            else:
                pairs = zip(gradients, points.gradients(g), strict=True)
                found.append(-np.sum([_sum_of_products(a, b) for a, b in pairs], axis=0))
        return found


def _sum_of_products(a: Block, b: Block) -> Floats:
    """Σ_j a_qj b_qj."""
    return np.einsum("qj,qj->q", a, b)
