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
in g and, along K δg, in s.  The array code evaluates the σ that `dynamics.integrand` reads from F, so that the equation
is stated here alone: a class that states another F changes what runs.  Contract tests compare the array code of
`fem_selection.dynamics.superposition` with these forms, for every activation and mode, and that of
`fem_selection.dynamics.implicit` too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import ufl
from dolfinx import fem, la
from dolfinx.fem import petsc as fem_petsc
from ufl.algorithms import expand_derivatives

from fem_selection.compilation import compile_with
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.integrand import read_integrand, require_linear
from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import Activation
from fem_selection.typing import Floats, UflExpression

__all__ = ["SelectionEquation", "Statement"]


class SelectionEquation:
    """The forms F, F' and its adjoint, each compiled once, when it is first assembled.

    Args:
        space: The state space.
        activation: σ.

    Example:
        >>> import ufl
        >>> class Damped(fs.SelectionEquation):
        ...     def state(self, s, test):
        ...         return super().state(s, test) - 0.1 * ufl.inner(s, test) * self.space.dx
        >>> space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=2))
        >>> read = Damped(space, fs.find_activation("tanh")).activation  # tanh s − s/10
        >>> print(read.evaluate(0.5)[0].round(6), round(float(np.tanh(0.5)) - 0.05, 6))
        0.412117 0.412117
    """

    def __init__(self, space: StateSpace, activation: Activation) -> None:
        self.space, self.given = space, activation
        self._compiled: dict[str, fem.Form | None] = {}

    def state(self, s: UflExpression, test: UflExpression) -> UflExpression:
        """F(s; φ) = (σ(s), φ) in UFL, with the quadrature of the space; a derived class may state another one.

        Args:
            s: The function s.
            test: φ.
        """
        return ufl.inner(self.given(s), test) * self.space.dx

    @cached_property
    def activation(self) -> Activation:
        """σ, as it stands in F: the given one if F is that of this class.

        Raises:
            InvalidInput: if F is no form ∫ σ(s) φ dy (`dynamics.integrand`): it runs by assembly alone, if it is linear
                in φ.
        """
        if type(self).state is SelectionEquation.state:
            return self.given  # reading it takes longer than a small field's rate, and gives the same
        s = ufl.Coefficient(self.space.V)
        read, given = (
            read_integrand(form, s, self._test, measure=self.space.dx, symbols=self.given.symbols)
            for form in (self._state(s), SelectionEquation.state(self, s, self._test))
        )
        if read == given:
            return self.given
        name = f"{self.given.name} in {type(self).__name__}"
        return Activation(name=name, expression=lambda x: ufl.replace(read, {s: x}), symbols=self.given.symbols)

    @cached_property
    def is_pointwise(self) -> bool:
        """Whether F is a form ∫ σ(s) φ dy, so that `activation` can be read."""
        try:
            return bool(self.activation.name)
        except InvalidInput:
            return False

    @cached_property
    def form(self) -> UflExpression:
        """F(s; φ) in UFL.

        Raises:
            InvalidInput: if `state` returns no form, or one that is not linear in φ.
        """
        return self._state(self._s)

    @cached_property
    def tangent(self) -> UflExpression:
        """The bilinear form F'(s; δs, φ), written with `Activation.derivative` if F is pointwise.

        `ufl.derivative` writes tanh' in a form that overflows; `Activation.derivative` does not.
        """
        if not self.is_pointwise:
            return self.derived_tangent
        return ufl.inner(self.activation.derivative(self._s) * self._trial, self._test) * self.space.dx

    @cached_property
    def derived_tangent(self) -> UflExpression:
        """The same as `ufl.derivative` of F."""
        return ufl.derivative(self.form, self._s, self._trial)

    @cached_property
    def adjoint(self) -> UflExpression:
        """The adjoint of the tangent, with the arguments exchanged."""
        return ufl.adjoint(self.tangent)

    @cached_property
    def second(self) -> UflExpression:
        """F''(s; δs, φ, p), the derivative of the adjoint in s: (σ''(s) δs p, φ) if F is pointwise."""
        if not self.is_pointwise:
            return ufl.derivative(ufl.action(self.adjoint, self._p), self._s, self._ds)
        return ufl.inner(self.activation.derivative(self._s, 2) * self._ds * self._p, self._test) * self.space.dx

    @cached_property
    def stage(self) -> UflExpression:
        """The residual of an implicit stage."""
        return ufl.inner(self._g - self._h, self._test) * self.space.dx - self._a * self.form

    @cached_property
    def stage_in_g(self) -> UflExpression:
        """The derivative of the residual in g, a bilinear form."""
        return ufl.derivative(self.stage, self._g, self._trial)

    @cached_property
    def stage_in_s(self) -> UflExpression:
        """The derivative of the residual in s, a bilinear form."""
        return ufl.derivative(self.stage, self._s, self._trial)

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

    @cached_property
    def _test(self) -> UflExpression:
        return ufl.TestFunction(self.space.V)

    @cached_property
    def _trial(self) -> UflExpression:
        return ufl.TrialFunction(self.space.V)

    @cached_property
    def _s(self) -> fem.Function:
        return fem.Function(self.space.V, name="s")

    @cached_property
    def _ds(self) -> fem.Function:
        return fem.Function(self.space.V, name="ds")

    @cached_property
    def _p(self) -> fem.Function:
        return fem.Function(self.space.V, name="p")

    @cached_property
    def _g(self) -> fem.Function:
        return fem.Function(self.space.V, name="g")

    @cached_property
    def _h(self) -> fem.Function:
        return fem.Function(self.space.V, name="h")

    @cached_property
    def _a(self) -> fem.Constant:
        return fem.Constant(self.space.domain.mesh, 1.0)

    def _state(self, s: UflExpression) -> UflExpression:
        """F(s; φ), after a look at it."""
        form = self.state(s, self._test)
        require_linear(form, self._test)
        return form

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


Statement = Callable[[StateSpace, Activation], SelectionEquation]
"""States the equation for a space and σ: the class `SelectionEquation`, or one derived from it."""
