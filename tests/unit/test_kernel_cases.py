# SPDX-License-Identifier: MIT
"""The kernel of a case: formulas of every representation, faults by their keys, runs that are resumed and predict."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
from commands import call_application, read_report
from mpi4py import MPI
from problems import make_domain, smooth_states

from fem_selection.cases.field import build_field
from fem_selection.cases.kernel import build_kernel, kernel_depends_on_time
from fem_selection.cases.learning import build_levels, build_problem
from fem_selection.cases.levels import level_cases
from fem_selection.config import dump_case, parse_case
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import ConfigError, InvalidInput
from fem_selection.hjb.reduction import ReducedProblem
from fem_selection.kernels import DenseKernel, LocalKernel, SeparableKernel, SumKernel
from fem_selection.learning import assess_optimality

INTERVAL = {"domain": {"shape": "interval", "cells": 6, "upper": 2.0}, "data": {"source": "formula", "initial": "y"}}
REPRESENTATIONS = ["separable", "local", ["local", "separable", "dense"], "representer"]
PLAIN = ("--set", "output.figures=false")
CASE = """
[domain]
shape = "interval"
cells = 8
[dynamics]
layers = 3
representation = {representation}
[data]
file = "{data}"
[objective]
loss = "least_squares"
[optimizer]
max_iterations = 8
[output]
checkpoint_every = 2
fields = false
"""


def parse(dynamics, **tables):
    """A case on an interval with these keys of `dynamics`."""
    return parse_case({**INTERVAL, "dynamics": dynamics, **tables})


def kernel_of(dynamics, cells=6, **tables):
    """The kernel of such a case, its space, and the case."""
    case = parse(dynamics, **tables)
    space = StateSpace(make_domain("interval", cells, upper=2.0))
    return build_kernel(case, space, DepthGrid(layers=2)), space, case


def test_the_kernel_is_dense_if_nothing_is_said():
    """Fails if cases without the key change, or a resolved case does not read back."""
    kernel, _, case = kernel_of({})
    assert isinstance(kernel, DenseKernel) and case.dynamics.representation == ("dense",)
    for dynamics in ({"representation": ["local", "separable"], "factors": [["y", "z"]]}, {"representation": "local"}):
        case = parse(dynamics)
        assert parse_case(tomllib.loads(dump_case(case))) == case
    text, names = "local + separable", ["local", "separable"]
    assert parse({"representation": text}).dynamics == parse({"representation": names}).dynamics


def test_kernels_by_formulas():
    """Fails if a formula is read in another variable, at another time, or as another coefficient."""
    dynamics = {
        "representation": ["dense", "separable", "local"],
        "kernel": "a*y*z",
        "factors": [["sin(y)", "t + z"], ["1", "z**2"]],
        "multiplication": "cos(y)",
        "diffusion": "0.1",
    }
    kernel, space, case = kernel_of(dynamics, parameters={"a": 3.0})
    y = space.coordinates[:, 0]
    assert isinstance(kernel, SumKernel)
    dense, separable, local = kernel.parts
    np.testing.assert_allclose(dense.weights[1], 3 * np.outer(y, y))
    for c, t in enumerate((0.25, 0.75)):
        np.testing.assert_allclose(separable.factors[c][0], np.column_stack([np.sin(y), np.ones_like(y)]))
        np.testing.assert_allclose(separable.factors[c][1], np.column_stack([t + y, y**2]))
    assert local.names == ("multiplication", "diffusion") and local.length == pytest.approx(0.2)
    np.testing.assert_allclose(local.coefficients[0], [np.cos(y), np.full_like(y, 0.1)])
    assert kernel_depends_on_time(case)
    still = {"representation": "local", "convection": "y", "local_terms": ["convection", "diffusion"]}
    kernel, _, case = kernel_of(still | {"local_length": 0.5})
    assert isinstance(kernel, LocalKernel) and kernel.names == ("convection", "diffusion") and kernel.length == 0.5
    np.testing.assert_array_equal(kernel.coefficients[0][1], 0.0)
    assert not kernel_depends_on_time(case)


def test_a_kernel_without_the_parameter_is_built_once():
    """Fails if a kernel of another value is taken for that of this one, or if the same one is built for every value."""
    data = {"source": "formula", "initial": "0", "samples": 1}

    def build(a, dynamics):
        tables = {"domain": {"shape": "interval", "cells": 4}, "data": data, "parameters": {"a": a, "mu": 2.0}}
        return build_field(parse_case({**tables, "dynamics": dynamics}), MPI.COMM_SELF)

    for kernel, changes in (("exp(y*z)", False), ("a*y + z", True), ("mu*y", False)):
        dynamics = {"kernel": kernel, "activation": "tanh(a*s)", "bias": "a*y"}
        problem = build(1.0, dynamics)
        other = problem.field_at({"a": 3.0})
        assert (other.kernel is problem.field.kernel) != changes
        ones = np.ones((problem.space.num_local, 1), order="F")
        np.testing.assert_array_equal(other.rate(ones), build(3.0, dynamics).field.rate(ones))


def test_a_moving_local_kernel_is_compiled_once(monkeypatch):
    """Fails if a local kernel whose formula contains t compiles its forms again at every time, or does not move."""
    tables = {
        "domain": {"shape": "interval", "cells": 4},
        "data": {"source": "formula", "initial": "0", "samples": 1},
        "dynamics": {"representation": "dense + local", "kernel": "t", "multiplication": "t + y", "diffusion": "t"},
    }
    field = build_field(parse_case(tables), MPI.COMM_SELF).field
    monkeypatch.setattr("fem_selection.kernels.local_forms.fem.form", None)
    field.move_to(2.0)
    np.testing.assert_allclose(field.kernel.parts[1].coefficients[0, 1], 2.0)


def test_random_kernels():
    """Fails if rank, scale or seed of a case do not reach the separable kernel."""
    kernel, _, _ = kernel_of({"representation": "separable"})
    assert isinstance(kernel, SeparableKernel) and kernel.rank == 8
    other, space, _ = kernel_of({"representation": "separable", "rank": 3, "start_scale": 0.2}, seed=5)
    wanted = SeparableKernel.random(space, 2, 3, scale=0.2, seed=6)
    np.testing.assert_array_equal(other.parameters(), wanted.parameters())


@pytest.mark.parametrize(
    ("dynamics", "tables", "message"),
    [
        ({"rank": 3}, {}, "dynamics.rank: belongs to a separable kernel, which dynamics.representation = ['dense']"),
        ({"local_length": 0.1}, {}, "dynamics.local_length: belongs to a local kernel"),
        ({"representation": "local", "kernel": "y"}, {}, "dynamics.kernel: belongs to a dense kernel"),
        ({"representation": "lokal"}, {}, "dynamics.representation[0]: unknown name 'lokal'; did you mean 'local'?"),
        ({"representation": ["local", "local"]}, {}, "dynamics.representation: must name at least one, and none twice"),
        ({"representation": []}, {}, "dynamics.representation: must name at least one"),
        ({"representation": "separable", "rank": 0}, {}, "dynamics.rank: must be at least 1"),
        (
            {"representation": "separable", "rank": 2, "factors": [["y", "z"]]},
            {},
            "dynamics.rank: dynamics.factors says it already, 1",
        ),
        (
            {"representation": "separable", "factors": [["y"]]},
            {},
            "dynamics.factors[0]: must be a list of two formulas",
        ),
        ({"representation": "separable", "factors": [["y", "y"]]}, {}, "dynamics.factors[0][1]: unknown name 'y'"),
        ({"representation": "local", "diffusion": "z"}, {}, "dynamics.diffusion: unknown name 'z'"),
        ({"representation": "local", "convection": ["1", "2"]}, {}, "dynamics.convection: has 2 formulas"),
        (
            {"representation": "local", "local_terms": "diffusion", "convection": "1"},
            {},
            "dynamics.convection: dynamics.local_terms leaves this term out",
        ),
        ({"representation": "local"}, {"space": {"family": "dg"}}, "dynamics.local_terms: functions of space.family"),
        (
            {"representation": ["dense", "local"]},
            {"objective": {"kernel_bounds": [-1.0, 1.0]}, "optimizer": {"method": "blmvm"}},
            "objective.kernel_bounds: bounds of a sum are not known",
        ),
        ({"anchors": 3}, {}, "dynamics.anchors: belongs to a representer kernel"),
        ({"representation": "representer", "anchors": 0}, {}, "dynamics.anchors: must be 'all', a number of samples"),
        ({"representation": "representer", "anchors": ["z"]}, {}, "dynamics.anchors[0]: unknown name 'z'"),
        ({"representation": "representer + local"}, {}, "dynamics.representation: a representer kernel is not added"),
        ({"representation": "representer", "scheme": "implicit_euler"}, {}, "dynamics.scheme: 'implicit_euler'"),
        ({"representation": "representer"}, {"objective": {"controls": ["bias"]}}, "objective.controls: a representer"),
        (
            {"representation": "representer"},
            {"objective": {"kernel_bounds": [-1.0, 1.0]}, "optimizer": {"method": "blmvm"}},
            "objective.kernel_bounds: the controls of a representer kernel are coordinates",
        ),
        (
            {"representation": "representer"},
            {"regularization": {"kernel_depth": 1.0}},
            "regularization.kernel_depth: differences in depth of coordinates",
        ),
        (
            {"representation": "separable"},
            {"optimizer": {"method": "msa"}},
            "optimizer.method: 'msa' needs dynamics.representation = 'dense'",
        ),
    ],
)
def test_faults_name_the_key(dynamics, tables, message):
    """Fails if a key is ignored without a word, or a fault is told of another key."""
    with pytest.raises(ConfigError) as caught:
        parse(dynamics, **tables)
    assert any(fault.startswith(message) for fault in caught.value.faults), caught.value.faults


def test_anchors_of_a_case():
    """Fails if the anchors are not the samples, or the functions, that the case names; or another level has others."""
    data = {"source": "formula", "initial": "cos(3*y) + s", "target": "y", "samples": 4}  # of rank two
    tables = {"data": data, "objective": {"loss": "tracking"}}
    found = {}
    for anchors in ("all", 2, ["1", "y**2"]):
        case = parse({"representation": "representer", "layers": 2, "anchors": anchors}, **tables)
        assert parse_case(tomllib.loads(dump_case(case))) == case
        problem = build_problem(case)
        found[str(anchors)] = problem.functional.stepper.kernel.anchors
        y = problem.space.coordinates[:, 0]
    samples = problem.train.states(np.arange(4), None)
    np.testing.assert_array_equal(found["all"], samples)
    assert found["2"].shape[1] == 2 and np.linalg.matrix_rank(np.column_stack([found["2"], samples])) == 2
    np.testing.assert_array_equal(found["['1', 'y**2']"], np.column_stack([np.ones_like(y), y**2]))

    levels = level_cases(parse({"representation": "representer", "anchors": 3}, multilevel={"cells": [2]}, **tables))
    coarse, fine = (problem.functional.stepper.kernel for problem in build_levels(levels))
    np.testing.assert_allclose(coarse.anchors[-1], fine.anchors[-1], atol=1e-14)  # values at the end, y = 2
    with pytest.raises(InvalidInput, match="knows no training"):
        build_field(parse({"representation": "representer"}, **tables))


def test_no_value_function_of_other_kernels():
    """Fails if the reduced problem, whose kernel is free at each pair of cells, is made for a restricted one."""
    tables = {
        "domain": {"shape": "interval", "cells": 1},
        "space": {"family": "dg", "degree": 0},
        "data": {"source": "formula", "initial": "y", "target": "1"},
        "objective": {"loss": "tracking"},
    }
    problem = build_problem(parse({"representation": "separable"}, **tables))
    with pytest.raises(InvalidInput, match=r"dynamics\.representation must be 'dense'"):
        ReducedProblem.from_functional(problem.functional, problem.scaled_bounds)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Cases of every representation with a data file."""
    place = tmp_path_factory.mktemp("kernels")
    y = np.linspace(0, 1, 9)
    x = np.array([np.cos((1 + j % 3) * y + j) for j in range(12)])
    np.savez(place / "data.npz", x=x, y=np.sin(np.arange(12.0))[:, None])
    for number, representation in enumerate(REPRESENTATIONS):
        text = CASE.format(representation=json.dumps(representation), data=place / "data.npz")
        (place / f"{number}.toml").write_text(text)
    return place


@pytest.mark.parametrize("number", range(len(REPRESENTATIONS)))
def test_runs_resume_and_predict(folder, number):
    """Fails if a representation's parameters are lost between a run and its continuation or predictions, or a figure
    needs values of w that are not there."""
    case, whole, cut = folder / f"{number}.toml", folder / f"whole{number}", folder / f"cut{number}"
    assert call_application("train", case, "--output", whole) == 0
    assert call_application("train", case, "--output", cut, *PLAIN, "--set", "optimizer.max_iterations=4") == 0
    assert call_application("train", case, "--output", cut, "--resume", *PLAIN) == 0
    reports = [read_report(place) for place in (whole, cut)]
    assert reports[1]["resumed_from_iteration"] == 4
    assert reports[1]["objective"] == pytest.approx(reports[0]["objective"], rel=1e-9)
    figures = {path.name for path in (whole / "figures").iterdir()}
    names = REPRESENTATIONS[number]
    assert ("coefficients.png" in figures) == ("local" in names)
    assert ("controls.png" in figures) == (names != "local")
    assert call_application("predict", whole, "--data", folder / "data.npz") == 0
    problem = build_problem(parse_case(tomllib.loads((whole / "case.toml").read_text())))
    assert np.load(whole / "predictions.npz")["outputs"].shape == (12, 1)
    assert problem.functional.stepper.kernel.num_intervals == 3
    if number == 0:
        assert call_application("verify", case, "--output", folder / "verify") == 0
        found = assess_optimality(
            problem.scaled_functional, problem.scaled_functional.to_controls(problem.scaled_start)
        )
        assert "not dense" in found.declined["maximum_principle_gap"] and "not dense" in found.declined["kernel_rank"]


def test_a_few_values_of_large_kernels(spaces):
    """Fails if values at some nodes are those at others, or y and z are exchanged."""
    space = spaces("interval", 5, 2, "collocated")
    nodes = np.array([3, 0, 7])
    kernel = SeparableKernel.random(space, 2, 2, scale=1.0, seed=1)
    dense = DenseKernel(space, 2)
    dense.assign(np.stack([(u @ v.T).T for u, v in kernel.factors]).ravel())
    f = space.gather(smooth_states(space, slice(0, 1)))
    everything = kernel.values(1, np.arange(space.num_nodes))
    np.testing.assert_allclose(kernel.values(1, nodes), everything[np.ix_(nodes, nodes)])
    np.testing.assert_allclose(dense.values(1, nodes), everything[np.ix_(nodes, nodes)], rtol=1e-13)
    out = space.create_block(1)
    kernel.apply(1, smooth_states(space, slice(0, 1)), out)
    weights = space.gather(space.weights[:, None])
    np.testing.assert_allclose(everything @ (weights * f), space.gather(out), rtol=1e-12, atol=1e-14)
