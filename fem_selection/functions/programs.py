# SPDX-License-Identifier: MIT
"""UFL expressions of one scalar, translated to instructions that run on whole blocks: in NumPy, or as one loop in C.

A form assembled for every layer would evaluate σ once per quadrature point, adjacent cell and sample; NumPy evaluates
the same expression on an N × J block at a small fraction of that cost, and a compiled loop (`functions.loops`) at a
fraction of NumPy's.  The translation (`functions.instructions`) is done once.  In NumPy, arrays of intermediate values
are reused, and a program allocates nothing after its first run on a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fem_selection.functions.instructions import choose, translate
from fem_selection.functions.loops import Loop, create_loop
from fem_selection.typing import Block, UflExpression

__all__ = ["SMALLEST", "BlockProgram"]

SMALLEST = 512
"""Values of a block from which on a loop is compiled: smaller blocks do not earn the time."""


class BlockProgram:
    """Evaluates one or more scalar expressions of one or more variables on arrays of any shape.

    Args:
        expressions: UFL scalars.
        variables: The terminals, or components of terminals, that arrays replace in the expressions.
        numbers: How many of the variables, the last ones, are numbers in every call.
        compiled: Whether blocks of `SMALLEST` values or more run through a loop in C, which is compiled when the first
            such block comes.  NumPy runs smaller blocks, other layouts, and all on machines without a compiler.  The
            two agree to a few units in the last place.

    Raises:
        InvalidInput: if an expression uses an operator without an array counterpart.
    """

    def __init__(
        self, expressions: Sequence[UflExpression], *variables: UflExpression, numbers: int = 0, compiled: bool = False
    ) -> None:
        self._instructions = translate(expressions, variables)
        self._code, self._results = self._instructions.code, self._instructions.results
        home = self._place()
        self._own = [(v, boolean) for *_, v, boolean in self._code if home[v] == v and v not in self._results]
        self._guests = [(v, h) for v, h in home.items() if h != v and h not in self._results]
        self._in_results = [[v for v, h in home.items() if h == result] for result in self._results]
        self._uncomputed = [k for k, r in enumerate(self._results) if r not in home or r in self._results[k + 1 :]]
        self._scratch: dict[tuple[tuple[int, ...], bool], list[Any]] = {}
        is_one_call = len(self._code) == 1 and not self._instructions.constants and not self._uncomputed
        self._only = self._code[0][:2] if is_one_call else None
        self._num_variables = len(variables)
        self._numbers, self._compiled = numbers, compiled and bool(self._code)

    def __call__(self, *arrays: Block) -> None:
        """Evaluate the expressions entry by entry.

        Args:
            arrays: First one array per variable (not changed; their shapes may broadcast), then one per expression,
                all of the same shape (overwritten; none may share memory with a variable).

        Note:
            NumPy evaluates both branches of a conditional, also where they are not chosen, and they may overflow:
            callers who mind the warnings use `np.errstate`.
        """
        if self._compiled and arrays[-1].size >= SMALLEST and self.loop is not None and self.loop(arrays):
            return
        if self._only is not None:
            function, operands = self._only
            function(*[arrays[i] for i in operands], out=arrays[-1])
            return
        count = self._num_variables
        out = arrays[count:]
        values = self._registers(out[0])
        values[:count] = arrays[:count]
        for array, members in zip(out, self._in_results, strict=True):
            for value in members:
                values[value] = array
        for function, operands, target, _ in self._code:
            function(*[values[i] for i in operands], out=values[target])
        for number in self._uncomputed:
            out[number][...] = values[self._results[number]]

    @cached_property
    def loop(self) -> Loop | None:
        """The compiled loop; None without a compiler."""
        return create_loop(self._instructions, self._numbers)

    def _registers(self, like: Block) -> list[Any]:
        """A new list of values with constants and arrays for intermediate values.

        The arrays are kept and used again, for up to eight shapes.
        """
        key = (like.shape, like.flags.f_contiguous) if self._own else ((), False)
        if key not in self._scratch:
            if len(self._scratch) >= 8:
                self._scratch.clear()
            values: list[Any] = [None] * self._instructions.num_values
            for index, constant in self._instructions.constants.items():
                values[index] = constant
            for value, boolean in self._own:
                values[value] = np.empty_like(like, dtype=bool if boolean else np.float64)
            for value, host in self._guests:
                values[value] = values[host]
            self._scratch[key] = values
        return self._scratch[key].copy()

    def _place(self) -> dict[int, int]:
        """For each value, the value in whose array it is computed.

        An operand that an instruction reads for the last time is computed in the array of the instruction's result.
        """
        last: dict[int, int] = {}
        for place, (_, operands, _, _) in enumerate(self._code):
            last.update(dict.fromkeys(operands, place))
        boolean = {target: flag for _, _, target, flag in self._code}
        home = {target: target for target in boolean}
        for place in reversed(range(len(self._code))):
            function, operands, target, flag = self._code[place]
            if flag or function is choose:
                continue
            for operand in operands:
                if last[operand] == place and not boolean.get(operand, True) and operand not in self._results:
                    home[operand] = home[target]
                    break
        return home
