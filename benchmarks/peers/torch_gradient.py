# SPDX-License-Identifier: MIT
"""PyTorch's side of the gradient benchmark: the same objective on the same numbers, differentiated by autograd."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from serving import serve, time_calls

ACTIVATIONS = {
    "tanh": torch.tanh,
    "gelu": torch.nn.functional.gelu,
    "softplus": torch.nn.functional.softplus,
    "silu": torch.nn.functional.silu,
    "relu": torch.relu,
}


def objective(controls: dict[str, torch.Tensor], data: dict[str, torch.Tensor], activation: str) -> torch.Tensor:
    """J(W, b, c, μ); states are (J, N), one sample a row."""
    mass, dt = data["mass"], float(data["step"])
    kernel, bias, readout, offset = (controls[n] for n in ("kernel", "bias", "readout", "offset"))
    f = data["initial"]
    for operator, b in zip((kernel * mass).unbind(), bias.unbind(), strict=True):
        f = torch.add(f, ACTIVATIONS[activation](torch.nn.functional.linear(f, operator, b)), alpha=dt)
    outputs = torch.nn.functional.linear(f, readout * mass, offset)
    loss = torch.nn.functional.cross_entropy(outputs, data["labels"])
    regular = (
        dt * data["alpha_kernel"] * torch.sum(kernel**2 * mass[:, None] * mass)
        + dt * data["alpha_bias"] * torch.sum(bias**2 * mass)
        + data["alpha_readout"] * (torch.sum(readout**2 * mass) + torch.sum(offset**2))
    )
    return loss + 0.5 * regular


def main(folder: str, problem: str, threads: int) -> None:
    """Serve."""
    torch.set_num_threads(threads)
    arrays = dict(np.load(problem))
    activation = str(arrays.pop("activation"))
    names = ("kernel", "bias", "readout", "offset")

    def prepare(dtype: torch.dtype) -> Callable[[], Any]:
        def convert(a: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(a).to(dtype if a.dtype.kind == "f" else torch.int64)

        controls = {n: convert(arrays[n]).requires_grad_() for n in names}
        data = {n: convert(a) for n, a in arrays.items() if n not in names}
        data["initial"] = data["initial"].T.contiguous()

        def call() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
            value = objective(controls, data, activation)
            return value, torch.autograd.grad(value, list(controls.values()))

        return call

    calls = {"float64": prepare(torch.float64), "float32": prepare(torch.float32)}

    def compute(path: str) -> float:
        value, gradient = calls["float64"]()
        np.savez(path, **{n: g.numpy() for n, g in zip(names, gradient, strict=True)})
        return float(value.detach())

    serve(
        folder,
        {"compute": compute, "time": lambda dtype, count: time_calls(calls[dtype], count)},
        ready={"torch": torch.__version__, "threads": torch.get_num_threads()},
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
