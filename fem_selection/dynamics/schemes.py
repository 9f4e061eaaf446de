# SPDX-License-Identifier: MIT
"""Runge–Kutta schemes as data: Butcher tableaux, explicit or diagonally implicit, with a declared order.

    G_i = F_n + Δt Σ_{j≤i} a_ij R_j,   R_i = σ(K G_i + b),   F_{n+1} = F_n + Δt Σ_i b_i R_i

A stage with a_ii ≠ 0 is implicit: an equation for G_i.  Forward Euler is the residual network itself: one stage, one
layer.  The θ-schemes are F_{n+1} = F_n + Δt ((1 − θ) σ(S_n) + θ σ(S_{n+1})).  θ = 1 is implicit Euler, which damps
stiff components at once; θ = ½ is Crank–Nicolson, of second order, which hardly damps the stiffest ones.  A test
measures the order of every scheme.

References:
    Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, doi:10.1007/978-3-540-78862-1, II.1.
    Hairer, Wanner, Solving Ordinary Differential Equations II, doi:10.1007/978-3-642-05221-7, IV.6.
    Shu, Osher, J. Comput. Phys. 77 (1988) 439, doi:10.1016/0021-9991(88)90177-5 (SSPRK3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.synonyms import suggest
from fem_selection.typing import Floats

__all__ = ["SCHEMES", "Scheme", "combine", "find_scheme", "take_step"]


@dataclass(frozen=True)
class Scheme:
    """An explicit or diagonally implicit Runge–Kutta scheme.

    Attributes:
        name: Its name in case files.
        order: Its order of convergence in Δt.
        a: Lower triangular coefficients: row i of length i, or of length i + 1 with a_ii > 0 if stage i is implicit.
        b: Weights of the stages.

    Raises:
        InvalidInput: if the rows of a or the length of b do not fit, or a diagonal entry of a is not positive.
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.a) != len(self.b) or any(len(row) not in (i, i + 1) for i, row in enumerate(self.a)):
            raise InvalidInput(
                f"scheme {self.name!r}: row i of a must have i entries, or i + 1 if the stage is implicit, "
                "and b one per row"
            )
        if any(len(row) == i + 1 and not row[i] > 0 for i, row in enumerate(self.a)):
            raise InvalidInput(f"scheme {self.name!r}: the diagonal entry of an implicit stage must be positive")

    @property
    def num_stages(self) -> int:
        """Number of stages per layer."""
        return len(self.b)

    @property
    def nodes(self) -> tuple[float, ...]:
        """The nodes c_i = Σ_j a_ij."""
        return tuple(sum(row) for row in self.a)

    @cached_property
    def lower(self) -> tuple[tuple[float, ...], ...]:
        """The strictly lower triangular coefficients, row i of length i."""
        return tuple(row[:i] for i, row in enumerate(self.a))

    @cached_property
    def diagonal(self) -> tuple[float, ...]:
        """The coefficients a_ii, zero for explicit stages."""
        return tuple(row[i] if len(row) > i else 0.0 for i, row in enumerate(self.a))

    @property
    def is_implicit(self) -> bool:
        """Whether at least one stage is implicit."""
        return any(self.diagonal)

    @property
    def starts_at_state(self) -> bool:
        """Whether G_0 is F_n."""
        return not self.a[0]

    @cached_property
    def ends_at_state(self) -> bool:
        """Whether the last stage is F_{n+1}: the scheme is stiffly accurate."""
        return self.a[-1] == self.b

    @property
    def num_inner_stages(self) -> int:
        """Number of stages that are not a state at a layer boundary."""
        return self.num_stages - self.starts_at_state - self.ends_at_state


SCHEMES: dict[str, Scheme] = {
    s.name: s
    for s in (
        Scheme(name="euler", order=1, a=((),), b=(1.0,)),
        Scheme(name="midpoint", order=2, a=((), (0.5,)), b=(0.0, 1.0)),
        Scheme(name="heun", order=2, a=((), (1.0,)), b=(0.5, 0.5)),
        Scheme(name="ssprk3", order=3, a=((), (1.0,), (0.25, 0.25)), b=(1 / 6, 1 / 6, 2 / 3)),
        Scheme(name="rk4", order=4, a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6)),
        Scheme(name="implicit_euler", order=1, a=((1.0,),), b=(1.0,)),
        Scheme(name="crank_nicolson", order=2, a=((), (0.5, 0.5)), b=(0.5, 0.5)),
        Scheme(name="implicit_midpoint", order=2, a=((0.5,),), b=(1.0,)),
    )
}
"""The built-in schemes by name."""


def find_scheme(name: str) -> Scheme:
    """Return the built-in scheme of this name.

    Raises:
        InvalidInput: if there is none; the message lists the names.
    """
    if name not in SCHEMES:
        raise InvalidInput(f"unknown scheme {name!r}{suggest(name, SCHEMES)}; known are {', '.join(SCHEMES)}")
    return SCHEMES[name]


def take_step(scheme: Scheme, rate: Callable[[Floats], Floats], state: Floats, *, step: float) -> Floats:
    """Return F_{n+1}, one step of an explicit scheme for f' = F(f); for the layers of a network use `Stepper`.

    Args:
        scheme: An explicit scheme.
        rate: F.
        state: F_n: a block, or any array; not changed.
        step: Δt.

    Returns:
        F_{n+1}, a new array.

    Raises:
        InvalidInput: if a stage of the scheme is implicit.
    """
    if scheme.is_implicit:
        raise InvalidInput(f"scheme {scheme.name!r} has implicit stages: a step of it is an equation to be solved")
    rates: list[Floats] = []
    for row in scheme.lower:
        stage = np.empty_like(state)
        combine(state, step, row, rates=rates, out=stage)
        rates.append(rate(stage))
    result = np.empty_like(state)
    combine(state, step, scheme.b, rates=rates, out=result)
    return result


def combine(state: Floats, dt: float, coefficients: Sequence[float], *, rates: Sequence[Floats], out: Floats) -> None:
    """`out` = F + Δt Σ_i c_i R_i.

    Args:
        state: F.
        dt: Δt.
        coefficients: c_i; rates beyond their number are not read.
        rates: R_i, each of the shape of F.
        out: Overwritten; may be `state`.
    """
    if out is not state and len(coefficients) == 1:
        np.multiply(rates[0], dt * coefficients[0], out=out)
        out += state
        return
    if out is not state:
        np.copyto(out, state)
    for c, rate in zip(coefficients, rates, strict=False):
        if c != 0.0:
            out += (dt * c) * rate
