# SPDX-License-Identifier: MIT
"""The kernel of a case: its representation, and its starting values, by formulas or at random."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from mpi4py import MPI

from fem_selection import config
from fem_selection.discretization.coefficients import Source, function_values
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.functions.breaks import break_functions
from fem_selection.functions.formulas import Formula, coordinate_names, parse_formula
from fem_selection.kernels import (
    ConvolutionKernel,
    DenseKernel,
    Kernel,
    LocalKernel,
    RepresenterKernel,
    SeparableKernel,
    SumKernel,
)
from fem_selection.typing import Block, Floats

__all__ = [
    "at_key",
    "build_kernel",
    "case_formula",
    "describe_quadrature",
    "is_random",
    "kernel_depends_on",
    "kernel_depends_on_time",
    "kernel_formulas",
    "kernel_parameters",
    "require_finite",
    "separable_rank",
]

_RANK = 8  # of a separable kernel without rank and factors


def case_formula(case: config.Case, text: str, *letters: str) -> Formula:
    """A formula of a case, in the case's parameters and some of the variables t, x, y, z and s.

    Args:
        case: The case, which gives the parameters and the number of coordinates.
        text: The formula.
        *letters: The variables that the formula may contain, of "t", "x", "y", "z" and "s".

    Raises:
        InvalidInput: if the text is not a formula in these variables.
    """
    names: list[str] = []
    for letter in letters:
        names += coordinate_names(letter, case.domain.dimension) if letter in "xyz" else [letter]
    return parse_formula(text, names, case.parameters)


@contextmanager
def at_key(key: str) -> Iterator[None]:
    """Within the block, put the key in front of the message of an `InvalidInput` that names none.

    Args:
        key: Dotted path of the key, or several, with commas between.

    Raises:
        InvalidInput: the error of the block, with the key in its message.
    """
    try:
        yield
    except InvalidInput as error:
        named = key in str(error) or str(error).startswith("space.")
        raise InvalidInput(str(error) if named else f"{key}: {error}") from error


def require_finite(space: StateSpace, values: Floats, key: str, *texts: str) -> None:
    """Raise if a nodal value on any rank is not a finite number (collective).

    Args:
        space: The state space.
        values: Nodal values on this rank, any shape.
        key: Dotted path of the key that holds the formulas, for the message.
        *texts: The formulas that gave the values.

    Raises:
        InvalidInput: on all ranks, naming the key and the formulas that gave the values.
    """
    if not space.comm.allreduce(bool(np.all(np.isfinite(values))), op=MPI.LAND):
        given = f"the formula{'s' * (len(texts) > 1)} {', '.join(map(repr, texts))}" if texts else "the value"
        raise InvalidInput(f"{key}: {given} is not finite at some node")


def build_kernel(
    case: config.Case, space: StateSpace, grid: DepthGrid, *, anchors: Callable[[], Block] | None = None
) -> Kernel:
    """The kernel K of a case (collective).

    Dense and separable parts without formulas start small and random, local parts without formulas start at zero.

    Args:
        case: The case.
        space: The state space.
        grid: The depth grid, whose intervals carry the kernel.
        anchors: Makes the anchors of a representer kernel at t = 0; None where there is nothing to learn.

    Raises:
        InvalidInput: if a formula is faulty or not finite at some node, or a representer kernel has no anchors; the
            message names the key.
    """
    if "representer" in case.dynamics.representation:
        if anchors is None:
            raise InvalidInput(
                "dynamics.representation: a representer kernel follows the samples of a training through its layers; "
                "this command knows no training: take another representation"
            )
        scale = case.dynamics.start_scale
        return RepresenterKernel.random(space, grid.intervals, anchors(), scale=scale, seed=case.seed)
    parts = [_BUILDERS[name](case, space, grid) for name in case.dynamics.representation]
    return parts[0] if len(parts) == 1 else SumKernel(parts)


def kernel_parameters(case: config.Case, space: StateSpace, grid: DepthGrid, *, kernel: Kernel) -> Floats:
    """The parameters that the case's kernel has on another grid (collective); a local part compiles nothing again.

    Args:
        case: The case.
        space: The state space.
        grid: The depth grid, with as many intervals as the kernel.
        kernel: What `build_kernel` made.

    Raises:
        InvalidInput: as for `build_kernel`.
    """
    parts = kernel.parts if isinstance(kernel, SumKernel) else (kernel,)
    return np.concatenate(
        [
            part.interpolated(_coefficients(case, space, grid), grid)
            if isinstance(part, LocalKernel)
            else _BUILDERS[name](case, space, grid).parameters()
            for name, part in zip(case.dynamics.representation, parts, strict=True)
        ]
    )


def describe_quadrature(case: config.Case) -> str | None:
    """What the quadrature knows of the kinks, jumps and singularities of a case's dense kernel, in a sentence.

    None if the formula shows none.
    """
    d, dimension = case.dynamics, case.domain.dimension
    if d.kernel is None or "dense" not in d.representation:
        return None
    found = break_functions(case_formula(case, d.kernel, "t", "y", "z"), "yz" if dimension == 1 else "z")
    zeros = " or ".join(f"{g.text} = 0" for g in found)
    if not case.domain.is_solid:
        return zeros and (
            f"kernel: on a curve or surface the quadrature does not know the kinks or jumps where {zeros}; its errors "
            "fall with order 2 at kinks and 1 at jumps, whatever the degree"
        )
    limit = ""
    if any(not _is_straight(g) for g in found) and dimension > 1:
        if dimension == 3:
            limit = "; curved sets are cut straight in parts of 1/2 of a cell, with errors of order 2"
        elif d.singularity is not None or len(found) > 1:
            limit = "; curved sets are cut straight in parts of 1/32 of a cell where a smooth cut does not do"
    if d.singularity is not None:
        grows = f"grows like |y - z|^-{d.singularity:g}" if d.singularity else "grows like log|y - z|"
        if d.singularity < 0:
            grows = f"has differences like |y - z|^{-d.singularity:g}"
        divided = f", divided where {zeros}{limit}" if zeros and dimension > 1 else ""
        return f"kernel: product integration on all cells, with points that crowd where it {grows}{divided}"
    if not zeros:
        return None
    if dimension == 1:
        return f"kernel: product integration on the cells that {zeros} divides"
    return f"kernel: product integration on the cells that {zeros} divides or touches{limit}"


def _is_straight(g: Formula) -> bool:
    """Whether a function is linear in z, by its values at some points."""
    rng = np.random.default_rng(1)
    ends = [{name: rng.standard_normal(20) for name in sorted(g.variables)} for _ in range(2)]
    first = ends[0]
    second = first | {name: ends[1][name] for name in g.variables if name.startswith("z")}
    middle = {name: (first[name] + second[name]) / 2 for name in first}
    with np.errstate(all="ignore"):
        values = [g.evaluate(**{name: at[name] for name in g.names}) for at in (first, second, middle)]
    return bool(np.allclose(values[2], (values[0] + values[1]) / 2, rtol=1e-9, atol=1e-9))


def kernel_depends_on_time(case: config.Case) -> bool:
    """Whether a formula of the kernel contains t."""
    return any("t" in formula.names for formula in kernel_formulas(case))


def kernel_depends_on(case: config.Case, parameters: Iterable[str]) -> bool:
    """Whether a formula of the kernel contains one of some parameters.

    Args:
        case: The case.
        parameters: Names of parameters.
    """
    names = {name for formula in kernel_formulas(case) for name in re.findall(r"[A-Za-z_]\w*", formula.text)}
    return not names.isdisjoint(parameters)


def separable_rank(case: config.Case) -> int:
    """The number of pairs of factors of a case's separable kernel."""
    d = case.dynamics
    return (d.rank or _RANK) if d.factors is None else len(d.factors)


def is_random(case: config.Case) -> bool:
    """Whether a part of the kernel starts from random numbers rather than from formulas."""
    d = case.dynamics
    missing = {
        "dense": d.kernel is None,
        "separable": d.factors is None,
        "convolution": d.profile is None,
        "representer": True,
    }
    return any(missing.get(name, False) for name in d.representation)


def kernel_formulas(case: config.Case) -> Iterator[Formula]:
    """All formulas of a case's kernel."""
    d = case.dynamics
    texts = [d.kernel, d.multiplication, d.diffusion, *(d.convection or ())]
    texts += [text for pair in d.factors or () for text in pair]
    for text in texts:
        if text is not None:
            yield case_formula(case, text, "t", "y", "z")
    if d.profile is not None:
        yield case_formula(case, d.profile, "t", "x")


def _build_dense(case: config.Case, space: StateSpace, grid: DepthGrid) -> Kernel:
    d = case.dynamics
    if d.kernel is None:
        return DenseKernel.random(space, grid.intervals, d.start_scale, seed=case.seed)
    with at_key("dynamics.kernel"):
        formula = case_formula(case, d.kernel, "t", "y", "z")
        kernel = DenseKernel.interpolate(space, formula, grid, singularity=d.singularity)
    require_finite(space, kernel.parameters(), "dynamics.kernel", d.kernel)
    return kernel


def _build_separable(case: config.Case, space: StateSpace, grid: DepthGrid) -> Kernel:
    d = case.dynamics
    if d.factors is None:
        rank = separable_rank(case)
        return SeparableKernel.random(space, grid.intervals, rank, scale=d.start_scale, seed=case.seed + 1)
    factors = [(case_formula(case, u, "t", "y"), case_formula(case, v, "t", "z")) for u, v in d.factors]
    kernel = SeparableKernel.interpolate(space, factors, grid)
    require_finite(space, kernel.parameters(), "dynamics.factors", *(text for pair in d.factors for text in pair))
    return kernel


def _build_convolution(case: config.Case, space: StateSpace, grid: DepthGrid) -> Kernel:
    d = case.dynamics
    with at_key("dynamics.representation"):
        if d.profile is None:
            return ConvolutionKernel.random(space, grid.intervals, scale=d.start_scale, seed=case.seed + 2)
    with at_key("dynamics.profile"):
        return ConvolutionKernel.interpolate(space, case_formula(case, d.profile, "t", "x"), grid)


def _build_local(case: config.Case, space: StateSpace, grid: DepthGrid) -> Kernel:
    size = float(np.max(np.subtract(*space.domain.bounds[::-1])))
    length = case.dynamics.local_length or 0.1 * size
    return LocalKernel.interpolate(space, _coefficients(case, space, grid), grid, length=length)


def _coefficients(case: config.Case, space: StateSpace, grid: DepthGrid) -> Mapping[str, Source | Sequence[Source]]:
    """The formulas of a local kernel by its terms, all finite at the nodes at the sample times."""
    d = case.dynamics
    coefficients: dict[str, Source | list[Source]] = {}
    for term in d.terms:
        given = getattr(d, term)
        texts = ("0",) if given is None else (given,) if isinstance(given, str) else given
        for text in texts:
            for time in grid.sample_times:
                values = function_values(space, case_formula(case, text, "t", "y"), float(time))
                require_finite(space, values, f"dynamics.{term}", text)
        sources: list[Source] = [case_formula(case, text, "t", "y") for text in texts]
        coefficients[term] = sources if len(sources) > 1 else sources[0]
    return coefficients


_BUILDERS: dict[str, Callable[[config.Case, StateSpace, DepthGrid], Kernel]] = {
    "dense": _build_dense,
    "separable": _build_separable,
    "local": _build_local,
    "convolution": _build_convolution,
}
