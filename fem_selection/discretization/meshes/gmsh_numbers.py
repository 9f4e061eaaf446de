# SPDX-License-Identifier: MIT
"""The numbers in a section of a gmsh file, read one after the other: whole ones, sizes and real ones, as text or bytes.

Sizes are counts and numbers of nodes and cells in MSH 4: words like all others in text, eight bytes each in a binary
file, whose other whole numbers have four.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from fem_selection.errors import InvalidInput
from fem_selection.typing import Floats, Integers

__all__ = ["BinaryNumbers", "Numbers", "TextNumbers", "cut"]


class TextNumbers:
    """Numbers written as words.

    Args:
        name: Name of the section.
        body: What stands in it.
    """

    is_text = True

    def __init__(self, name: str, body: bytes) -> None:
        self._name, self._position = name, 0
        words = body.split()
        self._words, self.left = np.array(words or [b""]), len(words)

    def _take[N: np.generic](self, number: int, kind: type[N]) -> npt.NDArray[N]:
        if not 0 <= number <= self.left:
            cut(self._name, number, self.left)
        words = self._words[self._position : self._position + number]
        self._position, self.left = self._position + number, self.left - number
        try:
            return words.astype(kind)
        except (ValueError, OverflowError) as error:
            what = "whole numbers" if kind is np.int64 else "numbers"
            raise InvalidInput(f"its section ${self._name} has something else than {what}: {error}") from None

    def ints(self, number: int) -> Integers:
        """Return the next whole numbers."""
        return self._take(number, np.int64)

    sizes = ints

    def floats(self, number: int) -> Floats:
        """Return the next real numbers."""
        return self._take(number, np.float64)

    def numbered(self, number: int, width: int = 3) -> tuple[Integers, Floats]:
        """Return the next rows of a whole number and real numbers.

        Args:
            number: Number of rows.
            width: Number of real numbers in a row: three coordinates, and parameters behind them.
        """
        start, words = self._position, (1 + width) * number
        self._take(words, np.bytes_)
        rows = self._words[start : start + words].reshape(-1, 1 + width)
        here = TextNumbers(self._name, b"")
        here._words, here.left = np.concatenate([rows[:, 0], rows[:, 1:].ravel()]), rows.size
        return here.ints(number), here.floats(width * number).reshape(-1, width)

    def count(self) -> int:
        """Return the next size."""
        return int(self.sizes(1)[0])

    line = count

    def require_end(self) -> None:
        """Raise an error if there are more numbers than the section counts."""
        if self.left:
            _longer(self._name)


class BinaryNumbers:
    """Numbers written as bytes; the first line of a section in MSH 2 is text.

    Args:
        name: Name of the section.
        body: What stands in it.
        order: Order of the bytes, "<" or ">".
    """

    is_text = False

    def __init__(self, name: str, body: bytes, order: str) -> None:
        self._name, self._body, self._order, self._position = name, body, order, 0

    @property
    def left(self) -> int:
        """Number of bytes that are left."""
        return len(self._body) - self._position

    def _take(self, number: int, kind: str | list[tuple[str, str, int]]) -> npt.NDArray[np.void]:
        dtype = np.dtype(kind)
        if not 0 <= number <= self.left // dtype.itemsize:
            cut(self._name, number, self.left // dtype.itemsize)
        start, self._position = self._position, self._position + number * dtype.itemsize
        return np.frombuffer(self._body, dtype, number, start)

    def ints(self, number: int) -> Integers:
        """Return the next whole numbers."""
        return self._take(number, f"{self._order}i4").astype(np.int64)

    def sizes(self, number: int) -> Integers:
        """Return the next sizes."""
        return self._take(number, f"{self._order}u8").astype(np.int64)

    def floats(self, number: int) -> Floats:
        """Return the next real numbers."""
        return self._take(number, f"{self._order}f8").astype(np.float64)

    def numbered(self, number: int, width: int = 3) -> tuple[Integers, Floats]:
        """Return the next rows of a whole number and real numbers.

        Args:
            number: Number of rows.
            width: Number of real numbers in a row: three coordinates, and parameters behind them.
        """
        rows = self._take(number, [("number", f"{self._order}i4", 1), ("point", f"{self._order}f8", width)])
        return rows["number"].reshape(-1).astype(np.int64), rows["point"].reshape(-1, width).astype(np.float64)

    def count(self) -> int:
        """Return the next size."""
        return int(self.sizes(1)[0])

    def line(self) -> int:
        """Return the number on the first line.

        Raises:
            InvalidInput: if there is none.
        """
        end = self._body.find(b"\n", self._position)
        word = self._body[self._position : end].strip()
        if end < 0 or not word.isdigit():
            raise InvalidInput(f"its section ${self._name} does not begin with a number of lines")
        self._position = end + 1
        return int(word)

    def require_end(self) -> None:
        """Raise an error if there are more bytes than the section counts."""
        if self._body[self._position :].strip():
            _longer(self._name)


Numbers = TextNumbers | BinaryNumbers
"""The numbers of a section, whichever way they are written."""


def cut(name: str, needed: int, left: int) -> NoReturn:
    """Raise the error that a section is too short.

    Args:
        name: Of the section.
        needed: How many numbers are needed.
        left: How many are left.

    Raises:
        InvalidInput: always.
    """
    raise InvalidInput(
        f"its section ${name} ends too early, or its counts are wrong: {needed} numbers are needed, {left} are left"
    )


def _longer(name: str) -> NoReturn:
    raise InvalidInput(f"its section ${name} goes on after the nodes or cells that it counts")
