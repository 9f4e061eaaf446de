# SPDX-License-Identifier: MIT
"""JAX's side of the gradient benchmark: the same objective on the same numbers, differentiated by JAX."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from serving import serve, time_calls

jax.config.update("jax_enable_x64", True)

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}


def objective(controls: dict[str, Any], data: dict[str, Any], *, scan: bool, activation: str) -> Any:
    """J(W, b, c, μ); states are (J, N), one sample a row; layers in a Python loop or in one `lax.scan`."""
    mass, dt, sigma = data["mass"], data["step"], ACTIVATIONS[activation]
    operators = controls["kernel"] * mass

    def layer(f: Any, parameters: tuple[Any, Any]) -> tuple[Any, None]:
        operator, bias = parameters
        return f + dt * sigma(f @ operator.T + bias), None

    f = data["initial"]
    if scan:
        f, _ = jax.lax.scan(layer, f, (operators, controls["bias"]))
    else:
        for parameters in zip(operators, controls["bias"], strict=True):
            f, _ = layer(f, parameters)
    outputs = f @ (controls["readout"] * mass).T + controls["offset"]
    chosen = jnp.take_along_axis(outputs, data["labels"][:, None], axis=1)[:, 0]
    loss = jnp.mean(jax.nn.logsumexp(outputs, axis=1) - chosen)
    regular = (
        dt * data["alpha_kernel"] * jnp.sum(controls["kernel"] ** 2 * mass[:, None] * mass)
        + dt * data["alpha_bias"] * jnp.sum(controls["bias"] ** 2 * mass)
        + data["alpha_readout"] * (jnp.sum(controls["readout"] ** 2 * mass) + jnp.sum(controls["offset"] ** 2))
    )
    return loss + 0.5 * regular


def main(folder: str, problem: str, scan: bool) -> None:
    """Serve one variant."""
    arrays = dict(np.load(problem))
    activation = str(arrays.pop("activation"))
    names = ("kernel", "bias", "readout", "offset")
    compiled = jax.jit(jax.value_and_grad(partial(objective, scan=scan, activation=activation)))

    def prepare(dtype: str) -> Callable[[], Any]:
        def convert(a: np.ndarray) -> Any:
            return jnp.asarray(a, dtype if a.dtype.kind == "f" else None)

        controls = {n: convert(arrays[n]) for n in names}
        data = {n: convert(a) for n, a in arrays.items() if n not in names}
        data["initial"] = convert(np.ascontiguousarray(arrays["initial"].T))
        return lambda: jax.block_until_ready(compiled(controls, data))

    calls = {dtype: prepare(dtype) for dtype in ("float64", "float32")}

    def compute(path: str) -> float:
        value, gradient = calls["float64"]()
        np.savez(path, **{n: np.asarray(g) for n, g in gradient.items()})
        return float(value)

    serve(
        folder,
        {"compute": compute, "time": lambda dtype, count: time_calls(calls[dtype], count)},
        ready={"jax": jax.__version__, "devices": str(jax.devices())},
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "scan")
