# SPDX-License-Identifier: MIT
"""How the settings of `demos/digits.toml` were chosen: by validation inside the training part, never by the test part.

For each of several seeds the 80 % training part of that seed's split is split again, 75 : 25; each candidate is
trained on the larger part and scored on the smaller.  The test part is not read.  Candidates change one or two keys
of the case at a time.

    uv run --group bench python benchmarks/choose_digits.py [--seeds 8] [--only WORD]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import fem_selection as fs
from fem_selection.data import load_digits_samples, split_samples
from fem_selection.optimize.report import IterationRow

ITERATIONS = (0, 3, 6, 10, 30)
HERE = Path(__file__).resolve().parent
CASE = HERE.parent / "demos" / "digits.toml"

CANDIDATES = {
    "as shipped": [],
    **{f"rate {r}": [f"stochastic.rate={r}"] for r in (0.005, 0.02)},
    **{f"horizon {t}": [f"dynamics.horizon={t}"] for t in (1.0, 4.0)},
    **{
        f"regularization {a}": [f"regularization.{p}={a}" for p in ("kernel", "bias", "readout")]
        for a in (1e-7, 1e-5, 1e-4)
    },
    **{f"epochs {n}": [f"stochastic.epochs={n}"] for n in (100, 150, 400)},
    **{f"start scale {s}": [f"dynamics.start_scale={s}"] for s in (1.0, 3.0)},
    "not moved": ["data.moved={shift=0.0, rotation=0.0, scale=0.0}"],
    "moved more": ["data.moved={shift=0.07, rotation=0.15, scale=0.1}"],
    "moved less": ["data.moved={shift=0.03, rotation=0.06, scale=0.04}"],
}


def score(overrides: list[str], seed: int, folder: Path) -> dict[str, float]:
    """Validation accuracy after the stochastic phase and along LMVM's iterations."""
    training = split_samples(load_digits_samples(), 0.2, seed).samples
    inner = split_samples(training, 0.25, seed)
    file = folder / "inner.npz"
    np.savez(
        file,
        x_train=inner.samples.inputs,
        y_train=inner.samples.targets,
        x_test=inner.test.inputs,
        y_test=inner.test.targets,
    )
    settings = [f"data.file='{file}'", "data.source=npz", f"seed={seed}", *overrides]
    case = fs.load_case(CASE, settings)
    problem = fs.build_problem(case)
    s = case.stochastic
    x = fs.optimize.descend(
        problem.scaled_functional, problem.scaled_start, s, source=problem.batches(s.batch), seed=seed
    ).scaled_solution
    scores = {"0": problem.accuracy(problem.test, problem.scaled_functional.to_controls(x))}
    for iterations in ITERATIONS[1:]:
        lmvm = fs.OptimizerSettings(max_iterations=iterations, memory=20)
        found = fs.minimize(problem.scaled_functional, x, lmvm, observe=_ignore)
        scores[str(iterations)] = problem.accuracy(
            problem.test, problem.scaled_functional.to_controls(found.scaled_solution)
        )
    return scores


def _ignore(row: IterationRow) -> None:
    """No progress is shown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--only", default="", help="candidates whose name contains this word")
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    print(f"{'candidate':28} LMVM iterations: " + " ".join(f"{n:8}" for n in ITERATIONS))
    with tempfile.TemporaryDirectory() as folder:
        for name, overrides in CANDIDATES.items():
            if arguments.only not in name:
                continue
            scores = [score(overrides, seed, Path(folder)) for seed in range(arguments.seeds)]
            results[name] = {k: float(np.mean([s[k] for s in scores])) for k in scores[0]}
            print(f"{name:45} " + " ".join(f"{v:8.4f}" for v in results[name].values()), flush=True)
    output = HERE / "results"
    output.mkdir(exist_ok=True)
    (output / "choose_digits.json").write_text(json.dumps(results, indent=2))
    best = max((v, name, k) for name, row in results.items() for k, v in row.items())
    print(f"best: {best[1]}, {best[2]} LMVM iterations")
    print(f"validation_accuracy {best[0]:.4f}")


if __name__ == "__main__":
    main()
