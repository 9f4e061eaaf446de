# SPDX-License-Identifier: MIT
"""What holds of every public name, read from the source: one name for one thing, arguments by keyword, docstrings that
name arguments and errors, and a package that costs nothing to import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import fem_selection as fs

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("fem_selection", "tests", "demos", "benchmarks")
MOST = 3
"""Arguments that may be given by position."""

BY_POSITION = {
    "cli/app.py:train": "typer makes its options of the parameters and calls it by keyword",
    "dynamics/stage_system.py:StageEquation.linearize": "PETSc calls it: SNES, x, the Jacobian and its preconditioner",
}
"""Functions that may take more of them, with the reason."""

CONSTRUCTORS = ("__init__", "__post_init__")
"""Methods that the docstring of the class describes."""

HEAVY = ("dolfinx", "petsc4py", "numpy", "scipy", "ufl", "pydantic")
"""What `import fem_selection` does not load."""


@dataclass(frozen=True)
class Function:
    """A public function, or a public method or the constructor of a public class.

    Attributes:
        name: With the class, and the file before both.
        node: Its syntax tree.
        doc: The docstring; for a constructor that of the class.
        positional: The arguments that may be given by position.
        arguments: All arguments; of a method without `self`.
    """

    name: str
    node: ast.FunctionDef
    doc: str
    positional: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def raises(self) -> bool:
        """Whether its own code raises an error, one that it passes on left out."""
        return any(isinstance(node, ast.Raise) and node.exc is not None for node in _own_code(self.node))


def _own_code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a node, those of functions inside left out."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield from _own_code(child)


@cache
def parse(folder: str) -> dict[str, ast.Module]:
    """The syntax trees of a folder of the repository, by the path in it."""
    base = ROOT / folder
    return {p.relative_to(base).as_posix(): ast.parse(p.read_text(encoding="utf-8")) for p in base.rglob("*.py")}


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """The public classes of the package with their files."""
    for place, module in parse("fem_selection").items():
        for node in module.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield place, node


def functions() -> Iterator[Function]:
    """The public functions, methods and constructors of the package."""
    for place, module in parse("fem_selection").items():
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield _read(node, node, f"{place}:{node.name}", skipped=0)
    for place, owner in classes():
        for node in owner.body:
            if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name in CONSTRUCTORS):
                documented = owner if node.name in CONSTRUCTORS else node
                is_static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
                yield _read(node, documented, f"{place}:{owner.name}.{node.name}", skipped=0 if is_static else 1)


def _read(node: ast.FunctionDef, documented: ast.FunctionDef | ast.ClassDef, name: str, *, skipped: int) -> Function:
    given = [a.arg for a in (*node.args.posonlyargs, *node.args.args)][skipped:]
    rest = [a.arg for a in (node.args.vararg, *node.args.kwonlyargs, node.args.kwarg) if a is not None]
    doc = ast.get_docstring(documented) or ""
    return Function(name=name, node=node, doc=doc, positional=tuple(given), arguments=(*given, *rest))


def test_there_are_functions_and_classes() -> None:
    """Fails if the reader of the source finds less than there is: then the tests below would look at nothing."""
    names = {function.name for function in functions()}
    assert {"dynamics/forward.py:solve_forward", "learning/controls.py:ControlSpace.__init__"} <= names
    (grid,) = (f for f in functions() if f.name == "hjb/grid.py:Grid.uniform")
    assert grid.arguments == ("lower", "upper", "cells")


def test_no_two_public_classes_of_one_name() -> None:
    """Fails if a name stands for two things."""
    places = defaultdict(list)
    for place, node in classes():
        places[node.name].append(place)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_arguments_after_the_third_are_given_by_keyword() -> None:
    """Fails if a function takes four arguments by position, or if an exception is none any more."""
    assert {f.name for f in functions() if len(f.positional) > MOST} == BY_POSITION.keys()


def test_dataclasses_are_built_by_keyword() -> None:
    """Fails if an object is built by position, so that a new field could slip in between."""
    makers = {"dataclass", "dataclasses.dataclass", "settings_class"}
    names = {node.name for _, node in classes() if makers & {_called(d) for d in node.decorator_list}}
    assert {"Domain", "ForwardSettings", "Verdict"} <= names
    found = []
    for folder in FOLDERS:
        for place, module in parse(folder).items():
            own = set() if folder == "fem_selection" else {c.name for c in module.body if isinstance(c, ast.ClassDef)}
            for node in ast.walk(module):
                if isinstance(node, ast.Call) and node.args and _called(node).rpartition(".")[2] in names - own:
                    found.append(f"{folder}/{place}:{node.lineno} {ast.unparse(node)}")
    assert found == []


def _called(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def test_spelling() -> None:
    """Fails if a word is spelled in two ways: it is to analyze, and an analysis."""
    wrong, found = re.compile(r"\banaly" + r"s(e|ed|er|ing)\b", re.IGNORECASE), []
    texts = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")]
    for path in (*texts, *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if wrong.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def test_import_is_light() -> None:
    """Fails if importing the package loads a library that only some of its names need."""
    code = f"import sys, fem_selection; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


NAMESPACES = [name for name in fs.__all__ if isinstance(getattr(fs, name, None), type(fs))]


def test_front_loads() -> None:
    """Fails if a name of the front is not where it is said to be, or stands there twice."""
    assert len(set(fs.__all__)) == len(fs.__all__) and dir(fs) == sorted(fs.__all__)
    assert [name for name in fs.__all__ if getattr(fs, name, None) is None] == []
    assert {"studies", "settings", "steady", "learning"} <= set(NAMESPACES)
    with pytest.raises(AttributeError, match="solve_backward"):
        _ = fs.solve_backward


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_namespace_loads(namespace: str) -> None:
    """Fails if a name of a namespace does not load, or stands there twice."""
    module = getattr(fs, namespace)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []


# ── docstrings ────────────────────────────────────────────────────────────────────────────────────────────────────────


def refers(function: Function) -> bool:
    """Whether the docstring sends the reader to a function of the package that describes the arguments."""
    described = {f.name.partition(":")[2] for f in functions() if "Args:" in f.doc or len(f.arguments) < 2}
    return any(name in described for name in re.findall(r"\b[Ss]ee `([\w.]+)`", function.doc))


def test_docstrings_describe_arguments() -> None:
    """Fails if a function of two or more arguments has no `Args:`, and does not refer to the one that it implements."""
    several = [f for f in functions() if len(f.arguments) > 1 and not is_command(f)]
    assert [f.name for f in several if "Args:" not in f.doc and not refers(f)] == []


def test_docstrings_describe_errors() -> None:
    """Fails if a function that raises an error does not say which and when."""
    raising = [f for f in functions() if f.raises and not is_command(f)]
    assert [f.name for f in raising if "Raises:" not in f.doc and not refers(f)] == []


def is_command(function: Function) -> bool:
    """Whether typer shows the docstring as the help text of a command."""
    return function.name.startswith("cli/app.py:") and any(
        ".command" in _called(d) for d in function.node.decorator_list
    )
