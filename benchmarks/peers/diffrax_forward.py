# SPDX-License-Identifier: MIT
"""Diffrax's side of the forward benchmark: Dopri8 or Tsit5 with a PI controller, compiled by JAX, in float64."""

from __future__ import annotations

import sys
import time
from typing import Any

import diffrax
import forward_problem as problem
import jax
import numpy as np
from jax import numpy as jnp
from serving import serve

jax.config.update("jax_enable_x64", True)


def main(folder: str, path: str, solver: str) -> None:
    """Serve one solver; states are (nodes, samples)."""
    data = dict(np.load(path))
    operator, bias = jnp.asarray(data["operator"]), jnp.asarray(data["bias"])
    initial = jnp.asarray(np.ascontiguousarray(data["initial"]))
    method = getattr(diffrax, solver)()

    @jax.jit
    def run(f: Any, tolerance: Any) -> Any:
        term = diffrax.ODETerm(lambda t, f, args: jnp.tanh(args[0] @ f + args[1][:, None]))
        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
        found = diffrax.diffeqsolve(
            term,
            method,
            0.0,
            problem.HORIZON,
            None,
            f,
            args=(operator, bias),
            stepsize_controller=controller,
            saveat=diffrax.SaveAt(t1=True),
            max_steps=4096,
        )
        return found.ys[-1], found.stats["num_steps"]

    jax.block_until_ready(run(initial, 1e-3))

    def solve(tolerance: float, save: str = "") -> dict[str, Any]:
        start = time.perf_counter()
        final, steps = jax.block_until_ready(run(initial, tolerance))
        seconds = time.perf_counter() - start
        if save:
            np.save(save, np.asarray(final))
        return {"seconds": seconds, "steps": int(steps)}

    described = {"diffrax": diffrax.__version__, "jax": jax.__version__, "devices": str(jax.devices())}
    serve(folder, {"solve": solve}, ready=described)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
