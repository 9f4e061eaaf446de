# SPDX-License-Identifier: MIT
"""Training from coarse to fine: where each level starts and ends, order of the prolongation, resumed runs."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack

import numpy as np
import pytest
from mpi4py import MPI

import fem_selection as fs
from fem_selection.cases import level_cases
from fem_selection.config import dump_case, parse_case
from fem_selection.errors import ConfigError, InvalidInput
from fem_selection.io.runs import CHECKPOINT, claim_folder
from fem_selection.learning import prolong_controls
from fem_selection.settings import DomainSettings

CASE = {
    "domain": {"shape": "interval", "cells": 16},
    "space": {"degree": 1},
    "dynamics": {"layers": 4, "kernel": "sin(3*y)*z", "horizon": 1.5},
    "data": {"source": "formula", "initial": "cos(3*y) + s", "target": "sin(3*y) - s", "samples": 3},
    "objective": {"loss": "tracking"},
    "multilevel": {"cells": [3, 7], "layers": [2, 4]},
    "regularization": {"kernel": 0.1, "bias": 0.1},
    "optimizer": {"gradient_tolerance": 1e-4, "max_iterations": 500},
}
OFTEN = fs.OutputSettings(checkpoint_every=1, figures=False, fields=False)


def make(**more):
    """The case with other tables, and the problems of its levels on this process."""
    case = parse_case(CASE | more)
    return case, [fs.build_problem(level, MPI.COMM_SELF) for level in level_cases(case)]


def stop_at(question: int):
    """A function that answers yes from that question on."""
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) >= question

    return stop


def test_each_level_starts_at_the_controls_of_the_one_before():
    """Fails if a level starts at its own start or at x̂ taken for x, or the tolerance is not relative to the gradient at
    the very first start."""
    case, problems = make()
    report = fs.studies.train_levels(problems, case.optimizer, levels=case.multilevel).report
    levels = report.levels
    assert [level["nodes"] for level in levels] == [4, 8, 17] and [level["layers"] for level in levels] == [2, 4, 4]
    single = fs.build_problem(parse_case(CASE), MPI.COMM_SELF)
    alone = fs.studies.train(single, dataclasses.replace(case.optimizer, gradient_tolerance=1e-6, max_iterations=500))
    assert report.converged and report.objective == pytest.approx(alone.report.objective, rel=1e-4)
    for level in levels[1:]:
        assert level["objective_at_start"] < 0.5 * level["objective_without_levels"]
    same = fs.studies.train(fs.build_problem(parse_case(CASE), MPI.COMM_SELF), case.optimizer)
    assert report.iterations < same.report.iterations
    assert levels[0]["gradient_tolerance"] > levels[1]["gradient_tolerance"] > levels[2]["gradient_tolerance"]
    assert sum(level["work"] for level in levels[:-1]) < levels[1]["evaluations"]


def test_the_prolonged_objective_converges_with_the_order():
    """Fails if prolongation is not of the order of the elements, in the kernel's first or second argument."""
    case, _ = make(multilevel={})
    defects = []
    for cells in (4, 8, 16, 32):
        coarse, fine = (
            fs.build_problem(dataclasses.replace(case, domain=DomainSettings(shape="interval", cells=n)))
            for n in (cells, 3 * cells // 2 + 1)
        )
        controls = coarse.scaled_functional.to_controls(coarse.scaled_start)
        moved = prolong_controls(coarse.functional.control_space, fine.functional.control_space, controls)
        own = fine.scaled_functional.to_controls(fine.scaled_start)
        difference = fine.functional.control_space.apply_metric(moved - own) @ (moved - own)
        defects.append(np.sqrt(difference))
    rates = np.log2(np.divide(defects[:-1], defects[1:]))
    assert np.all((rates > 1.7) & (rates < 2.4)), rates


@pytest.mark.parametrize("question", [4, 9, 15])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, question):
    """Fails if a resumed run forgets finished levels, begins one anew from its own start, or loses the tolerance."""
    case, problems = make()
    options = {"levels": case.multilevel, "output": OFTEN}
    whole = fs.studies.train_levels(problems, case.optimizer, **options)
    first = fs.studies.train_levels(
        make()[1], case.optimizer, folder=tmp_path / "run", stop=stop_at(question), **options
    )
    assert first.stopped and first.report is None
    again = fs.studies.train_levels(make()[1], case.optimizer, folder=tmp_path / "run", resume=True, **options)
    assert again.report.objective == pytest.approx(whole.report.objective, rel=1e-6)
    assert again.report.iterations == whole.report.iterations
    again.report.write(tmp_path / "run")
    assert len(json.loads((tmp_path / "run" / "report.json").read_text())["levels"]) == 3


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"cells": [4], "layers": [2, 4]}, "multilevel.cells"),
        ({"files": ["a.msh"]}, "multilevel.files"),
        ({"cells": [[4, 4]]}, "multilevel.cells"),
    ],
)
def test_lists_that_do_not_fit(table, key):
    """Fails if a list of another length, of another kind of mesh or dimension is accepted, or the key not named."""
    with pytest.raises(ConfigError, match=key):
        parse_case(CASE | {"multilevel": table})


def test_a_run_that_was_killed_on_a_coarse_level_can_be_resumed(tmp_path):
    """Fails if the command line finds nothing to resume in a folder whose coarse levels alone have checkpoints."""
    case, problems = make()
    folder = tmp_path / "run"
    options = {"levels": case.multilevel, "output": OFTEN, "texts": {"case.toml": dump_case(case)}}
    assert fs.studies.train_levels(problems, case.optimizer, folder=folder, stop=stop_at(4), **options).stopped
    assert not (folder / CHECKPOINT).exists() and (folder / "levels" / "0" / CHECKPOINT).exists()
    with ExitStack() as held:
        claim_folder(folder, True, False, held=held)


def test_readouts_of_nodal_targets_are_refused_before_anything_is_trained():
    """Fails if a readout with one output for each node is trained on the coarsest level and then cannot be carried on,
    or if the refusal names no key."""
    case, problems = make(objective={"loss": "least_squares"})
    with pytest.raises(InvalidInput, match=r"multilevel: the readout has 4, 8, 17 outputs"):
        fs.studies.train_levels(problems, case.optimizer, levels=case.multilevel, progress=lambda *_: pytest.fail())
