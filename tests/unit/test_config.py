# SPDX-License-Identifier: MIT
"""The case file: defaults, every kind of fault with its key, all at once, and the round trip."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fem_selection.config import Case, dump_case, load_case, parse_case
from fem_selection.errors import ConfigError
from fem_selection.settings.names import ACTIVATIONS, METHODS, PARTS, SCHEMES


def parse(text: str = "", *overrides: str, base: Path | None = None) -> Case:
    """The case of a TOML text."""
    return parse_case(tomllib.loads(text), base, overrides)


def faults(text: str = "", *overrides: str) -> tuple[str, ...]:
    """All faults of a text that has some."""
    with pytest.raises(ConfigError) as caught:
        parse(text, *overrides)
    return caught.value.faults


def fault(text: str = "", *overrides: str) -> str:
    """The only fault of a text."""
    found = faults(text, *overrides)
    assert len(found) == 1, found
    return found[0]


def test_defaults_of_an_empty_case():
    """Fails if a default changes, if one that depends on another key is not resolved, or if a case can be altered once
    it is read."""
    case = parse()
    assert case == Case()
    assert case.domain.shape == "rectangle" and case.domain.cell == "quadrilateral"
    assert case.domain.cells == (7, 7) and case.domain.lower == (0.0, 0.0) and case.domain.upper == (1.0, 1.0)
    assert case.dynamics.control_intervals == case.dynamics.layers == 10
    assert case.data.source == "digits" and case.data.moved is None
    assert case.objective.controls == ("kernel", "bias", "readout")
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.seed = 1


def test_values_are_normalised():
    """Fails if one number is not spread over the directions, or a synonym, a capital letter, a repeated control or a
    whole number in place of a float stays as it was written."""
    case = parse(
        """
        [domain]
        shape = "Box"
        cells = [3]
        lower = -1
        upper = [1, 2, 3]
        cell = "tetrahedron"
        [dynamics]
        scheme = "RK3-SSP"
        layers = 12
        control_intervals = 4
        [data]
        source = "formula"
        initial = "y0*s"
        target = "y2"
        [objective]
        loss = "tracking"
        [optimizer]
        method = "tao_cg"
        options = {tao_ls_type = "armijo", tao_monitor = true, x = 1, z = 0.5}
        """
    )
    assert case.domain.cells == (3, 3, 3) and case.domain.lower == (-1.0, -1.0, -1.0)
    assert all(isinstance(value, float) for value in case.domain.lower + case.domain.upper)
    assert case.dynamics.scheme == "ssprk3" and case.dynamics.control_intervals == 4
    assert case.objective.controls == ("kernel", "bias") and case.optimizer.method == "cg"
    assert case.optimizer.options == {"tao_ls_type": "armijo", "tao_monitor": True, "x": 1, "z": 0.5}
    assert case.optimizer.options["tao_monitor"] is True
    assert parse("objective.loss = 'cross_entropy'").objective.loss == "softmax"
    assert parse("objective.controls = ['bias', 'kernel', 'bias']").objective.controls == ("kernel", "bias")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("dynamics.layer = 3", "dynamics.layer: unknown key; did you mean dynamics.layers?"),
        ("domian.cells = 3", "domian: unknown key; did you mean domain?"),
        ("layers = 3", "layers: unknown key; did you mean dynamics.layers or multilevel.layers?"),
        ("optimizer.batch = 3", "optimizer.batch: unknown key; did you mean stochastic.batch?"),
        ("output.xyz = 3", "output.xyz: unknown key; output has directory"),
        ("data.moved.shft = 1", "data.moved.shft: unknown key; did you mean data.moved.shift?"),
        ("domain = 3", "domain: must be a table"),
        ("[[domain]]", "domain: must be a table"),
        ("data.moved = 3", "data.moved: must be a table"),
        ("title = 3", "title: must be a string"),
        ("seed = -1", "seed: must be in [0, 4.29497e+09], got -1"),
        ("dynamics.layers = '10'", "dynamics.layers: must be an integer, got '10'"),
        ("dynamics.layers = true", "dynamics.layers: must be an integer, got true"),
        ("dynamics.layers = 10.0", "dynamics.layers: must be an integer, got 10.0"),
        ("dynamics.horizon = true", "dynamics.horizon: must be a number, got true"),
        ("dynamics.horizon = nan", "dynamics.horizon: must be a finite number"),
        ("dynamics.horizon = inf", "dynamics.horizon: must be a finite number"),
        ("dynamics.horizon = 0", "dynamics.horizon: must be above 0, got 0"),
        ("output.figures = 1", "output.figures: must be true or false, got 1"),
        ("space.degree = 7", "space.degree: must be in [0, 6], got 7"),
        ("space.degree = 0", "space.degree: must be an integer in [1, 6]"),
        ("data.test_fraction = 1", "data.test_fraction: must be in [0, 1), got 1"),
        ("data.moved.shift = -1", "data.moved.shift: must be at least 0"),
        ("data.moved.shift = '1'", "data.moved.shift: must be a number"),
        ("data.shape = []", "data.shape: must be a list that is not empty"),
        ("data.shape = [8, 0]", "data.shape[1]: must be at least 2"),
        ("data.file = ''", "data.file: must be a string that is not empty"),
        ("domain.cells = [7, 0]", "domain.cells[1]: must be at least 1, got 0"),
        ("domain.cells = 7.0", "domain.cells[0]: must be an integer"),
        ("domain.cells = [7, 7, 7]", "domain.cells: domain.shape = 'rectangle' needs one number or a list of 2"),
        ("domain.cells = []", "domain.cells: domain.shape"),
        ("domain.lower = 1", "domain.upper: must be above domain.lower = 1.0 in direction 0"),
        ("domain.upper = [1, -1]", "domain.upper: must be above domain.lower = 0.0 in direction 1"),
        ("domain.cell = 'tetrahedron'", "domain.cell: 'tetrahedron' does not fit domain.shape = 'rectangle'"),
        ("domain.grading = 0.0", "domain.grading: must be above 0"),
        ("dynamics.scheme = 'eulr'", "dynamics.scheme: unknown name 'eulr'; did you mean 'euler'?"),
        ("dynamics.control_intervals = 3", "dynamics.control_intervals: must divide dynamics.layers = 10, got 3"),
        ("dynamics.control_intervals = 0", "dynamics.control_intervals: must be at least 1"),
        ("dynamics.kernel = 'y0 - z'", "dynamics.kernel: unknown name 'z' at column 6"),
        ("dynamics.bias = 'z0'", "dynamics.bias: unknown name 'z0'"),
        ("dynamics.bias = \"__import__('os')\"", "dynamics.bias: unknown function '__import__'"),
        ("dynamics.kernel = 1", "dynamics.kernel: must be a string"),
        ("objective.controls = []", "objective.controls: must name at least one"),
        ("objective.controls = ['kernels']", "objective.controls[0]: unknown name 'kernels'; did you mean 'kernel'?"),
        ("objective.controls = 'kernel'", "objective.controls: must be a list"),
        ("optimizer.method = 'blmvm'\nobjective.bias_bounds = [1, 1]", "objective.bias_bounds: the lower bound"),
        ("optimizer.method = 'blmvm'\nobjective.bias_bounds = [1]", "objective.bias_bounds: must be a list of two"),
        ("optimizer.method = 'blmvm'\nobjective.bias_bounds = [0, inf]", "objective.bias_bounds[1]: must be a finite"),
        ("optimizer.options.x = [1]", "optimizer.options.x: must be a string, a finite number or true/false"),
        ("optimizer.options.x = nan", "optimizer.options.x: must be"),
        ("optimizer.memory = 2024-01-01", "optimizer.memory: must be an integer"),
    ],
)
def test_each_fault_is_told_by_its_key(text, start):
    """Fails if a wrong key, type, range or name passes, brings other faults along, or is told without its key and what
    was expected."""
    assert fault(text).startswith(start)


@pytest.mark.parametrize(
    ("text", "start", "advice"),
    [
        ("domain.cell='triangle'\nspace.degree=2", "space.mode: 'collocated'", "space.mode = 'galerkin'"),
        ("domain.shape='interval'", "data.source: 'digits'", "domain.shape = 'rectangle'"),
        ("data.source='npz'", "data.file: ", "needs a file"),
        ("data.file='missing.npz'", "data.file: no such file", "missing.npz"),
        ("data.source='formula'", "data.initial: ", "needs a formula in y and s"),
        ("data.source='formula'\ndata.initial='s'\nobjective.loss='tracking'", "data.target: ", "needs a formula"),
        ("data.source='formula'\ndata.initial='s'\ndata.moved={}", "data.moved: ", "digits and npz"),
        ("objective.loss='tracking'", "objective.loss: 'tracking'", "'least_squares'"),
        ("optimizer.hessian='gauss_newton'", "optimizer.hessian: 'gauss_newton' is for Newton's methods", "'lmvm'"),
        ("objective.kernel_bounds=[-1, 1]", "optimizer.method: 'lmvm' cannot keep objective.kernel_bounds", "'bqnls'"),
        ("objective.bias_bounds=[-1, 1]", "optimizer.method: 'lmvm' cannot keep objective.bias_bounds", "'sqh'"),
        ("optimizer.method='cg'\nobjective.bias_bounds=[-1, 1]", "optimizer.method: 'cg'", "'blmvm'"),
    ],
)
def test_keys_that_contradict_each_other(text, start, advice):
    """Fails if two keys that are right alone and impossible together pass, or if the message shows no way out."""
    assert fault(text).startswith(start)
    assert advice in fault(text)


def test_tracking_has_no_readout_to_list():
    """Fails if a readout, which tracking does not have, is accepted among the controls."""
    text = "data.source='formula'\ndata.initial='s'\ndata.target='s'\nobjective={loss='tracking', controls=%s}"
    assert fault(text % "['kernel', 'readout']").startswith("objective.controls: 'readout' is listed")
    assert parse(text % "['kernel']").objective.controls == ("kernel",)


def test_all_faults_at_once():
    """Fails if reading ends at the first fault, or if a fault of the file hides one of the overrides."""
    found = faults(
        """
        sed = 1
        [dynamics]
        layer = 3
        horizon = -1
        kernel = "y0 +"
        [space]
        degree = "two"
        [domian]
        [objective]
        bias_bounds = [-1, 1]
        """,
        "nonsense",
        "stochastic.rate=0",
    )
    assert sorted(line.partition(":")[0] for line in found) == [
        "domian",
        "dynamics.horizon",
        "dynamics.kernel",
        "dynamics.layer",
        "nonsense",
        "optimizer.method",
        "sed",
        "space.degree",
        "stochastic.rate",
    ]


def test_one_mistake_is_told_once():
    """Fails if a faulty shape drags the cells, the cell type, the formulas and the source along, or if it hides the
    faults of formulas in which the coordinates have no part."""
    text = "dynamics.kernel='y - z'\n[domain]\nshape='intervall'\ncells=[5]\nlower=[0]\ncell='interval'"
    assert fault(text).startswith("domain.shape: unknown name 'intervall'; did you mean 'interval'?")
    text = text.replace("y - z", "siin(y) + 1") + "\n[stability]\nstate='1 +'"
    found = [line.partition(": ")[2][:16] for line in faults(text + "\n", "dynamics.activation=tanhh(s)")]
    assert found == ["unknown name 'in", "unknown function", "unknown function", "not a formula, a"]
    assert fault("data.source='digit'\nobjective.loss='tracking'").startswith("data.source:")
    assert fault("dynamics.layers=0\ndynamics.control_intervals=3").startswith("dynamics.layers:")


def test_one_dimension_has_both_names():
    """Fails if one of y, y0 or of z, z0 does not name the coordinate of an interval, or if y1 does."""
    text = "domain.shape='interval'\ndata={source='formula', initial='y+y0'}\ndynamics.kernel='y-z+y0-z0+t'"
    assert parse(text).domain.cells == (7,)
    assert fault(text + "\ndynamics.bias='y1'").startswith("dynamics.bias: unknown name 'y1'")


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("dynamics.layers=20", "dynamics.layers", 20),
        ("optimizer.method=blmvm", "optimizer.method", "blmvm"),
        ("optimizer.method='blmvm'", "optimizer.method", "blmvm"),
        (" domain.cells = [3, 4]", "domain.cells", (3, 4)),
        ("output.figures=false", "output.figures", False),
        ("data.moved={shift=1}", "data.moved.shift", 1.0),
        ("data.moved.rotation=0.5", "data.moved.rotation", 0.5),
        ("title=a=b, c", "title", "a=b, c"),
        ("title=2024", "title", "2024"),
        ("dynamics.bias=0.50", "dynamics.bias", "0.50"),
        ("dynamics.bias=t*y0", "dynamics.bias", "t*y0"),
        ("title=", "title", ""),
        ("title=1\nseed=2", "title", "1\nseed=2"),
    ],
)
def test_an_override_sets_its_key_alone(override, path, value):
    """Fails if a value that is no TOML is not read as text, if one is read as another type than its key has, or if an
    override empties the table around its key."""
    case = parse("title = 'old'\noptimizer.memory = 3", override)
    found = case
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)
    assert case.optimizer.memory == 3


@pytest.mark.parametrize("override", ["", "=", "a", "dynamics.=1", ".layers=1", "=3"])
def test_malformed_overrides_are_refused(override):
    """Fails if an override without an equals sign, or with an empty name in its key, is passed over."""
    assert "malformed override" in fault("", override)


def test_overrides_are_checked_like_the_file():
    """Fails if an override escapes the checks of the file: an unknown key, a table in place of text, a key below one
    that is no table."""
    assert fault("", "dynamics.layer=3").startswith("dynamics.layer: unknown key; did you mean dynamics.layers?")
    assert fault("", "title.x=3").startswith("title: must be a string")
    assert "title is no table" in fault("title='a'", "title.x=3")


def test_last_override_wins_and_mapping_is_left_alone():
    """Fails if an earlier override wins, or if overrides are written into the caller's mapping."""
    mapping = {"data": {"file": "x.npz"}, "dynamics": {"layers": 3}}
    with pytest.raises(ConfigError):
        parse_case(mapping, overrides=["dynamics.layers=4"])
    assert mapping == {"data": {"file": "x.npz"}, "dynamics": {"layers": 3}}
    assert parse("", "seed=1", "seed=2").seed == 2


def test_file_is_relative_to_the_case(tmp_path, monkeypatch):
    """Fails if data.file is looked for in the working directory, or if the dumped case does not find it from another
    folder."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.npz").touch()
    (tmp_path / "sub" / "case.toml").write_text("[data]\nfile = 'x.npz'\n")
    monkeypatch.chdir(tmp_path)
    case = load_case(Path("sub/case.toml"))
    assert case.data.source == "npz"
    assert case.data.file == str(tmp_path / "sub" / "x.npz")
    (tmp_path / "resolved.toml").write_text(dump_case(case))
    assert load_case(tmp_path / "resolved.toml") == case


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"seed = 1\nseed =\n", "is not valid TOML: Invalid value (at line 2"),
        (b"seed = 1\nseed = 2\n", "is not valid TOML"),
        (b"title = '\xff'", "is not text in UTF-8"),
        (b"seed = " + b"1" * 5000, "is not valid TOML"),
        (b"a = " + b"[" * 5000, "is not valid TOML"),
        (None, "cannot be read: No such file"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, words):
    """Fails if broken TOML, bytes that are no UTF-8, nesting beyond Python's limits or a missing file raise another
    error than ConfigError, or one without the path."""
    path = tmp_path / "case.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_case(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_case(tmp_path)


def test_odd_input_is_a_fault_not_a_crash():
    """Fails if a null byte in a path, a number beyond all floats, an empty key or one that Python gives a meaning
    raises an error of Python's own."""
    assert fault(r'data.file = "a\u0000b"').startswith("data.file: ")
    assert fault("dynamics.horizon = 1" + "0" * 400).startswith("dynamics.horizon: ")
    assert fault("'' = 1")
    assert fault("dynamics.'a.b' = 1").startswith("dynamics.a.b: unknown key")
    assert fault("self = 1").startswith("self: unknown key")
    assert fault("dynamics.self = 1").startswith("dynamics.self: unknown key")


finite = st.floats(-1e300, 1e300)
positive = st.floats(1e-300, 1e300)
integers = st.integers(-(2**31) + 1, 2**31 - 1)
options = st.dictionaries(
    st.from_regex(r"x[a-z0-9_.-]*", fullmatch=True), st.text() | st.booleans() | integers | finite, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(
    title=st.text(),
    seed=st.integers(0, 2**32 - 2),
    cells=st.lists(st.integers(1, 9), min_size=2, max_size=2) | st.integers(1, 9),
    horizon=positive,
    names=st.tuples(st.sampled_from(ACTIVATIONS), st.sampled_from(SCHEMES), st.sampled_from(METHODS)),
    controls=st.lists(st.sampled_from(PARTS), min_size=1),
    moved=st.none() | st.fixed_dictionaries({}, optional={"shift": positive, "scale": positive}),
    directory=st.text(min_size=1),
    options=options,
)
def test_round_trip(title, seed, cells, horizon, names, controls, moved, directory, options):
    """Fails if a string is not escaped, a float loses digits, or a default is resolved to a value not accepted."""
    activation, scheme, method = names
    if method in ("msa", "damped_msa", "sqh"):  # they need what the maximum principle speaks of
        controls, options = [*controls, "kernel"], {}
    mapping = {
        "title": title,
        "seed": seed,
        "domain": {"cells": cells},
        "dynamics": {"activation": activation, "scheme": scheme, "horizon": horizon, "bias": "t*y0"},
        "data": {"moved": moved} if moved is not None else {},
        "objective": {"controls": controls},
        "optimizer": {"method": method, "options": options},
        "output": {"directory": directory},
    }
    case = parse_case(mapping)
    text = dump_case(case)
    again = parse_case(tomllib.loads(text))
    assert again == case
    assert dump_case(again) == text


def test_round_trip_of_tracking_with_bounds(tmp_path):
    """Fails if the writer leaves out a key of such a case, or writes one in a form that the reader refuses."""
    case = parse(
        """
        domain = {shape = "interval", cells = 5, grading = 2}
        space = {family = "dg", degree = 0, mode = "galerkin", quadrature_degree = 4}
        data = {source = "formula", initial = "y", target = "s", samples = 3, shape = [6]}
        objective = {loss = "tracking", kernel_bounds = [-1, 1]}
        optimizer.method = "bqnls"
        """
    )
    (tmp_path / "case.toml").write_text(dump_case(case))
    assert load_case(tmp_path / "case.toml") == case


def test_reading_a_case_loads_no_solver():
    """Fails if reading a case with formulas imports FEniCSx or SciPy, which the command line does only for a case that
    is right."""
    code = (
        "import sys; from fem_selection.config import parse_case; parse_case({'dynamics': {'bias': 'sin(y0)'}});"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'dolfinx', 'petsc4py', 'ufl', 'basix', 'scipy'}))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


# ── parameters and formulas ───────────────────────────────────────────────────────────────────────────────────────────


def test_parameters_stand_in_formulas():
    """Fails if a formula does not know the case's parameters, or an override of one is lost."""
    text = """
    parameters = {mu = 1.5}
    [dynamics]
    activation = "tanh(mu*s) - s"
    kernel = "mu*exp(-(y0 - z0)**2)"
    """
    assert parse(text, "parameters.mu=2").parameters == {"mu": 2.0}
    case = parse(text)
    assert parse(dump_case(case)) == case
    assert fault(text.replace("tanh(mu", "tanh(nu")).startswith("dynamics.activation: unknown name 'nu'")


@pytest.mark.parametrize("name", ["sin", "pi", "t", "y0", "s", "for", "a b"])
def test_parameters_hide_nothing(name):
    """Fails if a parameter may have a name that formulas read as something else, or cannot read."""
    assert fault(f'parameters = {{"{name}" = 1.0}}').startswith(f"parameters.{name}: is no name")


def test_words_for_activations_are_names():
    """Fails if a misspelt activation is taken for a formula, or the formula s for a name."""
    assert "did you mean 'tanh'" in fault('[dynamics]\nactivation = "tahn"')
    assert parse('[dynamics]\nactivation = "s"').dynamics.activation == "s"
    assert parse('[dynamics]\nactivation = "Leaky-ReLU"').dynamics.activation == "leaky_relu"
