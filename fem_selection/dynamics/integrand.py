# SPDX-License-Identifier: MIT
"""The function σ that a weak form states: it is read from the form's integrand.

    F(s; φ) = ∫_Y σ(s) φ dy    ⟹    σ

The array code and the compiled loops evaluate σ at nodes or quadrature points, so that they can run a form of this kind
alone: one function of s times the test function, on all cells, with the quadrature of the space.  It may be stated as
the derivative of an energy, for UFL differentiates before the integrand is read.  Any other form, such as one with ∇s,
a coefficient that depends on y, or an integral over facets, runs by assembly.
"""

from __future__ import annotations

from collections.abc import Collection

import ufl
from ufl.algorithms import expand_derivatives, strip_variables
from ufl.algorithms.analysis import extract_coefficients, extract_constants
from ufl.algorithms.check_arities import ArityMismatch, check_integrand_arity
from ufl.algorithms.remove_complex_nodes import remove_complex_nodes
from ufl.classes import CellAvg, Derivative, FacetAvg, Form, GeometricQuantity, Measure, Restricted
from ufl.corealg.traversal import unique_pre_traversal

from fem_selection.errors import InvalidInput
from fem_selection.typing import UflExpression

__all__ = ["read_integrand", "require_linear"]


def require_linear(form: object, test: UflExpression) -> None:
    """Raise an error unless an object is a form in UFL that is linear in the test function.

    Args:
        form: What was stated.
        test: φ.

    Raises:
        InvalidInput: if it is something else.
    """
    if not isinstance(form, Form):
        raise InvalidInput(f"the equation is stated by an object of type {type(form).__name__}: return a form in UFL")
    try:
        for integral in expand_derivatives(form).integrals():
            check_integrand_arity(remove_complex_nodes(integral.integrand()), (test,), False)
    except ArityMismatch as error:
        raise InvalidInput("the form of the equation is not linear in the test function, or has another one") from error


def read_integrand(
    form: UflExpression,
    s: UflExpression,
    test: UflExpression,
    *,
    measure: Measure,
    symbols: Collection[UflExpression] = (),
) -> UflExpression:
    """Return σ(s), the factor of the test function in a form's integrand.

    Args:
        form: F(s; φ) in UFL, linear in φ.
        s: The coefficient s.
        test: φ.
        measure: The measure of the space, with the quadrature at whose points the array code evaluates σ.
        symbols: Constants that σ may contain.

    Raises:
        InvalidInput: if the form is not ∫ σ(s) φ dy over all cells by this quadrature, with the reason.
    """
    total: UflExpression = ufl.as_ufl(0.0)
    for integral in expand_derivatives(form).integrals():
        given = (integral.integral_type(), integral.subdomain_id(), dict(integral.metadata()))
        expected = (measure.integral_type(), measure.subdomain_id(), dict(measure.metadata()))
        if given != expected:
            raise InvalidInput(_refusal(f"has an integral of {_words(*given)}; expected one of {_words(*expected)}"))
        total += integral.integrand()
    total = strip_variables(remove_complex_nodes(total))
    _check(total, (s, *symbols))
    return ufl.replace(total, {test: ufl.as_ufl(1.0)})


def _check(integrand: UflExpression, known: Collection[UflExpression]) -> None:
    """Raise an error unless the integrand depends, at one point, on φ and the known coefficients and constants."""
    for e in unique_pre_traversal(integrand):
        if isinstance(e, Derivative | Restricted | CellAvg | FacetAvg):
            raise InvalidInput(_refusal(f"contains {e}, which is no value at a point"))
        if isinstance(e, GeometricQuantity):
            raise InvalidInput(_refusal(f"depends on the place by {e}; a term that does belongs to the bias or kernel"))
    others = [c for c in extract_coefficients(integrand) + extract_constants(integrand) if c not in known]
    if others:
        raise InvalidInput(_refusal(f"contains {', '.join(map(str, others))}, which is neither s nor a number"))


def _words(kind: str, part: object, metadata: dict[str, object]) -> str:
    where = "" if part in ("everywhere", ("everywhere",)) else f" on part {part}"
    how = ", ".join(f"{key} = {value}" for key, value in sorted(metadata.items(), key=str))
    return f"type {kind!r}{where}" + (f" with {how}" if how else "")


def _refusal(why: str) -> str:
    return f"the form {why}; array code runs ∫ σ(s) φ dy alone: use dynamics.evaluation = 'assembled'"
