# SPDX-License-Identifier: MIT
"""The selection equation in weak form, its tangent and its adjoint, in UFL: the specification of all array code.

Find f(t) ∈ V_h with, for all φ ∈ V_h,

    (∂_t f, φ) = F(s; φ) := (σ(s), φ),                s = K f + b,
    (∂_t δf, φ) = F'(s; δs, φ) = (σ'(s) δs, φ),       δs = K δf + δK f + δb          tangent
    (−∂_t p, ψ) = F'(s; K ψ, p) = (σ'(s) p, K ψ)                                      adjoint

An implicit stage has a factor a = Δt a_ii and a known part h: find g ∈ V_h with, for all φ ∈ V_h,

    (g − h, φ) − a (σ(s), φ) = 0,                     s = K g + b,
    (δg, φ) − a (σ'(s) δs, φ),                        δs = K δg                       its Jacobian

UFL has no nested integrals, so K f enters as a function s, which the caller computes before each assembly.  The tangent
is the derivative of F, the adjoint is `ufl.adjoint` of the tangent; the Jacobian is the sum of the stage's derivatives
in g and, along K δg, in s.  Contract tests compare the array code of `fem_selection.dynamics.superposition` with these
forms, for every activation and mode, and that of `fem_selection.dynamics.implicit` too.
"""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem, la
from dolfinx.fem import petsc as fem_petsc
from ufl.algorithms import expand_derivatives

from fem_selection.compilation import compile_with
from fem_selection.discretization.spaces import StateSpace
from fem_selection.functions.activations import Activation
from fem_selection.typing import Floats

__all__ = ["SelectionEquation"]


class SelectionEquation:
    """The forms F, F' and its adjoint, compiled once.

    Args:
        space: The state space.
        activation: σ.

    Attributes:
        form: F(s; φ) in UFL.
        tangent: The bilinear form F'(s; δs, φ), written with `Activation.derivative`.
        derived_tangent: The same as `ufl.derivative` of F.
        adjoint: Its adjoint, with the arguments exchanged.
        second: F''(s; δs, φ, p) = (σ''(s) δs p, φ), the derivative of the adjoint in s.
        stage: The residual of an implicit stage.
        stage_in_g, stage_in_s: The derivatives of the residual in g and s, bilinear forms.
    """

    def __init__(self, space: StateSpace, activation: Activation) -> None:
        self.space = space
        self._s = fem.Function(space.V, name="s")
        test, trial = ufl.TestFunction(space.V), ufl.TrialFunction(space.V)
        self.form = ufl.inner(activation(self._s), test) * space.dx
        # ufl.derivative writes tanh' in a form that overflows; `Activation.derivative` does not
        self.tangent = ufl.inner(activation.derivative(self._s) * trial, test) * space.dx
        self.adjoint = ufl.adjoint(self.tangent)
        self.derived_tangent = ufl.derivative(self.form, self._s, trial)
        self._ds, self._p = fem.Function(space.V, name="ds"), fem.Function(space.V, name="p")
        self.second = ufl.inner(activation.derivative(self._s, 2) * self._ds * self._p, test) * space.dx
        self._g, self._h = fem.Function(space.V, name="g"), fem.Function(space.V, name="h")
        self._a = fem.Constant(space.domain.mesh, 1.0)
        self.stage = ufl.inner(self._g - self._h, test) * space.dx - self._a * self.form
        self.stage_in_g = ufl.derivative(self.stage, self._g, trial)
        self.stage_in_s = ufl.derivative(self.stage, self._s, trial)
        self._compiled: dict[str, fem.Form | None] = {}

    def assemble_rate(self, s: Floats) -> Floats:
        """Return the duals F(s; φ_i), shape (num_local,), for nodal values s (collective)."""
        self._set(self._s, s)
        return self._assemble("form")

    def assemble_tangent(self, s: Floats, ds: Floats, *, by_ufl: bool = True) -> Floats:
        """Return the duals F'(s; δs, φ_i), shape (num_local,) (collective).

        Args:
            s: Nodal values of s, shape (num_local,).
            ds: Nodal values of δs, shape (num_local,).
            by_ufl: Whether `ufl.derivative` differentiates F, which overflows for large s; else
                `Activation.derivative` does, which does not.
        """
        return self._apply("derived_tangent" if by_ufl else "tangent", s, ds)

    def assemble_adjoint(self, s: Floats, p: Floats) -> Floats:
        """Return the duals F'(s; φ_i, p), shape (num_local,) (collective).

        Args:
            s: Nodal values of s, shape (num_local,).
            p: Nodal values of a costate, shape (num_local,).
        """
        return self._apply("adjoint", s, p)

    def assemble_second(self, s: Floats, ds: Floats, p: Floats) -> Floats:
        """Return the duals F''(s; δs, φ_i, p), shape (num_local,) (collective).

        Args:
            s: Nodal values of s, shape (num_local,).
            ds: Nodal values of δs, shape (num_local,).
            p: Nodal values of a costate, shape (num_local,).
        """
        for function, values in ((self._s, s), (self._ds, ds), (self._p, p)):
            self._set(function, values)
        return self._assemble("second")

    def assemble_stage(self, g: Floats, h: Floats, a: float, *, s: Floats) -> Floats:
        """Return the duals of an implicit stage's residual, shape (num_local,) (collective).

        Args:
            g: Nodal values of the stage, shape (num_local,).
            h: Those of its known part, shape (num_local,).
            a: Δt a_ii.
            s: Nodal values of K g + b, shape (num_local,).
        """
        for function, values in ((self._g, g), (self._h, h), (self._s, s)):
            self._set(function, values)
        self._a.value = a
        return self._assemble("stage")

    def assemble_stage_tangent(self, a: float, s: Floats, dg: Floats, *, ds: Floats) -> Floats:
        """Return the duals of a stage's Jacobian applied to δg, shape (num_local,) (collective).

        Args:
            a: Δt a_ii.
            s: Nodal values of K g + b, shape (num_local,).
            dg: Nodal values of δg, shape (num_local,).
            ds: Nodal values of K δg, shape (num_local,).
        """
        self._a.value = a
        return self._apply("stage_in_g", s, dg) + self._apply("stage_in_s", s, ds)

    def _assemble(self, name: str) -> Floats:
        if (form := self._compile(name)) is None:
            return np.zeros(self.space.num_local)
        vector = fem.assemble_vector(form)
        vector.scatter_reverse(la.InsertMode.add)
        return vector.array[: self.space.num_local].copy()

    def _apply(self, name: str, s: Floats, values: Floats) -> Floats:
        if (form := self._compile(name)) is None:
            return np.zeros(self.space.num_local)
        self._set(self._s, s)
        matrix = fem_petsc.assemble_matrix(form)
        matrix.assemble()
        x, y = matrix.createVecRight(), matrix.createVecLeft()
        x.array[:] = values
        matrix.mult(x, y)
        result = y.array.copy()
        for thing in (matrix, x, y):
            thing.destroy()
        return result

    def _set(self, function: fem.Function, values: Floats) -> None:
        function.x.array[: self.space.num_local] = values
        function.x.scatter_forward()

    def _compile(self, name: str) -> fem.Form | None:
        """The compiled form; None if it has no integral, because σ or σ' vanishes: dolfinx takes no such form."""
        if name not in self._compiled:
            form = getattr(self, name)
            vanishes = expand_derivatives(form).empty()
            self._compiled[name] = None if vanishes else compile_with(self.space.comm, lambda: fem.form(form))
        return self._compiled[name]
