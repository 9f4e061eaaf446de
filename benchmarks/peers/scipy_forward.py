# SPDX-License-Identifier: MIT
"""SciPy's side of the forward benchmark: `solve_ivp` with DOP853, its products by a BLAS of several threads."""

from __future__ import annotations

import sys
import time
from typing import Any

import forward_problem as problem
import numpy as np
import scipy
from scipy.integrate import solve_ivp
from serving import serve
from threadpoolctl import threadpool_info


def main(folder: str, path: str) -> None:
    """Serve."""
    data = dict(np.load(path))
    operator, bias, initial = data["operator"], data["bias"][:, None], data["initial"]

    def rate(t: float, f: np.ndarray) -> np.ndarray:
        g = operator @ f.reshape(initial.shape)
        g += bias
        return np.tanh(g, out=g).ravel()

    def solve(tolerance: float, save: str = "") -> dict[str, Any]:
        start = time.perf_counter()
        found = solve_ivp(
            rate,
            (0.0, problem.HORIZON),
            initial.ravel(),
            "DOP853",
            t_eval=[problem.HORIZON],
            rtol=max(tolerance, 1e-13),
            atol=tolerance,
        )
        seconds = time.perf_counter() - start
        if save:
            np.save(save, found.y[:, -1].reshape(initial.shape))
        return {"seconds": seconds, "evaluations": int(found.nfev)}

    threads = max(pool["num_threads"] for pool in threadpool_info())
    serve(folder, {"solve": solve}, ready={"scipy": scipy.__version__, "threads": threads})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
