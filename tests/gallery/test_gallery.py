# SPDX-License-Identifier: MIT
"""Each problem of the gallery on its meshes, on one and on two ranks; and the gallery's page in the documentation."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from gallery import Problem, all_problems, ask, table

PROBLEMS = all_problems()
FILES = sorted({problem.check.__module__ for problem in PROBLEMS.values()})
asked = cache(ask)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "nodes"), [(name, nodes) for name, problem in PROBLEMS.items() for nodes in problem.meshes]
)
def test_problem_gets_its_answer(name: str, nodes: int):
    """Fails if the report of a study contradicts what is known of a problem, or says something else on another mesh."""
    problem = PROBLEMS[name]
    statement = asked(problem, nodes)
    if problem.changes is None:
        assert statement == asked(problem, problem.meshes[0])


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2])
@pytest.mark.parametrize("file", FILES)
def test_two_ranks_say_the_same(results_on, ranks: int, file: str):
    """Fails if an answer depends on the number of ranks, or is wrong on two."""
    alone = {p.name: asked(p, p.meshes[0]) for p in problems_of(file)}
    assert results_on(ranks, file) == json.loads(json.dumps(alone))


def test_page_of_the_documentation_is_up_to_date():
    """Fails if a problem was added or changed without the table in the documentation."""
    page = Path(__file__).parents[2] / "docs" / "gallery.md"
    assert page.read_text(encoding="utf-8") == table(), (
        "run `PYTHONPATH=tests uv run python tests/gallery/gallery.py > docs/gallery.md`"
    )


def test_problems_say_how_they_are_known():
    """Fails if a problem does not say what is known and by what route."""
    assert all(problem.says and problem.route for problem in PROBLEMS.values())


def problems_of(file: str) -> list[Problem]:
    """The problems of a file."""
    return [problem for problem in PROBLEMS.values() if problem.check.__module__ == file]


def main() -> None:
    """Prints the statements of the problems of the file that the first argument names, from all ranks."""
    import sys

    from mpi4py import MPI
    from ranks import print_results

    print_results({p.name: ask(p, p.meshes[0], MPI.COMM_WORLD) for p in problems_of(sys.argv[1])})


if __name__ == "__main__":
    main()
