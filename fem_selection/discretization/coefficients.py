# SPDX-License-Identifier: MIT
"""Kernels, biases and initial states given by a number, an array, a callable, a UFL expression or a formula.

| source | of a function on Y | of a kernel on Y × Y |
|---|---|---|
| number | constant | constant |
| callable | `g(t, y)`, y of shape (d, n) | `w(t, y, z)`, y of shape (d, n, 1) and z of shape (d, 1, N) |
| UFL | an expression on the mesh | `UflKernel((t, y, z) -> expression)` of the vectors y and z |
| `Formula` | in t and y (or y0, y1, …) | in t, y and z (or y0, …, z0, …) |

Callables must be vectorised.  UFL expressions of a kernel are evaluated by the same translation to array instructions
as activations are, for all pairs of nodes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ufl
from dolfinx import fem

from fem_selection.compilation import compile_with
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import CompilationFailed, InvalidInput, SelectionError
from fem_selection.functions.callables import Symbol, call_with_symbols, check_at_numbers
from fem_selection.functions.formulas import Formula
from fem_selection.functions.programs import BlockProgram
from fem_selection.typing import Floats, UflExpression, real_array, real_numbers

__all__ = ["KernelSource", "Source", "UflKernel", "evaluate_kernel", "function_values", "kernel_values"]


@dataclass(frozen=True)
class UflKernel:
    """A kernel given in UFL.

    Args:
        expression: Function of the number t and the vectors y, z to a UFL scalar, w(t, y, z).
    """

    expression: Callable[[float, UflExpression, UflExpression], UflExpression]


Source = float | Floats | Callable[..., Any] | Formula | Any
KernelSource = float | Callable[..., Any] | Formula | UflKernel


def function_values(space: StateSpace, source: Source, time: float = 0.0) -> Floats:
    """Return the nodal values of a function on Y at one time, shape (num_local,).

    Args:
        space: The state space; the values are those at its owned nodes.
        source: The function (see the table of this module).  A formula may call the point z instead of y, as the second
            factors of separable kernels do.
        time: t.

    Raises:
        InvalidInput: if the values do not fill the shape, or the formula uses a variable that is not given.
    """
    y = space.coordinates.T
    if isinstance(source, Formula):
        names: dict[str, Any] = {"t": time, **_components("y", y), **_components("z", y)}
        return _full(source.evaluate(**{k: v for k, v in names.items() if k in source.names}), space.num_local)
    if isinstance(source, fem.Function) and source.function_space == space.V:
        return source.x.array[: space.num_local].copy()
    if isinstance(source, ufl.classes.ScalarValue | ufl.classes.Zero) and not source.ufl_shape:
        source = float(source)
    if isinstance(source, ufl.core.expr.Expr):
        f = fem.Function(space.V)
        try:
            points = space.V.element.interpolation_points
            f.interpolate(compile_with(space.comm, lambda: fem.Expression(source, points)))
        except CompilationFailed:
            raise
        except Exception as error:  # of UFL, FFCx and DOLFINx, which have no common class
            raise InvalidInput(f"the expression {source} is no scalar function on the mesh: {error}") from error
        return f.x.array[: space.num_local].copy()
    return _full(_call(source, time, y) if callable(source) else source, space.num_local)


def kernel_values(space: StateSpace, source: KernelSource, time: float = 0.0) -> Floats:
    """Return w(t, y_i, z_k) at the owned nodes y_i and all nodes z_k, shape (num_local, N) (collective).

    Args:
        space: The state space.
        source: The kernel w (see the table of this module).
        time: t.

    Raises:
        InvalidInput: if the values do not fill the shape, or the formula uses a variable that is not given.
    """
    z_all = np.concatenate(space.comm.allgather(space.coordinates)).T
    return evaluate_kernel(space, source, time, y=space.coordinates.T[:, :, None], z=z_all[:, None, :])


def evaluate_kernel(space: StateSpace, source: KernelSource, time: float, *, y: Floats, z: Floats) -> Floats:
    """Return w(t, y, z) at any points, in the common shape of the points.

    Args:
        space: The state space.
        source: The kernel w (see the table of this module).
        time: t.
        y: Points, shape (d, …).
        z: Points, shape (d, …), which broadcast with those of y.

    Raises:
        InvalidInput: if the values do not fill the shape, or the formula uses a variable that is not given.
    """
    d, shape = space.domain.dimension, np.broadcast_shapes(y.shape[1:], z.shape[1:])
    if isinstance(source, Formula):
        names: dict[str, Any] = {"t": time, **_components("y", y), **_components("z", z)}
        return _full(source.evaluate(**{k: v for k, v in names.items() if k in source.names}), shape)
    if not isinstance(source, UflKernel):
        return _full(_call(source, time, y, z) if callable(source) else source, shape)
    points = Symbol("y", d), Symbol("z", d)
    expression = call_with_symbols(source.expression, time, *points, what="kernel in UFL")
    program = BlockProgram((expression,), *[p[k] for p in points for k in range(d)])
    _check_branches(source, time, program, dimension=d)
    result = np.empty(shape)
    program(*y, *z, result)
    return result


def _call(source: Callable[..., Any], time: float, *points: Floats) -> Any:
    """The values of a user's function at points, or an error that says how it is called."""
    try:
        return source(time, *points)
    except SelectionError:
        raise
    except Exception as error:
        names, shapes = ("y", "z")[: len(points)], ", ".join(str(p.shape) for p in points)
        reason = (str(error).splitlines() or [""])[0]
        other = " and fs.UflKernel for an expression of UFL" if len(points) == 2 else ""
        raise InvalidInput(
            f"the function of a coefficient failed with {type(error).__name__} ({reason}); it is called as "
            f"g(t, {', '.join(names)}) with arrays of points, here of shape {shapes}: use functions of NumPy that take "
            f"whole arrays, np.where instead of `if`{other}"
        ) from error


def _check_branches(source: UflKernel, time: float, program: BlockProgram, *, dimension: int) -> None:
    """Raise an error if w(t, y, z) decides by `==`, `and` or `or`, which UFL does not follow."""

    def called(*numbers: float) -> Any:
        return source.expression(time, ufl.as_vector(numbers[:dimension]), ufl.as_vector(numbers[dimension:]))

    def known(*numbers: float) -> float:
        result = np.empty(())
        with np.errstate(all="ignore"):
            program(*map(np.array, numbers), result)
        return float(result)

    names = [f"{letter}[{k}]" for letter in "yz" for k in range(dimension)]
    y, other = ([first + 0.25 * k for k in range(dimension)] for first in (0.5, 0.125))
    check_at_numbers(called, known, [dict(zip(names, (*y, *z), strict=True)) for z in (y, other)], what="kernel in UFL")


def _components(letter: str, points: Floats) -> dict[str, Floats]:
    """{"y": y} in one dimension, and {"y0": …, "y1": …} in all."""
    names = {f"{letter}{k}": x for k, x in enumerate(points)}
    if len(points) == 1:
        names[letter] = points[0]
    return names


def _full(values: Any, shape: int | tuple[int, ...]) -> Floats:
    """The values as a writable float array of a shape that they broadcast to."""
    what = "the values of a coefficient"
    array = real_numbers(values, what) if isinstance(values, bool | np.bool_) else real_array(values, what)
    try:
        return np.broadcast_to(array, shape).copy()
    except ValueError:
        raise InvalidInput(f"a coefficient has values of shape {array.shape}, which do not fill {shape}") from None
