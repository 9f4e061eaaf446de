# SPDX-License-Identifier: MIT
"""One run of the scaling benchmark, started on some ranks: seconds of a gradient, and what a rank sends."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from mpi4py import MPI

import fem_selection as fs
from fem_selection.config import parse_case

LAYERS, RANK = 8, 16


class Counted:
    """A communicator that counts the collective calls of a rank and the bytes that it gives to them."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm, self.bytes, self.messages = comm, 0, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._comm, name)
        if name not in ("Allreduce", "Allgatherv", "Sendrecv", "allreduce", "bcast", "allgather"):
            return found

        def counted(*arguments: Any, **named: Any) -> Any:
            given = [a for a in (*arguments, *named.values()) if isinstance(a, np.ndarray)]
            self.messages += 1
            self.bytes += given[0].nbytes if given else 8
            return found(*arguments, **named)

        return counted


def build(nodes: int, samples: int, representation: str, space: int) -> fs.learning.LearningProblem:
    """Tracking on an interval."""
    kernel = {"rank": RANK} if representation == "separable" else {}
    case = {
        "domain": {"shape": "interval", "cells": nodes - 1},
        "dynamics": {"layers": LAYERS, "representation": representation, "start_scale": 1.0, **kernel},
        "data": {"initial": "cos(3*y + 2*s) + s", "target": "sin(4*y + 3*s) - s", "samples": samples},
        "objective": {"loss": "tracking"},
        "parallel": {"space": space},
    }
    return fs.build_problem(parse_case(case))


def main() -> None:
    """Print a line of JSON on rank 0."""
    parser = argparse.ArgumentParser()
    for name in ("nodes", "samples", "space", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--representation", required=True)
    a = parser.parse_args()
    world = MPI.COMM_WORLD
    problem = build(a.nodes, a.samples, a.representation, a.space)
    functional = problem.scaled_functional
    x = problem.scaled_start + 0.1 * functional.control_space.random_direction(1)
    value, gradient = functional.evaluate(x)
    norm = functional.norm(gradient)
    fastest = np.inf
    for _ in range(a.rounds):
        world.Barrier()
        began = time.perf_counter()
        functional.evaluate(x)
        fastest = min(fastest, world.allreduce(time.perf_counter() - began, op=MPI.MAX))
    ensemble, space = functional.control_space.ensemble, problem.space
    members, nodes = Counted(ensemble.sample_comm), Counted(space.comm)
    ensemble.sample_comm, space.comm = members, nodes
    functional.evaluate(x)
    if world.rank == 0:
        counted = {"sample": (members.messages, members.bytes), "space": (nodes.messages, nodes.bytes)}
        controls = functional.control_space.global_size
        print(json.dumps({"seconds": fastest, "objective": value, "norm": norm, "controls": controls, **counted}))


if __name__ == "__main__":
    main()
