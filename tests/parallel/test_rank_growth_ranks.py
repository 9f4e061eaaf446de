# SPDX-License-Identifier: MIT
"""New pairs of factors: the same gains on 1–4 ranks, samples and space split.

Run by mpiexec this file computes on its ranks and prints JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranks import print_results, slow_beyond_two

RUNS = [slow_beyond_two(r, r, space) for r in (1, 2, 4) for space in (1, 2, 4) if r % space == 0]


def main(space: int) -> None:
    """Print the gains of a problem of six samples."""
    import fem_selection as fs
    from fem_selection.config import parse_case
    from fem_selection.learning.rank_growth import find_pairs

    case = parse_case(
        {
            "domain": {"shape": "interval", "cells": 16},
            "dynamics": {"layers": 4, "control_intervals": 2, "representation": "separable", "rank": 2},
            "data": {"initial": "cos(3*y + 2*s) + s", "target": "sin(4*y + 3*s) - s", "samples": 6},
            "objective": {"loss": "tracking"},
            "parallel": {"space": space, "block": 2},
        }
    )
    problem = fs.build_problem(case)
    start = problem.scaled_functional.to_controls(problem.scaled_start)
    moved = start + problem.functional.control_space.random_direction(3)
    pairs = find_pairs(problem.functional, moved, 3)
    sides = [problem.space.norm(block) for block in (*pairs.left, *pairs.right)]
    print_results({"values": pairs.values.tolist(), "norms": np.array(sides).tolist()})


@pytest.mark.parametrize(("ranks", "space"), RUNS)
def test_gains_do_not_depend_on_ranks(results_on, ranks, space):
    """Fails if the samples of a member, or the nodes of a rank, are left out of the gradient."""
    found, expected = results_on(ranks, space), results_on(1, 1)
    np.testing.assert_allclose(found["values"], expected["values"], rtol=1e-9)
    np.testing.assert_allclose(found["norms"], 1.0, rtol=1e-9)


if __name__ == "__main__":
    import sys

    main(int(sys.argv[1]))
