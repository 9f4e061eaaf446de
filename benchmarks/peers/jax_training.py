# SPDX-License-Identifier: MIT
"""JAX's side of the training benchmark: the same Adam steps, a whole epoch compiled as one function."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from serving import serve

jax.config.update("jax_enable_x64", True)

PARTS = ("kernel", "bias", "readout", "offset")
KINDS = ("unrolled", "scan")


def outputs(x: dict[str, Any], data: dict[str, Any], f: Any, scan: bool) -> Any:
    """Readouts of the final states; x in the variable x̂, states (J, N), one sample a row."""
    scale, mass, dt = data["scale"], data["mass"], data["step"]
    operators = x["kernel"] * (scale["kernel"] * mass[:, None])  # (W M)ᵀ of every layer

    def layer(f: Any, parameters: tuple[Any, Any]) -> tuple[Any, None]:
        operator, bias = parameters
        return f + dt * jnp.tanh(f @ operator + bias), None

    biases = x["bias"] * scale["bias"]
    if scan:
        f, _ = jax.lax.scan(layer, f, (operators, biases))
    else:
        for parameters in zip(operators, biases, strict=True):
            f, _ = layer(f, parameters)
    return f @ (x["readout"] * (scale["readout"] * mass)).T + x["offset"] * scale["offset"]


def objective(x: dict[str, Any], data: dict[str, Any], states: Any, labels: Any, scan: bool) -> Any:
    """Ĵ(x̂) on a mini-batch."""
    o = outputs(x, data, states, scan)
    chosen = jnp.take_along_axis(o, labels[:, None], axis=1)[:, 0]
    loss = jnp.mean(jax.nn.logsumexp(o, axis=1) - chosen)
    return loss + 0.5 * data["alpha"] * sum(jnp.vdot(part, part) for part in x.values())


def epoch(state: tuple[Any, ...], data: dict[str, Any], batches: Any, total: Any, scan: bool) -> tuple[Any, Any]:
    """Adam steps over the mini-batches `batches`, (steps, batch); returns the state and the mean objective."""
    beta, gamma = data["momentum"], data["second_moment"]

    def step(state: tuple[Any, ...], numbers: Any) -> tuple[Any, Any]:
        x, first, second, k = state
        chosen = data["train_states"][numbers], data["train_labels"][numbers]
        value, g = jax.value_and_grad(objective)(x, data, *chosen, scan)
        rate = data["rate"] * 0.5 * (1.0 + jnp.cos(jnp.pi * k / total)) / (1.0 - beta ** (k + 1))
        root = 1.0 / jnp.sqrt(1.0 - gamma ** (k + 1))
        first = jax.tree.map(lambda m, g: beta * m + (1.0 - beta) * g, first, g)
        second = jax.tree.map(lambda v, g: gamma * v + (1.0 - gamma) * g * g, second, g)
        x = jax.tree.map(lambda x, m, v: x - rate * m / (jnp.sqrt(v) * root + data["epsilon"]), x, first, second)
        return (x, first, second, k + 1), value

    state, values = jax.lax.scan(step, state, batches)
    return state, jnp.mean(values)


@partial(jax.jit, static_argnames="scan")
def accuracy(x: dict[str, Any], data: dict[str, Any], scan: bool) -> Any:
    """Part of the test samples that is classified right."""
    return jnp.mean(jnp.argmax(outputs(x, data, data["test_states"], scan), axis=1) == data["test_labels"])


class Trainer:
    """One problem's arrays and the epoch in both variants, compiled for its shapes."""

    def __init__(self) -> None:
        self.compiled: dict[str, Any] = {}
        self.compile_seconds: dict[str, float] = {}

    def prepare(self, path: str) -> dict[str, float]:
        """Read a problem and compile what is not compiled yet; returns the seconds that each variant took."""
        with np.load(path) as file:
            arrays = {name: jnp.asarray(file[name]) for name in file.files}
        self.start = {part: arrays.pop(f"start_{part}") for part in PARTS}
        scale = {part: arrays.pop(f"scale_{part}") for part in PARTS}
        batches = arrays.pop("batches")
        self.batches, self.total = list(batches), jnp.asarray(float(batches.shape[0] * batches.shape[1]))
        self.data = {**arrays, "scale": scale}
        for kind in KINDS:
            if kind not in self.compiled:
                began = time.perf_counter()
                self.compiled[kind] = self._compile(kind, self.batches[0])
                self.compile_seconds[kind] = time.perf_counter() - began
                self.train(kind, 1)
        return self.compile_seconds

    def walk(self, path: str, kind: str, steps: int) -> None:
        """Write x̂ after that many steps of the first epoch."""
        batches = self.batches[0][:steps]
        state, _ = self._compile(kind, batches)(self._state(), self.data, batches, self.total)
        np.savez(path, **{part: np.asarray(a) for part, a in state[0].items()})

    def train(self, kind: str, epochs: int | None = None) -> dict[str, list[float]]:
        """Train from the start: seconds of every epoch, and the test accuracy after it, which takes none of them."""
        run, state = self.compiled[kind], self._state()
        seconds, accuracies = [], []
        for batches in self.batches[:epochs]:
            began = time.perf_counter()
            state, _ = jax.block_until_ready(run(state, self.data, batches, self.total))
            seconds.append(time.perf_counter() - began)
            accuracies.append(float(accuracy(state[0], self.data, kind == "scan")))
        return {"seconds": seconds, "accuracies": accuracies}

    def _compile(self, kind: str, batches: Any) -> Any:
        function = jax.jit(partial(epoch, scan=kind == "scan"), donate_argnums=0)
        return function.lower(self._state(), self.data, batches, self.total).compile()

    def _state(self) -> tuple[Any, ...]:
        """x̂, moments and step number at the start: fresh arrays, since an epoch consumes them."""
        x = {part: jnp.array(a, copy=True) for part, a in self.start.items()}
        zeros = [{part: jnp.zeros_like(a) for part, a in self.start.items()} for _ in range(2)]
        return jax.block_until_ready((x, *zeros, jnp.asarray(0)))


def main(folder: str) -> None:
    """Serve both variants."""
    trainer = Trainer()
    serve(
        folder,
        {"prepare": trainer.prepare, "walk": trainer.walk, "train": trainer.train},
        ready={"jax": jax.__version__, "devices": str(jax.devices())},
    )


if __name__ == "__main__":
    main(sys.argv[1])
