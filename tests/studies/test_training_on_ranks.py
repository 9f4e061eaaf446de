# SPDX-License-Identifier: MIT
"""Training, certificates, checks and predictions are the same on one rank and on two, which share samples or mesh.

Run by mpiexec this file computes on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from ranks import print_results


def main() -> None:
    """Runs the studies on these ranks and prints what their reports hold."""
    from mpi4py import MPI
    from own_equations import SHIFTED
    from own_networks import make_classifier, own_states

    import fem_selection as fs
    from fem_selection.studies import training_report

    world = MPI.COMM_WORLD
    write_states, written = training_report.write_states, []

    def write(*arguments, **more):
        written.append(1)
        return write_states(*arguments, **more)

    training_report.write_states = write
    adam = fs.StochasticSettings(epochs=3, batch=4, rate=0.05, validation=0.3)
    eight = fs.OptimizerSettings(max_iterations=8, gradient_tolerance=0.0)
    often = fs.OutputSettings(checkpoint_every=2)
    results: dict = {"ranks": world.size}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(world.bcast(name))
        for split, space_ranks in {"samples": 1, "mesh": world.size}.items():
            problem = make_classifier(world, space_ranks)
            whole = fs.studies.train(problem, eight, adam, seed=3, folder=folder / split, output=often)
            # the next split goes on from where this one is stopped in the optimizer
            asked: list[int] = []
            cut = {"seed": 3, "folder": folder / f"{split} cut", "output": often}
            fs.studies.train(
                problem, eight, adam, **cut, stop=lambda asked=asked: bool(asked.append(1) or len(asked) > 6)
            )
            other = make_classifier(world, world.size // space_ranks)
            resumed = fs.studies.train(other, eight, adam, **cut, resume=True)
            bounded = make_classifier(world, space_ranks, activation=SHIFTED)
            certificate = fs.studies.certify(
                bounded, bounded.functional.control_space.random_direction(1), fs.CertificateSettings(starts=2)
            )
            gradient = fs.studies.verify(problem.functional, whole.controls)
            numbers = np.arange(30, 37)
            states = fs.SampleStates.from_states(own_states(problem.space, numbers), labels=numbers % 3)
            found = fs.studies.predict(problem, whole.controls, states)
            written.clear()
            whole.report.write(folder / split, space=problem.space)
            certificate.write(folder / split)
            gradient.write(folder / split, figures=False)
            found.write(folder / split, figures=False)
            kept = ("objective", "gradient_norm", "test_accuracy", "train_accuracy", "test_cost", "train_cost")
            report = whole.report
            results[split] = {
                "numbers": [getattr(report, name) for name in kept],
                "resumed": [getattr(resumed.report, name) for name in kept],
                "resumed_from": resumed.report.resumed_from_iteration,
                "confusion": report.confusion.tolist(),
                "history": report.history["objective"].tolist(),
                "shown": report.pictures.shown_states.ravel().tolist(),
                "shares": [report.samples_per_rank, report.rows_per_rank],
                "writers": world.allreduce(len(written)),
                "gap": certificate.certificate.maximum_principle_gap,
                "kkt": certificate.certificate.kkt_residual,
                "eigenvalue": certificate.certificate.lowest_hessian_eigenvalue,
                "verified": [gradient.passed, gradient.certificate.taylor_order],
                "outputs": found.outputs.ravel().tolist(),
                "predicted": [*found.labels.tolist(), found.accuracy],
            }
            world.barrier()
            files = sorted(str(p.relative_to(folder / split)) for p in (folder / split).rglob("*") if p.is_file())
            results[split]["files"] = world.bcast([f for f in files if not f.startswith("states.")])
            results[split]["fields"] = world.bcast(any(f.startswith("states.") for f in files))
            world.barrier()
    print_results(results)


@pytest.mark.parametrize("split", ["samples", "mesh"])
@pytest.mark.parametrize("ranks", [2])
def test_same_reports(results_on, ranks, split):
    """Fails if a sum over ranks or members is missing, if a sample is counted twice, if a checkpoint is refused or
    goes on otherwise on another split, or if all ranks write one file at once."""
    results = results_on(ranks)
    here, reference = results[split], results_on(1)["samples"]
    assert results["ranks"] == ranks
    samples, rows = here["shares"]
    assert (sum(samples), rows) == ((15, [9, 9]) if split == "samples" else (30, rows)) and len(samples) == ranks
    assert sum(rows) == (18 if split == "samples" else 9)
    assert here["writers"] == (1 if split == "samples" else ranks)  # of one file, together
    for key, tolerance in {"numbers": 1e-6, "history": 1e-6, "outputs": 1e-5, "shown": 1e-5, "kkt": 1e-4}.items():
        np.testing.assert_allclose(here[key], reference[key], rtol=tolerance, atol=tolerance, err_msg=key)
    np.testing.assert_allclose(here["resumed"], here["numbers"], rtol=1e-6)
    assert here["resumed_from"] == reference["resumed_from"] == 3
    assert here["confusion"] == reference["confusion"] and here["predicted"] == reference["predicted"]
    assert here["gap"] == pytest.approx(reference["gap"], rel=1e-4)
    assert here["eigenvalue"] == pytest.approx(reference["eigenvalue"], rel=1e-4)
    assert here["verified"] == [True, pytest.approx(2.0, abs=0.05)]
    assert here["files"] == reference["files"] and here["fields"] and reference["fields"]
    wanted = {"report.json", "certificate.json", "verify.json", "predictions.npz", "checkpoint", "history.csv"}
    figures = {"convergence.png", "states.png", "controls.png", "confusion.png", "certificate.png"}
    assert wanted | {f"figures/{name}" for name in figures} <= set(here["files"])


if __name__ == "__main__":
    main()
