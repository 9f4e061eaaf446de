# SPDX-License-Identifier: MIT
"""The worker's side of the benchmarks: wait for requests without using the processor, time a function, answer.

Parent and worker talk through named pipes in a folder of their own: `request-<rank>`, one for every rank, and `reply`,
written by rank 0.  A line is one JSON object.  Ranks wait in a blocking read and not in MPI, whose receives spin.
Standard library only, for any Python ≥ 3.10: peers run under interpreters that have nothing else of ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["serve", "time_calls"]


def serve(folder: str, handlers: dict[str, Callable[..., Any]], ready: Any = None, rank: int = 0) -> None:
    """Answer requests {"do": name, …} by `handlers[name](…)` until "stop".

    Args:
        folder: Where the pipes are.
        handlers: Functions by name; they take the rest of the request as keywords and return what JSON can hold.
        ready: Sent first, once the worker is set up.
        rank: Rank of this process; every rank gets every request, rank 0 alone replies.
    """
    with (
        open(Path(folder) / f"request-{rank}", encoding="utf-8") as requests,
        open(Path(folder) / "reply" if rank == 0 else "/dev/null", "w", encoding="utf-8") as replies,
    ):
        print(json.dumps(ready), file=replies, flush=True)
        for line in requests:
            request = json.loads(line)
            name = request.pop("do")
            if name == "stop":
                return
            print(json.dumps(handlers[name](**request)), file=replies, flush=True)


def time_calls(function: Callable[[], Any], count: int, warm_up: int = 2) -> list[float]:
    """Seconds of each of `count` calls, after `warm_up` calls that are not timed."""
    for _ in range(warm_up):
        function()
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds
