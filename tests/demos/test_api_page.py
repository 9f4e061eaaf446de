# SPDX-License-Identifier: MIT
"""The examples of `docs/api.md`, and of the docstrings that a user meets first, show what the package computes."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

import fem_selection as fs

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "api.md"
NAMESPACES = ("studies", "settings", "steady", "hjb", "evolution", "optimize", "learning")
"""Those of which the page uses every name."""


def show_failures(examples: doctest.DocTest) -> str:
    """Run examples and return the report of those that print something else."""
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    return "".join(report)


def read_page() -> doctest.DocTest:
    """The examples of the page, with the page's line numbers."""
    text = re.sub(r"^```.*$", "", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)  # a fence is no output
    return doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)


def used_names() -> set[str]:
    """All dotted names that begin with `fs` in the code of the page, `fs` left out."""
    code = "".join(example.source for example in read_page().examples)
    dotted = {ast.unparse(node) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)}
    return {name.removeprefix("fs.") for name in dotted if name.startswith("fs.")}


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if an example of the page raises, or prints another number."""
    monkeypatch.chdir(tmp_path)
    failures = show_failures(read_page())
    assert not failures, failures


def test_page_uses_every_name_of_the_front() -> None:
    """Fails if a public name is added without an example."""
    front = {name for name in fs.__all__ if not isinstance(getattr(fs, name), type(fs))}
    assert front - used_names() == set()


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_page_uses_every_name_of_a_namespace(namespace: str) -> None:
    """Fails if a public name is added to a namespace without an example; one that is in the front too may stand there
    as `fs.name`."""
    module, used = getattr(fs, namespace), used_names()
    shared = {name for name in module.__all__ if getattr(fs, name, None) is getattr(module, name) and name in used}
    assert set(module.__all__) - shared - {n.removeprefix(f"{namespace}.") for n in used} == set()


MET_FIRST = (
    "Ensemble",
    "interval",
    "from_mesh",
    "StateSpace",
    "DepthGrid",
    "Activation",
    "DenseKernel.interpolate",
    "SeparableKernel.interpolate",
    "SelectionField",
    "Stepper",
    "solve_forward",
    "ControlSpace",
    "Functional",
    "LearningProblem",
    "OptimizerSettings",
    "minimize",
    "load_case",
    "build_problem",
    "build_field",
    "studies.steady",
    "studies.stability",
    "studies.train",
)
"""The names that a user meets first."""

ASSUMED = {"fs": fs, "np": np, "MPI": MPI}
"""What examples in docstrings do not import again."""


@pytest.mark.parametrize("name", MET_FIRST)
def test_docstring(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the docstring has no example, or if its example raises or prints another number."""
    monkeypatch.chdir(ROOT)  # they read case files of `demos`, and write nothing
    thing: Any = fs
    for part in name.split("."):
        thing = getattr(thing, part)
    (examples,) = doctest.DocTestFinder(recurse=False).find(thing, name, module=False, globs=dict(ASSUMED))
    assert examples.examples, f"{name} has no example"
    failures = show_failures(examples)
    assert not failures, failures
