# SPDX-License-Identifier: MIT
"""The settings: every default stands once, every range is kept from Python too, and nothing of FEniCSx is needed."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import pickle
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

import fem_selection as fs
from fem_selection import settings, synonyms
from fem_selection.config import Case, dump_case, parse_case
from fem_selection.discretization.elements import Family, Mode
from fem_selection.settings import names as named

PACKAGE = Path(fs.__file__).parent
CLASSES = {name: cls for name in settings.__all__ if dataclasses.is_dataclass(cls := getattr(settings, name))}
FIELDS = {field.name for cls in CLASSES.values() for field in dataclasses.fields(cls)}


# ── every default stands once ─────────────────────────────────────────────────────────────────────────────────────────

#: Parameters with the name of a setting and a default of their own, which mean something else.
OTHERS = {
    "adjoint.hamiltonian.Search.reduction": "none; the optimizer's own is coarser",
    "adjoint.pointwise.minimize_rows.reduction": "none",
    "adjoint.pointwise.minimize_rows.max_iterations": "of a minimisation at one neuron",
    "learning.curvature.hessian_eigenpairs.max_iterations": "restarts of SLEPc",
    "learning.curvature.hessian_eigenpairs.tolerance": "residual of eigenpairs",
    "cli.app.train.starts": "of the training",
    "cli.train.train_command.starts": "of the training",
    "learning.functional.SweepCounts.hessian": "number of actions",
    "studies.training.train.starts": "of the training",
    "studies.training_report.TrainingReport.levels": "those of a training from coarse to fine",
    "studies.training_report.TrainingReport.starts": "those that were made",
    "learning.hessian.Hessian.memory": "bytes of the tapes",
    "learning.hessian.ScaledHessian.memory": "bytes of the tapes",
    "learning.readout.optimize_readout.tolerance": "gradient of the readout's problem",
    "linalg.factors.factorize.tolerance": "remainder of the factors",
    "linalg.krylov.leading_eigenpairs.tolerance": "residual of eigenpairs",
    "plots.bifurcation.draw_bifurcations.cycles": "those that were found",
    "plots.bifurcation.plot_bifurcations.cycles": "those that were found",
    "steady.equilibria.complementarity.project.lower": "of K f + b",
    "steady.equilibria.complementarity.project.upper": "of K f + b",
    "steady.equilibria.complementarity.project.tolerance": "of the contact set",
}

#: Defaults in modules below the settings in the staircase, and at the command line, which loads them on use; they have
#: to agree with the table's.
AGREEING = {
    "discretization.depth.DepthGrid.horizon": settings.DynamicsSettings.horizon,
    "discretization.spaces.StateSpace.degree": settings.SpaceSettings.degree,
    "discretization.spaces.StateSpace.family": settings.SpaceSettings.family,
    "discretization.spaces.StateSpace.mode": settings.SpaceSettings.mode,
    **{
        f"discretization.meshes.domains.{shape}.{name}": getattr(settings.DomainSettings(shape=shape), name)
        for shape in named.SHAPES
        for name in ("lower", "upper", "grading", "cell")
    },
    "parallel.Ensemble.space": settings.ParallelSettings.space,
    "cli.app.certify.starts": settings.CertificateSettings.starts,
}


def literal_defaults() -> Iterator[tuple[str, ast.expr]]:
    """The defaults that are written as values, of all parameters and dataclass fields outside of the settings."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if not module.startswith("settings."):
            yield from _defaults_in(ast.parse(path.read_text(encoding="utf-8")), module)


def _defaults_in(node: ast.AST, place: str) -> Iterator[tuple[str, ast.expr]]:
    for child in ast.iter_child_nodes(node):
        given: list[tuple[str, ast.expr | None]] = []
        inner = place
        if isinstance(child, ast.FunctionDef):
            inner = place if child.name == "__init__" else f"{place}.{child.name}"
            a = child.args
            positional = [*a.posonlyargs, *a.args]
            given += zip((p.arg for p in positional[len(positional) - len(a.defaults) :]), a.defaults, strict=True)
            given += zip((p.arg for p in a.kwonlyargs), a.kw_defaults, strict=True)
        elif isinstance(child, ast.ClassDef):
            inner = f"{place}.{child.name}"
            fields = [f for f in child.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)]
            given += [(f.target.id, f.value) for f in fields if "ClassVar" not in ast.unparse(f.annotation)]
        for name, default in given:
            if default is None or (isinstance(default, ast.Constant) and default.value is None):
                continue
            if {part.id for part in ast.walk(default) if isinstance(part, ast.Name)} <= {"np", "math"}:
                yield f"{inner}.{name}", default
        yield from _defaults_in(child, inner)


def test_no_default_is_stated_twice():
    """Fails if a function or class has a default of its own for something that a settings class has a field for, or if
    a default below the settings disagrees with theirs."""
    found = {place: value for place, value in literal_defaults() if place.rpartition(".")[2] in FIELDS}
    of_their_own = sorted(found.keys() - OTHERS.keys() - AGREEING.keys())
    assert not of_their_own, "take the default from the settings class, as in `levels: int = HjbSettings.levels`"
    assert OTHERS.keys() <= found.keys(), "an entry of OTHERS is no more"
    assert AGREEING.keys() - found.keys() == {"discretization.meshes.domains.interval.cell"}
    for place in AGREEING.keys() & found.keys():
        here, table = ast.literal_eval(found[place]), AGREEING[place]
        assert here == (table[0] if isinstance(table, tuple) and len(table) == 1 else table), place


def test_no_list_of_names_is_stated_twice():
    """Fails if a module writes out again what methods, schemes or parts there are, or if those below the settings know
    others."""
    assert (get_args(Family), get_args(Mode)) == (named.FAMILIES, named.MODES)
    lists = {
        value: name
        for name, value in vars(named).items()
        if isinstance(value, tuple) and not name.startswith("_") and len(value) > 1
    }
    again = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in ("settings", "discretization"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Tuple | ast.List):
                    written = tuple(entry.value if isinstance(entry, ast.Constant) else None for entry in node.elts)
                    if written in lists:
                        again.append(f"{path.relative_to(PACKAGE)}:{node.lineno} writes out {lists[written]}")
    assert not again


def _takers() -> list[tuple[str, object]]:
    from fem_selection import evolution, learning, optimize, steady, studies
    from fem_selection.steady import find_equilibria, find_limit, find_steady_state

    return [
        ("forward", evolution.integrate),
        ("forward", studies.forward),
        ("steady", find_limit),
        ("steady", find_steady_state),
        ("steady", find_equilibria),
        ("steady", steady.analyze_steady_states),
        ("stability", studies.stability),
        ("hjb", studies.hjb),
        ("stochastic", optimize.descend),
        ("optimizer", optimize.minimize),
        ("optimizer", optimize.approximate_successively),
        ("regularization", learning.Functional.__init__),
        ("output", fs.studies.train),
    ]


def test_the_numerics_take_the_tables_of_the_case_file():
    """Fails if a table's class is not the one that the numerics name, so that its values would be copied."""
    case = Case()
    for table, function in _takers():
        kinds = [kind for hint in get_type_hints(function).values() for kind in (hint, *get_args(hint))]
        named_there = [kind for kind in kinds if kind in CLASSES.values()]
        assert any(isinstance(getattr(case, table), kind) for kind in named_there), (table, function)


def test_a_case_has_the_defaults_of_the_classes():
    """Fails if the case file's defaults are others than those of an object built in Python."""
    case = parse_case({})
    for field in dataclasses.fields(case):
        value = getattr(case, field.name)
        if dataclasses.is_dataclass(value):
            assert value == type(value)() and type(value) in CLASSES.values()


# ── building them in Python ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        ("ForwardSettings", {"rtol": 3}, "ForwardSettings.rtol: must be in [1e-14, 1), got 3"),
        ("StepSettings", {"growth_bound": math.nan}, "StepSettings.growth_bound: must be above 0, got nan"),
        ("LimitSettings", {"horizon": 1e-3}, "LimitSettings.horizon: must be above 0.001, got 0.001"),
        ("NewtonSettings", {"max_iterations": 2.5}, "NewtonSettings.max_iterations: must be an integer, got 2.5"),
        ("OptimizerSettings", {"method": "mas"}, "OptimizerSettings.method: unknown name 'mas'; did you mean 'msa'?"),
        ("OptimizerSettings", {"max_iter": 3}, "OptimizerSettings.max_iter: unknown setting; did you mean max_iter"),
        ("Regularization", {"kernel": -1e-3}, "Regularization.kernel: must be at least 0, got -0.001"),
        ("DataSettings", {"moved": {"shift": -1}}, "DataSettings.moved.shift: must be at least 0, got -1"),
        ("DomainSettings", {"cells": (3, 0)}, "DomainSettings.cells[1]: must be at least 1, got 0"),
        ("HjbSettings", {"levels": True}, "HjbSettings.levels: must be an integer, got true"),
        ("StabilitySettings", {"range": (2.0, 2.0)}, "StabilitySettings.range: must be two different finite numbers"),
    ],
)
def test_a_bad_value_is_named(cls, values, message):
    """Fails if the error is another one than `InvalidInput`, or does not say class, field, what is allowed and what was
    given."""
    with pytest.raises(fs.InvalidInput) as caught:
        CLASSES[cls](**values)
    assert message in str(caught.value)


def test_all_bad_values_are_named_at_once():
    """Fails if the first fault hides the others, or if they are lost on the way to another rank."""
    with pytest.raises(fs.InvalidSettings) as caught:
        fs.SteadySettings(states=0, horizon=-1.0, tolerance="small")
    assert {fault.key for fault in caught.value.faults} == {"states", "horizon", "tolerance"}
    there = pickle.loads(pickle.dumps(caught.value))
    assert str(there) == str(caught.value) and there.faults == caught.value.faults


def test_values_of_numpy_and_paths_are_taken_for_what_they_are():
    """Fails if a number that NumPy computed is refused, or stays one of NumPy, which no TOML file can hold."""
    found = fs.ForwardSettings(rtol=np.float64(1e-3), until=np.int64(3), times=np.int32(5), estimates=np.False_)
    assert (found.rtol, found.until, found.times, found.estimates) == (1e-3, 3.0, 5, False)
    assert [type(value) for value in (found.rtol, found.until, found.times)] == [float, float, int]
    assert fs.settings.DomainSettings(cells=np.array([3, 4]), upper=2).cells == (3, 4)
    assert fs.OutputSettings(directory=Path("here") / "there").directory == "here/there"
    assert fs.settings.StepSettings(growth_bound=math.inf).growth_bound == math.inf


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_they_are_frozen_and_built_by_keyword(cls):
    """Fails if one has no public name, if a field that moves gives its values to another, if one can be set later, or
    if a changed copy is not checked."""
    assert getattr(fs.settings, cls.__name__) is cls
    assert all(entry.kind is entry.KEYWORD_ONLY for entry in inspect.signature(cls).parameters.values())
    with pytest.raises(TypeError, match="positional"):
        cls(1)
    one, field = cls(), dataclasses.fields(cls)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, field, getattr(one, field))
    with pytest.raises(fs.InvalidInput, match=f"{cls.__name__}.{field}"):
        dataclasses.replace(one, **{field: object()})


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_every_field_is_described(cls):
    """Fails if a setting is missing in the docstring of the class that has it, or described where it is not."""
    described = {
        line.split(":")[0].strip()
        for line in inspect.getdoc(cls).partition("Attributes:")[2].partition("\n\n")[0].splitlines()
        if line.startswith("    ") and not line.startswith("     ") and ":" in line
    }
    inherited = {name for base in cls.__mro__[1:] for name in inspect.get_annotations(base)}
    assert described == {field.name for field in dataclasses.fields(cls)} - inherited


def test_a_copy_with_other_fields_derives_anew_what_was_left_out():
    """Fails if `dataclasses.replace` keeps what followed from the old fields as if it had been given."""
    case = parse_case({"dynamics": {"layers": 4}, "domain": {"cells": 5}})
    replace = dataclasses.replace
    for dynamics in (case.dynamics, pickle.loads(pickle.dumps(case.dynamics))):
        assert replace(dynamics, layers=8).control_intervals == 8
    assert replace(case.dynamics, layers=8, control_intervals=2).control_intervals == 2
    assert replace(settings.DynamicsSettings(layers=8, control_intervals=4), horizon=2.0).control_intervals == 4
    assert settings.DynamicsSettings(layers=8, control_intervals=case.dynamics.control_intervals).control_intervals == 4
    box = replace(case.domain, shape="box")
    assert (box.cells, box.lower, box.upper, box.cell) == ((5, 5, 5), (0.0,) * 3, (1.0,) * 3, "hexahedron")
    assert replace(box, shape="interval").cells == (5,)
    assert replace(case.data, initial="y1").source == "formula"
    assert replace(case.objective, loss="tracking").controls == ("kernel", "bias")
    assert replace(fs.DepthGrid(layers=4), layers=8).intervals == 8
    assert replace(fs.DepthGrid(layers=4, intervals=2), layers=8).intervals == 2


def test_what_follows_from_other_keys_follows_again_from_a_written_case():
    """Fails if the case of a run holds the resolved number as a key, which then contradicts an override."""
    text = dump_case(parse_case({"dynamics": {"layers": 4}}))
    assert "# control_intervals = 4" in text
    assert parse_case(tomllib.loads(text), overrides=["dynamics.layers=6"]).dynamics.control_intervals == 6


@pytest.mark.parametrize(
    ("cls", "key", "given", "meant"),
    [
        (settings.OptimizerSettings, "method", "lbfgs", "'lmvm'"),
        (settings.OptimizerSettings, "method", "L-BFGS-B", "'blmvm'"),
        (settings.OptimizerSettings, "method", "trust-constr", "'bntr'"),
        (settings.OptimizerSettings, "method", "adamw", "stochastic.method = 'adam'"),
        (settings.OptimizerSettings, "method", "SGD", "stochastic.method = 'momentum'"),
        (settings.StochasticSettings, "method", "AdamW", "'adam'"),
        (settings.StochasticSettings, "method", "lbfgs", "optimizer.method = 'lmvm'"),
        (settings.DynamicsSettings, "activation", "swish", "'silu'"),
        (settings.DynamicsSettings, "activation", "LeakyReLU", "'leaky_relu'"),
        (settings.DynamicsSettings, "activation", "logistic", "'sigmoid'"),
        (settings.DynamicsSettings, "activation", "exp", "the formula 'exp(s)'"),
        (settings.DynamicsSettings, "scheme", "RK45", "'rk4'"),
        (settings.DynamicsSettings, "scheme", "CrankNicolson", "'crank_nicolson'"),
        (settings.ObjectiveSettings, "loss", "MSELoss", "'least_squares'"),
        (settings.ObjectiveSettings, "loss", "BCEWithLogitsLoss", "'logistic'"),
        (settings.ForwardSettings, "method", "bdf", "'implicit'"),
        (settings.DomainSettings, "shape", "square", "'rectangle'"),
        (settings.DomainSettings, "shape", "triangle", "domain.cell = 'triangle'"),
    ],
)
def test_names_of_other_libraries_are_understood(cls: type, key: str, given: str, meant: str):
    """Fails if a user who knows the thing by another library's name is not told ours."""
    with pytest.raises(settings.InvalidSettings, match=re.escape(f"unknown name {given!r}; did you mean {meant}?")):
        cls(**{key: given})


def test_python_suggests_as_the_case_file_does():
    """Fails if the functions that find a thing by its name know fewer names than the settings."""
    for find, given, meant in ((fs.find_activation, "swish", "silu"), (fs.find_scheme, "rk45", "rk4")):
        with pytest.raises(fs.InvalidInput, match=f"did you mean {meant!r}"):
            find(given)


def test_suggestions_lead_to_names_that_exist():
    """Fails if a suggestion is no name of ours, or stands for two names of one key."""
    ours = {name: key for key, names in named.ELSEWHERE.items() for name in names}
    assert set(synonyms._OTHERS) <= {*ours, *named.SPACINGS, *named.SCHEDULES}
    for names in (*named.ELSEWHERE.values(), named.SPACINGS, named.SCHEDULES):
        others = [other for name in names for other in synonyms._OTHERS.get(name, "").split()]
        assert len(set(others)) == len(others)


_HOSTILE = (
    0,
    -1,
    3,
    1e308,
    math.nan,
    -math.inf,
    2**63,
    10**400,
    True,
    0.5,
    5e-324,
    "",
    "x" * 10**5,
    "\x00",
    [],
    [1],
    {},
)
_HOSTILE += ([[1]], {"a": 1}, b"x", object(), "(" * 500, "9" * 5000, 1 + 2j, [1] * 2000, ["a", "a"], -0.0, [True])


@pytest.mark.parametrize("table", ["", *(f.name for f in dataclasses.fields(Case) if f.default is dataclasses.MISSING)])
def test_hostile_values_are_taken_or_refused_by_name(table: str):
    """Fails if a value is answered by another error than ours, by thousands of lines, or without its key."""
    owner = Case if not table else type(getattr(parse_case({}), table))
    for field in dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ():
        if not table and field.name not in ("title", "seed", "parameters"):
            continue
        for value in _HOSTILE:
            try:
                parse_case({table: {field.name: value}} if table else {field.name: value})
            except fs.ConfigError as error:
                assert field.name in str(error) and all(len(fault) < 1200 for fault in error.faults)
                assert len(error.faults) < 20


def test_settings_need_no_finite_elements():
    """Fails if a module of the settings imports FEniCSx, PETSc or SciPy."""
    code = "import sys, fem_selection.settings; print(sorted(sys.modules.keys() & {'dolfinx', 'petsc4py', 'scipy'}))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (settings.ForwardSettings, "times"),
        (settings.SteadySettings, "snapshots"),
        (settings.StabilitySettings, "searches"),
        (settings.HjbSettings, "snapshots"),
    ],
)
def test_lists_that_are_made_first_have_a_largest_length(table, key):
    """Fails if a run fills the memory with a list of 10⁹ times or values before it does anything."""
    with pytest.raises(fs.InvalidSettings, match=rf"{key}: must be in \[[02], 1e\+06\], got 1000000000"):
        table(**{key: 10**9})
