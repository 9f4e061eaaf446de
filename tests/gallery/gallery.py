# SPDX-License-Identifier: MIT
"""A gallery of problems with known answers, asked through the studies that users call.

A problem is a case in a few lines, the answer that must be given, the independent route by which the answer is known,
and a function that compares the two.  Problems lie in files named `*_problems.py` beside this one:

    @problem("stability", kernel="1", activation="tanh(2*s) - s", state="0",
             says="unstable at the rate σ'(0) ∫ w = 1", route="closed form")
    def mean_field_beyond_its_pitchfork(answer):
        assert answer.report.verdict.kind == "unstable"
        assert answer.report.verdict.rate == pytest.approx(1.0, abs=1e-9)
        return answer.report.verdict.kind

What the function returns is the *statement*: a text (or number, list or dictionary of them) that must be the same on
every mesh and on one and two ranks.  Measured numbers belong into assertions, not into the statement.

    uv run pytest -m slow tests/gallery                      all problems, meshes and ranks
    uv run pytest -m slow tests/gallery -k mean_field        those of that name
    PYTHONPATH=tests uv run python tests/gallery/gallery.py > docs/gallery.md

The last command makes the table of the documentation anew; a plain test asks for it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import fem_selection as fs
from fem_selection.cases.field import FieldProblem, build_field
from fem_selection.cases.learning import build_problem
from fem_selection.cases.stability import family_of, finer_start, start_state, third_start, value_of, why_not_finer
from fem_selection.config import load_case, parse_case

__all__ = ["EVEN_MESHES", "MESHES", "TABLES", "Answer", "Problem", "all_problems", "blocks", "problem", "states"]

FOLDER = Path(__file__).parent
DEMOS = FOLDER.parent.parent / "demos"

MESHES = (80, 160, 421)
"""Numbers of nodes of the meshes on which a problem is asked."""
EVEN_MESHES = (84, 168, 420)
"""The same for kernels that are constant on halves, thirds or quarters of Y (divisible by 12)."""
TABLES = ("forward", "steady", "stability", "branches", "certify", "hjb", "train")
"""The studies that a problem may ask."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A problem with a known answer.

    Attributes:
        name: Name of the function that checks the answer.
        study: The study that is asked, one of `TABLES`.
        tables: Tables of the case.
        says: What must be said, as a phrase.
        route: How the answer is known, as a phrase.
        check: Compares an answer with what is known and returns the statement.
        meshes: Numbers of nodes; a problem of optimality has one mesh, that of its case: (0,).
        changes: Why the statement is not the same on every mesh, if it is not.
        demo: Name of a case in `demos/` that `tables` change, or None.
    """

    name: str
    study: str
    tables: Mapping[str, Mapping[str, Any]]
    says: str
    route: str
    check: Callable[[Answer], Any]
    meshes: Sequence[int] = MESHES
    changes: str | None = None
    demo: str | None = None


@dataclass
class Answer:
    """The case of a problem on one mesh, and the report of its study.

    Attributes:
        case: The case.
        comm: The ranks.
        study: The study that is asked.
    """

    case: fs.Case
    comm: MPI.Intracomm
    study: str
    found: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def field_problem(self) -> FieldProblem:
        """Space, right-hand side and initial states of `forward`, `steady`, `stability` and `branches`."""
        return build_field(self.case, self.comm)

    @cached_property
    def learning_problem(self) -> fs.LearningProblem:
        """The learning problem of `train`, `certify` and `hjb`."""
        return build_problem(self.case, self.comm)

    @property
    def space(self) -> fs.StateSpace:
        """The state space."""
        return self.field_problem.space

    @property
    def y(self) -> np.ndarray:
        """First coordinates of all nodes, on every rank (collective)."""
        return self.space.gather(np.asfortranarray(self.space.coordinates))[:, 0]

    @property
    def weights(self) -> np.ndarray:
        """Nodal weights of all nodes, on every rank (collective)."""
        return self.everywhere(self.space.weights)

    def everywhere(self, values: np.ndarray) -> np.ndarray:
        """Nodal values of this rank, shape (num_local,) or (num_local, samples), at all nodes (collective)."""
        block = np.asfortranarray(values.reshape(len(values), -1))
        return self.space.gather(block).reshape(-1, *values.shape[1:])

    @cached_property
    def report(self) -> Any:
        """The report of the study (collective)."""
        return _STUDIES[self.study](self)


def problem(
    study: str,
    *,
    says: str,
    route: str,
    kernel: str = "0",
    activation: str = "tanh",
    bias: str | None = None,
    initial: str = "0",
    state: str | None = None,
    parameters: Mapping[str, float] | None = None,
    space: Mapping[str, Any] | None = None,
    dynamics: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    samples: int = 1,
    meshes: Sequence[int] | None = None,
    changes: str | None = None,
    demo: str | None = None,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Callable[[Answer], Any]], Problem]:
    """Makes a problem of the function that checks its answer.

    Args:
        study: One of `TABLES`; "branches" reads `settings` as the table `stability`.
        says: What must be said, as a phrase.
        route: How the answer is known, as a phrase.
        kernel: Formula w(y, z) on (0, 1).
        activation: Name or formula σ(s).
        bias: Formula b(y).
        initial: Formula f^I(y, s); s runs from 0 to 1 over the samples.
        state: Formula of the steady state of `stability` and `branches`.
        parameters: Values that the formulas may name.
        space: Keys of the table `space`; linear elements if None.
        dynamics: More keys of the table `dynamics`.
        settings: Keys of the table of the study.
        samples: Number of initial states.
        meshes: Numbers of nodes.  `MESHES`, or for elements of degree 0 `EVEN_MESHES`, if None.
        changes: Why the statement is not the same on every mesh.
        demo: For problems of optimality, a case in `demos/` that `tables` changes; the arguments above from `kernel` on
            are then not used.
        tables: Tables of a whole case, for problems of optimality, or more tables than the arguments above give.
    """
    assert study in TABLES, f"{study}: none of {', '.join(TABLES)}"
    optimality = study in ("certify", "hjb", "train")
    content: dict[str, Mapping[str, Any]] = {}
    if not optimality:
        table = {"branches": "stability"}.get(study, study)
        given = dict(settings or {}) | ({} if state is None else {"state": state})
        equation = {"activation": activation, "kernel": kernel} | ({} if bias is None else {"bias": bias})
        content = {
            "parameters": parameters or {},
            "domain": {"shape": "interval"},
            "space": space or {},
            "dynamics": {**equation, **(dynamics or {})},
            "data": {"source": "formula", "initial": initial, "samples": samples},
            table: given,
        }
    content = {**content, **{name: {**content.get(name, {}), **more} for name, more in (tables or {}).items()}}
    flat = (space or {}).get("degree") == 0
    chosen = meshes or ((0,) if optimality else EVEN_MESHES if flat else MESHES)

    def make(check: Callable[[Answer], Any]) -> Problem:
        return Problem(
            name=check.__name__,
            study=study,
            tables=content,
            says=says,
            route=route,
            check=check,
            meshes=chosen,
            changes=changes,
            demo=demo,
        )

    return make


def ask(asked: Problem, nodes: int, comm: MPI.Intracomm = MPI.COMM_SELF) -> Any:
    """Asks a problem on a mesh, checks the answer and returns the statement (collective).

    Args:
        asked: The problem.
        nodes: Number of nodes; 0 leaves the mesh as the case gives it.
        comm: The ranks.
    """
    tables = {name: dict(table) for name, table in asked.tables.items()}
    if nodes:
        degree = tables.get("space", {}).get("degree", 1)
        dimension = {"interval": 1, "rectangle": 2, "box": 3}[tables["domain"]["shape"]]
        side = round(nodes ** (1 / dimension))
        tables["domain"]["cells"] = side if degree == 0 else (side - 1) // degree
    if asked.demo is None:
        case = parse_case(tables)
    else:
        words = [f"{t}.{key}={_toml(value)}" for t, table in tables.items() for key, value in table.items()]
        case = load_case(DEMOS / asked.demo, words)
    statement = asked.check(Answer(case, comm, asked.study))
    assert statement is not None, f"{asked.name} returns no statement"
    return statement


def all_problems() -> dict[str, Problem]:
    """The problems of all files, by name."""
    found: dict[str, Problem] = {}
    for path in sorted(FOLDER.glob("*_problems.py")):
        for value in vars(importlib.import_module(path.stem)).values():
            if isinstance(value, Problem):
                assert found.setdefault(value.name, value) is value, f"two problems are named {value.name}"
    return found


def blocks(matrix: Sequence[Sequence[float | str]]) -> str:
    """A kernel constant on n × n equal parts of the unit square: on functions constant on the parts K is the matrix.

    Use it with elements of degree 0 ("dg") on a number of cells that n divides.
    """
    n = len(matrix)

    def choose(values: Sequence[str], variable: str) -> str:
        text = values[-1]
        for k in range(n - 2, -1, -1):
            text = f"where({variable} < {k + 1}/{n}, {values[k]}, {text})"
        return text

    return f"{n}*{choose([choose([str(entry) for entry in row], 'z') for row in matrix], 'y')}"


def states(values: Sequence[float], variable: str = "y") -> str:
    """The formula of a function that has these values on equal parts of (0, 1).

    Args:
        values: Values from left to right.
        variable: Name of the coordinate.
    """
    n = len(values)
    text = str(values[-1])
    for k in range(n - 2, -1, -1):
        text = f"where({variable} < {k + 1}/{n}, {values[k]}, {text})"
    return text


# ── the studies ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _forward(answer: Answer) -> fs.studies.ForwardReport:
    given = answer.field_problem
    return fs.studies.forward(given.field, given.initial, answer.case.forward, horizon=answer.case.dynamics.horizon)


def _steady(answer: Answer) -> fs.studies.SteadyReport:
    given = answer.field_problem
    return fs.studies.steady(given.field, given.initial, answer.case.steady, seed=answer.case.seed)


def _stability(answer: Answer) -> fs.studies.StabilityReport:
    given = answer.field_problem
    return fs.studies.stability(
        given.field,
        start_state(given),
        answer.case.stability,
        finer=lambda: finer_start(given),
        finer_declined=why_not_finer(given),
        third=third_start(given),
        initial=given.initial,
        horizon=given.case.dynamics.horizon,
    )


def _branches(answer: Answer) -> fs.studies.BranchesReport:
    given = answer.field_problem
    family = family_of(given)
    assert family is not None, "stability.parameter and stability.range are needed"
    return fs.studies.branches(family, start_state(given), answer.case.stability, at=value_of(given))


def _train(answer: Answer) -> Any:
    return fs.studies.train(answer.learning_problem, answer.case.optimizer, seed=answer.case.seed)


def _certify(answer: Answer) -> fs.studies.CertificateReport:
    answer.found["training"] = trained = _train(answer)
    return fs.studies.certify(answer.learning_problem, trained.controls, seed=answer.case.seed)


def _hjb(answer: Answer) -> fs.studies.HjbReport:
    return fs.studies.hjb(answer.learning_problem, answer.case.hjb, seed=answer.case.seed)


_STUDIES: Mapping[str, Callable[[Answer], Any]] = {
    "forward": _forward,
    "steady": _steady,
    "stability": _stability,
    "branches": _branches,
    "train": _train,
    "certify": _certify,
    "hjb": _hjb,
}


def _toml(value: Any) -> str:
    """A value as `--set KEY=VALUE` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f"'{value}'" if isinstance(value, str) else repr(value)


# ── the table of the documentation ────────────────────────────────────────────────────────────────────────────────────


def table() -> str:
    """The gallery as a page of Markdown."""
    lines = [
        "# Gallery: problems with known answers",
        "",
        "The slow tests put each of these problems to the study that users call, on meshes of about 80, 160 and 421",
        "nodes and on one and two ranks, and compare the report with an answer that is known by another route.",
        "σ = tanh, b = 0 and Y = (0, 1) unless said.  `tests/gallery/gallery.py` makes this page and says how to add a",
        "problem.",
    ]
    found = all_problems()
    for study in TABLES:
        chosen = [p for p in found.values() if p.study == study]
        if chosen:
            lines += [
                "",
                f"## `{study}`",
                "",
                "| problem | equation | what must be said | known by |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| {p.name.replace('_', ' ')} | {_equation(p)} | {_cell(p.says)} | {_cell(p.route)} |" for p in chosen
            ]
    return "\n".join(lines) + "\n"


def _equation(shown: Problem) -> str:
    """Domain, kernel, activation, bias and start of a problem in a cell of the table."""
    if shown.demo is not None:
        changed = [f"{t}.{key} = {value}" for t, keys in shown.tables.items() for key, value in keys.items()]
        return f"`demos/{shown.demo}`" + (
            " with " + _cell(", ".join(f"`{text}`" for text in changed)) if changed else ""
        )
    d, data = shown.tables["dynamics"], shown.tables.get("data", {})
    shape = {"rectangle": "the unit square", "box": "the unit cube"}.get(shown.tables["domain"]["shape"])
    named = {
        "Y": shape,
        "w": d.get("kernel"),
        "σ": d.get("activation"),
        "b": d.get("bias"),
        "f(0)": data.get("initial"),
    }
    named |= {"state": shown.tables.get("stability", {}).get("state")}
    hidden = {"σ": "tanh", "f(0)": "0"}
    return _cell(", ".join(f"{k} = `{v}`" for k, v in named.items() if v is not None and hidden.get(k) != v))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.modules["gallery"] = sys.modules["__main__"]  # the problems import this module by its name
    print(table(), end="")
