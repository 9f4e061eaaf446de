# SPDX-License-Identifier: MIT
"""How work is shared; the communicators of several ranks are in `tests/parallel`."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pytest
from counting import count_communicators
from mpi4py import MPI

import fem_selection as fs
from fem_selection.errors import InvalidInput
from fem_selection.parallel import Ensemble, share


@pytest.mark.parametrize("total", [0, 1, 2, 5, 17, 100])
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
def test_shares_cover_everything_once(total, parts):
    """Fails if a sample belongs to no member or to two, or a share is longer than another by two or more."""
    slices = [share(total, parts, k) for k in range(parts)]
    assert [i for s in slices for i in range(total)[s]] == list(range(total))
    lengths = [s.stop - s.start for s in slices]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)


def test_one_rank_is_the_whole_ensemble():
    """Fails if a single process does not hold all samples and all of an array."""
    ensemble = Ensemble(MPI.COMM_SELF)
    assert (ensemble.num_members, ensemble.member, ensemble.is_root) == (1, 0, True)
    assert (ensemble.samples(5), ensemble.shard(7)) == (slice(0, 5), slice(0, 7))
    a = np.arange(4.0)
    np.testing.assert_array_equal(ensemble.sum_over_samples(a.copy()), a)
    np.testing.assert_array_equal(ensemble.sum_to_shard(a.copy()), a)
    np.testing.assert_array_equal(ensemble.gather_shards(a, np.empty(4)), a)
    assert ensemble.sum(2.5) == 2.5
    assert [ensemble.any(flag) for flag in (False, True, 3)] == [0, 1, 3]


def test_an_ensemble_has_communicators_of_its_own():
    """Fails if messages of an ensemble could mix with the caller's."""
    assert Ensemble(MPI.COMM_SELF).world != MPI.COMM_SELF


@pytest.fixture
def without_threads(monkeypatch):
    """Leaves the threads of BLAS alone, which takes most of the time of an ensemble."""
    monkeypatch.setattr("fem_selection.parallel.threadpool_limits", lambda limits: None)


@pytest.mark.usefixtures("without_threads")
def test_ensembles_do_not_use_up_communicators():
    """Fails if every ensemble makes communicators: MPI has some two thousand in a process."""
    first = Ensemble(MPI.COMM_SELF)
    for _ in range(800):
        assert Ensemble(MPI.COMM_SELF).world == first.world


@pytest.mark.usefixtures("without_threads")
def test_communicators_of_the_caller_come_and_go():
    """Fails if an ensemble keeps what it made of a communicator that its owner has freed: 680 of them are too many."""
    before = count_communicators()
    for _ in range(700):
        comm = MPI.COMM_SELF.Dup()
        Ensemble(comm)
        comm.Free()
    Ensemble(MPI.COMM_SELF)  # frees what the last one left
    assert count_communicators() >= before - 3


def test_an_ensemble_outlives_the_communicator_of_the_caller():
    """Fails if the ensemble's communicators are freed with the caller's while something uses one of them."""
    comm = MPI.COMM_SELF.Dup()
    ensemble = Ensemble(comm)
    space_comm = Ensemble(comm).space_comm
    comm.Free()
    for _ in range(3):
        Ensemble(MPI.COMM_SELF)
    assert ensemble.sum(2.0) == 2.0
    del ensemble
    Ensemble(MPI.COMM_SELF)
    assert space_comm.allreduce(3) == 3


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_dropped_problems_leave_nothing_behind(mode):
    """Fails if meshes, spaces or kernels that nobody holds keep communicators."""

    def make_and_drop():
        comm = MPI.COMM_SELF.Dup()
        space = fs.StateSpace(fs.interval(Ensemble(comm).space_comm, 2), mode=mode)
        kernel = fs.LocalKernel.interpolate(space, {"multiplication": 1.0}, fs.DepthGrid(layers=1))
        assert fs.steady.KernelOperator(kernel).apply(np.ones((3, 1), order="F"))[0, 0] == pytest.approx(1.0)
        comm.Free()

    make_and_drop()
    gc.collect()
    before = count_communicators()
    for _ in range(10):
        make_and_drop()
    gc.collect()
    Ensemble(MPI.COMM_SELF)
    assert count_communicators() >= before


def test_mpi_may_be_finalized_while_python_runs():
    """Fails if communicators are freed when MPI deletes the attributes of its own ones."""
    ensembles = "import fem_selection as fs; fs.Ensemble(); fs.Ensemble(MPI.COMM_SELF)"
    code = f"from mpi4py import MPI; {ensembles}; MPI.Finalize()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_other_spaces_of_a_case_share_its_communicators(monkeypatch):
    """Fails if each mesh for error bars makes communicators of its own, which are never freed: MPI runs out of them."""
    from fem_selection.cases import build_field, finer_start, third_start
    from fem_selection.config import parse_case

    tables = {"domain": {"shape": "interval", "cells": 4}, "dynamics": {"kernel": "1"}, "data": {"initial": "0"}}
    problem = build_field(parse_case(tables), MPI.COMM_SELF)
    split = []

    class Recording(Ensemble):
        def __init__(self, comm, space):
            split.append(comm)
            super().__init__(comm, space)

    monkeypatch.setattr("fem_selection.cases.field.Ensemble", Recording)
    finer_start(problem)
    third_start(problem)()
    assert [comm == problem.ensemble.world for comm in split] == [True, True]


@pytest.mark.parametrize("space", [0, -1, 2])
def test_sizes_that_do_not_divide_are_refused(space):
    """Fails if a split that leaves ranks over is accepted, or the message does not list the valid ones."""
    with pytest.raises(InvalidInput, match=rf"parallel.space = {space} does not divide .* 1; valid values are 1"):
        Ensemble(MPI.COMM_SELF, space)
