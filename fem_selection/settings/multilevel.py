# SPDX-License-Identifier: MIT
"""Settings of a training from coarse to fine meshes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fem_selection.settings.fields import ListOrScalar, TomlList
from fem_selection.settings.tables import settings_class

__all__ = ["MultilevelSettings"]

_Cells = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), ListOrScalar]


@settings_class
class MultilevelSettings:
    """`[multilevel]`: the levels before the case's own, from coarse to fine; none if all lists are empty.

    The case itself is the finest level.  Lists that are given have one entry for each coarse level.

    Attributes:
        cells: Cells of each coarse mesh, as in `domain.cells`; the case's own if empty.
        files: Mesh files of the coarse levels, for a domain from a file; in a case file relative to its folder.
        layers: Layers of each coarse level; the case's own if empty.
        iterations: Limit of iterations of each coarse level; `optimizer.max_iterations` if empty.
        slack: Factor of the coarse levels' gradient tolerances, which fit their discretisation errors (see
            `studies.multilevel`); smaller values let coarse levels work longer.
    """

    cells: Annotated[tuple[_Cells, ...], TomlList] = ()
    files: Annotated[tuple[str, ...], TomlList] = ()
    layers: Annotated[tuple[Annotated[int, Field(ge=1)], ...], TomlList] = ()
    iterations: Annotated[tuple[Annotated[int, Field(ge=0)], ...], TomlList] = ()
    slack: float = Field(default=1.0, gt=0)

    @property
    def num_coarse(self) -> int:
        """Number of levels before the finest."""
        return max(len(self.cells), len(self.files), len(self.layers))
