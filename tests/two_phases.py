# SPDX-License-Identifier: MIT
"""A small run of both phases, which tests interrupt: its case, its data, and the program with pauses.

Forty noisy signals in three classes; some seconds long once each line of a history takes a pause of `PAUSE` seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["CASE", "EPOCHS", "EVERY", "ITERATIONS", "SLOW", "write_case"]

EPOCHS, ITERATIONS, EVERY = 6, 24, 3
CASE = f"""
[domain]
shape = "interval"
cells = 8
[dynamics]
layers = 4
[data]
file = "data.npz"
moved = {{ shift = 0.05 }}
[stochastic]
epochs = {EPOCHS}
batch = 5
validation = 0.2
[optimizer]
max_iterations = {ITERATIONS}
gradient_tolerance = 0.0
[regularization]
kernel = 1e-3
bias = 1e-3
readout = 1e-3
[output]
figures = false
fields = false
checkpoint_every = {EVERY}
"""
# the program with a pause at each line of a history, as long as its Slurm job, if it is one, has not been requeued
SLOW = """
import os, time
from fem_selection.io import runs

PAUSE = 0.0 if int(os.environ.get("SLURM_RESTART_COUNT", "0")) else float(os.environ.get("PAUSE", "0"))

def append(self, *values, original=runs.History.append):
    time.sleep(PAUSE)
    original(self, *values)

runs.History.append = append
from fem_selection.cli import main
main()
"""


def write_case(folder: Path) -> Path:
    """The case and its data; returns the case file."""
    rng = np.random.default_rng(0)
    y, s = np.arange(40) % 3, np.linspace(0, 1, 9)
    x = np.sin(np.pi * (1 + y[:, None]) * s) + 1.0 * rng.normal(size=(40, 9))
    np.savez(folder / "data.npz", x=x, y=y)
    (folder / "case.toml").write_text(CASE)
    return folder / "case.toml"
