# SPDX-License-Identifier: MIT
"""Functions that users write: those that UFL cannot follow are refused in words, once, and none runs without end."""

from __future__ import annotations

import math
import subprocess
import sys

import basix.ufl
import numpy as np
import pytest
import scipy.special
import ufl

import fem_selection as fs
from fem_selection.errors import InvalidInput

MESH = ufl.Mesh(basix.ufl.element("Lagrange", "interval", 1, shape=(1,)))

NO_ACTIVATIONS = {
    "math": (lambda s: math.tanh(s), "write ufl.tanh instead of tanh"),
    "math of a sum": (lambda s: math.exp(2 * s - 1), "write ufl.exp instead of exp"),
    "numpy": (lambda s: np.tanh(s), "write ufl.tanh instead of tanh"),
    "scipy": (lambda s: scipy.special.erf(s), "write ufl.erf instead of erf"),
    "max": (lambda s: max(s, 0), "write ufl.max_value instead of max"),
    "maximum": (lambda s: np.maximum(s, 0), "write ufl.max_value instead of maximum"),
    "if": (lambda s: s if s > 0 else 0 * s, "ufl.conditional"),
    "chain": (lambda s: s if 0 < s < 1 else 0 * s, "ufl.conditional"),
    "==": (lambda s: 1.0 if s == 0 else ufl.sin(s) / s, r"at s = 0 the function returns 1, its UFL expression"),
    "and": (lambda s: s and ufl.tanh(s) + 1, r"at s = 0 the function returns 0, its UFL expression has the value 1"),
    "or": (lambda s: s or 1.0, "at s = 0 the function returns 1"),
    "round": (lambda s: round(s), "the UFL symbol s has no value"),
    "text": ("tanh", "expected a function of UFL symbols such as ufl.tanh, got 'tanh'"),
    "number": (1.0, "expected a function of UFL symbols such as ufl.tanh, got 1.0"),
    "None": (lambda s: None, "returns None"),
    "tuple": (lambda s: (s, s), "returns an object of type tuple"),
    "array": (lambda s: np.array([s, s]), "returns an object of type ndarray"),
    "string": (lambda s: "s", "returns an object of type str"),
    "vector": (lambda s: ufl.as_vector([s, s]), r"a UFL object of shape \(2,\); expected a scalar"),
    "condition": (lambda s: ufl.gt(s, 0), r"write ufl.conditional\(condition, 1.0, 0.0\)"),
    "complex": (lambda s: 1j * s, "complex"),
    "NaN": (lambda s: float("nan") * s, "NaN"),
    "arguments": (lambda s, t: s, "called once, with the UFL symbol s"),
    "error": (lambda s: 1 / 0, "ZeroDivisionError"),
    "coordinate": (lambda s: s * ufl.SpatialCoordinate(MESH)[0], "depends on x, a SpatialCoordinate"),
}


@pytest.mark.parametrize("name", NO_ACTIVATIONS)
def test_functions_that_are_no_activation(name):
    """Fails if one is accepted, hangs, ends in an error of UFL or NumPy, or without what to write instead."""
    expression, words = NO_ACTIVATIONS[name]
    with pytest.raises(InvalidInput, match=f"^activation 'mine': .*{words}"):
        fs.Activation(name="mine", expression=expression)


def test_a_function_of_math_ends():
    """Fails if `math.tanh` of a symbol recurses in UFL, which takes the age of the universe."""
    code = """
import math, fem_selection as fs
try:
    fs.Activation(name="a", expression=lambda s: math.tanh(3 * s * s - s))
except fs.InvalidInput:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["refused"]


def test_families_are_probed_too():
    """Fails if the activations of a family are not: they share programs, which a probe of one would not reach."""
    with pytest.raises(InvalidInput, match=r"activation of s and mu.*ufl.tanh instead of tanh"):
        fs.ActivationFamily(lambda s, mu: math.tanh(mu * s), ("mu",))
    with pytest.raises(InvalidInput, match="at s = 0"):
        fs.ActivationFamily(lambda s, mu: mu * s or 1.0, ("mu",))


@pytest.mark.parametrize(
    "expression",
    [
        *(lambda s: abs(s), lambda s: s / abs(s), lambda s: 1.0, lambda s: ufl.ln(s), lambda s: s**0.5),
        *(lambda s: np.abs(s), lambda s: np.float64(2.0) * s, lambda s: ufl.conditional(ufl.eq(s, 0.0), 1.0, 1 / s)),
    ],
)
def test_functions_that_are_activations(expression):
    """Fails if the probe refuses a function that has no value at some number, or is constant."""
    value = np.empty(1)
    fs.Activation(name="mine", expression=expression).value(np.ones(1), value)
    assert value[0] == pytest.approx(float(ufl.as_ufl(expression(1.0))))


NO_KERNELS = {
    "math": (fs.UflKernel(expression=lambda t, y, z: math.exp(y[0] - z[0])), "kernel in UFL: .*ufl.exp instead of exp"),
    "==": (fs.UflKernel(expression=lambda t, y, z: 0.0 if y[0] == z[0] else 1.0), r"at y\[0\] = 0.5.*returns 0"),
    "vector": (fs.UflKernel(expression=lambda t, y, z: y - z), r"of shape \(1,\); expected a scalar"),
    "two": (fs.UflKernel(expression=lambda y, z: y[0]), "with t, the UFL vector y and the UFL vector z"),
    "math on arrays": (lambda t, y, z: math.exp(y[0] - z[0]), r"called as g\(t, y, z\) with arrays .*NumPy"),
    "if on arrays": (lambda t, y, z: 1.0 if y[0] > z[0] else 0.0, "np.where instead of `if`"),
    "UFL on arrays": (lambda t, y, z: ufl.exp(y[0] - z[0]), "fs.UflKernel for an expression of UFL"),
    "None": (lambda t, y, z: None, "expected an array of real numbers, got None"),
    "complex": (lambda t, y, z: np.exp(1j * (y[0] - z[0])), "got an array of type complex128"),
    "text": ("y*z", "expected an array of real numbers, got an object of type str"),
    "masked": (np.ma.masked_array([[1.0]], [[True]]), "got an array with masked entries"),
}


@pytest.mark.parametrize("name", NO_KERNELS)
def test_functions_that_are_no_kernel(spaces, name):
    """Fails if one is accepted, None as NaN and a complex number as its real part, or ends in another error."""
    source, words = NO_KERNELS[name]
    with pytest.raises(InvalidInput, match=words):
        fs.DenseKernel.interpolate(spaces("interval", 4, 1), source, fs.DepthGrid(layers=1))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (lambda t, y: math.sin(y[0]), r"called as g\(t, y\) with arrays of points"),
        (lambda t, y: None, "got None"),
        ("y", "got an object of type str"),
        (ufl.as_vector([1.0, 2.0]), "no scalar function on the mesh"),
        ([[1.0], [1.0, 2.0]], "got an object of type list that NumPy cannot read"),
    ],
)
def test_functions_that_are_no_bias(spaces, source, words):
    """Fails if one is accepted or ends in another error."""
    with pytest.raises(InvalidInput, match=words):
        fs.function_values(spaces("interval", 4, 1), source)
    factors = [(1.0, source)]
    with pytest.raises(InvalidInput, match=words):
        fs.SeparableKernel.interpolate(spaces("interval", 4, 1), factors, fs.DepthGrid(layers=1))
