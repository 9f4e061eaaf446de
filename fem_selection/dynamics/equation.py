# SPDX-License-Identifier: MIT
"""The selection equation in weak form, its tangent and its adjoint, in UFL: the specification of everything else.

Find f(t) ∈ V_h with, for all φ ∈ V_h,

    (∂_t f, φ) = F(s; φ) := (σ(s), φ),                s = K f + b,
    (∂_t δf, φ) = F'(s; δs, φ) = (σ'(s) δs, φ),       δs = K δf + δK f + δb          tangent
    (−∂_t p, ψ) = F'(s; K ψ, p) = (σ'(s) p, K ψ)                                      adjoint

UFL has no nested integrals, so K f enters as a function s that whoever evaluates the form refreshes.  The tangent is
`ufl.derivative` of F, the adjoint `ufl.adjoint` of the tangent.  The array code of
`fem_selection.dynamics.superposition` is held to these forms by a contract test, for every activation and mode.
"""

from __future__ import annotations

import ufl
from dolfinx import fem, la
from dolfinx.fem import petsc as fem_petsc

from fem_selection.activations import Activation
from fem_selection.spaces import StateSpace
from fem_selection.typing import Floats

__all__ = ["SelectionEquation"]


class SelectionEquation:
    """The forms F, F' and its adjoint, compiled once.

    Args:
        space: The state space.
        activation: σ.

    Attributes:
        form: F(s; φ) in UFL.
        tangent: The bilinear form F'(s; δs, φ).
        adjoint: Its adjoint, arguments exchanged.
    """

    def __init__(self, space: StateSpace, activation: Activation) -> None:
        self.space = space
        self._s = fem.Function(space.V, name="s")
        test, trial = ufl.TestFunction(space.V), ufl.TrialFunction(space.V)
        self.form = ufl.inner(activation(self._s), test) * space.dx
        # ufl.derivative would use tanh' in a form that overflows; σ' comes from the activation, see there
        self.tangent = ufl.inner(activation.derivative(self._s) * trial, test) * space.dx
        self.adjoint = ufl.adjoint(self.tangent)
        self.derived_tangent = ufl.derivative(self.form, self._s, trial)
        self._compiled: dict[str, fem.Form] = {}

    def assemble_rate(self, s: Floats) -> Floats:
        """The duals F(s; φ_i), shape (num_local,), for nodal values s (collective)."""
        self._set(s)
        vector = fem.assemble_vector(self._compile("form"))
        vector.scatter_reverse(la.InsertMode.add)
        return vector.array[: self.space.num_local].copy()

    def assemble_tangent(self, s: Floats, ds: Floats) -> Floats:
        """The duals F'(s; δs, φ_i), shape (num_local,) (collective)."""
        return self._apply("derived_tangent", s, ds)

    def assemble_adjoint(self, s: Floats, p: Floats) -> Floats:
        """The duals F'(s; φ_i, p), shape (num_local,), for a costate's nodal values p (collective)."""
        return self._apply("adjoint", s, p)

    def _apply(self, name: str, s: Floats, values: Floats) -> Floats:
        self._set(s)
        matrix = fem_petsc.assemble_matrix(self._compile(name))
        matrix.assemble()
        x, y = matrix.createVecRight(), matrix.createVecLeft()
        x.array[:] = values
        matrix.mult(x, y)
        result = y.array.copy()
        for thing in (matrix, x, y):
            thing.destroy()
        return result

    def _set(self, s: Floats) -> None:
        self._s.x.array[: self.space.num_local] = s
        self._s.x.scatter_forward()

    def _compile(self, name: str) -> fem.Form:
        if name not in self._compiled:
            self._compiled[name] = fem.form(getattr(self, name))
        return self._compiled[name]
