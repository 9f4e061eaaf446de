# SPDX-License-Identifier: MIT
"""A soak: runs are killed at random moments by random signals and resumed, until the time is over.

    uv run python tests/faults/soak.py --minutes 10 [--seed 0] [--ranks 3]

A run is started on one process or under mpiexec on up to `--ranks` ranks, and ended from outside at a random moment:
mostly by SIGKILL to all of it or to a single rank, also by SIGTERM or SIGINT, once or three times.  It is resumed, on
another number of ranks, killed again, and at last let to its end.  Then its report and its histories are compared with
those of the run that nothing interrupted.  Lost is a run that cannot be resumed, that differs, or of which a process
goes on after the end.  The last line is `lost K of N`, N the number of runs; the exit status is 1 if K > 0.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from killed_runs import PATIENCE, Run, differences, send, start
from ranks import find_launcher
from two_phases import write_case

RTOL = 1e-6  # sums over other numbers of ranks round in another order
WAYS = (
    *(["SIGKILL to all"] * 4 + ["SIGKILL to one rank"] * 4 + ["SIGKILL to the launcher"]),
    *("SIGTERM", "SIGTERM thrice", "SIGTERM to one rank", "SIGINT"),
)


class Soak:
    """The runs of a soak and what became of them."""

    def __init__(self, folder: Path, seed: int, ranks: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.choices = [0, *range(1, ranks + 1)] if find_launcher() else [0]
        self.case = write_case(folder)
        self.counts: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.lost: list[str] = []
        run = start(self.case, folder / "whole", pause=0.03)
        self._wait_for(folder / "whole" / "checkpoint", run)
        began = time.monotonic()
        if run.end() != 0:
            raise SystemExit(f"the uninterrupted run failed:\n{run.output}")
        self.length = time.monotonic() - began

    def one_run(self, deadline: float) -> None:
        """Start, kill, resume, …, finish, compare."""
        output = self.folder / f"{self.counts['runs']:05d}"
        self.counts["runs"] += 1
        every = self.random.choice((1, 3))
        left = self.random.randint(1, 4)
        while True:
            more = ["--set", f"output.checkpoint_every={every}"]
            if output.exists():
                more.append("--resume")
                self.counts["resumes"] += 1
            run = start(self.case, output, *more, ranks=self.random.choice(self.choices))
            killed = left > 0 and time.monotonic() < deadline and self._kill(run, output)
            status = run.end()
            left -= 1
            if status is None:
                return self._lose(output, run, f"a process went on for {PATIENCE:g} s")
            if not killed:
                break
        if status != 0:
            return self._lose(output, run, f"exit status {status}")
        if told := differences(self.folder / "whole", output, RTOL):
            return self._lose(output, run, "; ".join(told))
        shutil.rmtree(output)
        for log in self.folder.glob(f"{output.name}.*.log"):
            log.unlink()
        return None

    def _kill(self, run: Run, output: Path) -> bool:
        """End a run at a random moment; whether it had not ended by itself."""
        if self.random.random() < 0.85:  # else also while it loads its libraries
            self._wait_for(output / "checkpoint", run)
        until = time.monotonic() + self.random.uniform(0.0, self.length)
        while time.monotonic() < until and run.process.poll() is None:
            time.sleep(0.001)
        way = self.random.choice(WAYS)
        ranks = run.ranks()
        one = self.random.choice(sorted(ranks.values()))
        if run.process.poll() is not None:
            return False
        if way == "SIGKILL to all":
            sent = [send(pid, signal.SIGKILL) for pid in (*ranks.values(), run.process.pid)]
        elif way == "SIGKILL to one rank":
            sent = [send(one, signal.SIGKILL)]
        elif way == "SIGKILL to the launcher":
            sent = [send(run.process.pid, signal.SIGKILL)]
        elif way == "SIGTERM to one rank":
            sent = [send(one, signal.SIGTERM)]
        else:
            number = signal.SIGINT if way == "SIGINT" else signal.SIGTERM
            sent = [send(run.process.pid, number) for _ in range(3 if way == "SIGTERM thrice" else 1)]
        self.kills[way] += any(sent)
        return any(sent)

    def _wait_for(self, path: Path, run: Run) -> None:
        """Until a file is written after the run was started, or the run has ended."""
        began, deadline = path.stat().st_mtime_ns if path.exists() else 0, time.monotonic() + PATIENCE
        while run.process.poll() is None and time.monotonic() < deadline:
            if path.exists() and path.stat().st_mtime_ns > began:
                return
            time.sleep(0.005)

    def _lose(self, output: Path, run: Run, why: str) -> None:
        self.lost.append(f"{output.name}: {why}\n{run.output}")
        print(f"LOST {self.lost[-1]}", flush=True)


def main() -> int:
    """Run until the time is over, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=3, help="largest number of ranks under mpiexec")
    asked = parser.parse_args()
    deadline = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        soak = Soak(Path(name), asked.seed, asked.ranks)
        while time.monotonic() < deadline:
            soak.one_run(deadline)
    for way, count in sorted(soak.kills.items()):
        print(f"  {count:4d} × {way}")
    runs = soak.counts["runs"]
    print(f"{sum(soak.kills.values())} kills, {soak.counts['resumes']} resumes, {len(soak.lost)} lost or different")
    print(f"lost {len(soak.lost)} of {runs}")
    return 1 if soak.lost else 0


if __name__ == "__main__":
    sys.exit(main())
