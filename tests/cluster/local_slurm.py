# SPDX-License-Identifier: MIT
"""A Slurm of one node on the loopback device, for as long as a block or a command lasts.

    python tests/cluster/local_slurm.py FOLDER COMMAND…      e.g. bash, to submit jobs by hand

munged, slurmctld and slurmd run in the foreground as children of this process, and end with it even if it is killed;
all their files lie in FOLDER.  On Debian, root gets the packages `slurm-wlm` and `munge` installed if they are missing;
nothing of the system's own configuration is used or changed.  There are four processors, whatever the machine has, so
that two jobs of two tasks run at once.

What differs from a cluster: no cgroups, no accounting (hence no `sacct`), and a requeued job begins after ten seconds
instead of two minutes (Slurm waits until the old job's credentials have expired).
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SlurmUnavailable", "local_slurm"]

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue", "sinfo")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=5,bf_interval=5
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1024 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class SlurmUnavailable(Exception):
    """Slurm cannot be started here; the message says why."""


@contextlib.contextmanager
def local_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start Slurm with its files in a folder, give the environment in which its commands work, stop it.

    Args:
        folder: A path shorter than about 80 characters, since sockets live below it.

    Raises:
        SlurmUnavailable: with the reason, after whatever had started was stopped.
    """
    _require_packages()
    folder = folder.resolve()
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "munge").chmod(0o755)
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    ctld_port, slurmd_port = _free_ports()
    conf = folder / "slurm.conf"
    conf.write_text(
        _CONF.format(host=host, user=user, folder=folder, ctld_port=ctld_port, slurmd_port=slurmd_port).lstrip()
    )
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(256))
    key.chmod(0o600)
    environment = {**_without_slurm(os.environ), "PATH": _PATH, "SLURM_CONF": str(conf)}
    munge = [
        f"--{name}={folder}/munge/{name.split('-')[0]}" for name in ("socket", "seed-file", "log-file", "pid-file")
    ]
    commands = {
        "munged": ["munged", "--foreground", "--force", f"--key-file={key}", *munge],
        "slurmctld": ["slurmctld", "-D", "-c", "-f", str(conf)],
        "slurmd": ["slurmd", "-D", "-f", str(conf)],
    }
    with_us = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv", path=_PATH) else []
    daemons: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with open(folder / f"{name}.log", "wb") as log:
                daemons[name] = subprocess.Popen(
                    [*with_us, *command],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            if name == "munged":
                _wait(lambda: (folder / "munge" / "socket").exists(), daemons, folder, 10)
        _wait(lambda: _ask(environment, "sinfo", "-h", "-o", "%T") == "idle", daemons, folder, 40)
        yield environment
    finally:
        _stop(environment, daemons)


def _require_packages() -> None:
    """Slurm's programs, installed by apt if they are missing and that is possible."""
    if not _missing():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SlurmUnavailable(f"not installed: {', '.join(_missing())}; only root on Debian gets it by itself")
    policy = Path("/usr/sbin/policy-rc.d")  # Debian asks it whether a package may start its services
    ours = not policy.exists()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
    try:
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        install = [*apt, "install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]
        for command in ([*apt, "update"], install):
            subprocess.run(command, env=environment, capture_output=True, timeout=400, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or b""
        raise SlurmUnavailable(f"slurm-wlm and munge cannot be installed: {error} {detail.decode()[-300:]}") from error
    finally:
        if ours:
            policy.unlink(missing_ok=True)
    if _missing():
        raise SlurmUnavailable(f"not there after installing: {', '.join(_missing())}")


def _missing() -> list[str]:
    return [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _without_slurm(environment: os._Environ[str]) -> dict[str, str]:
    """An environment from which no outer job speaks."""
    outer = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "PMI_", "PMIX_", "OMPI_")
    return {name: value for name, value in environment.items() if not name.startswith(outer)}


def _ask(environment: dict[str, str], *command: str) -> str:
    """What a command prints; empty if it fails or does not answer."""
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _wait(is_ready, daemons: dict[str, subprocess.Popen[bytes]], folder: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_ready():
        ended = [name for name, daemon in daemons.items() if daemon.poll() is not None]
        if ended or time.monotonic() > deadline:
            name = ended[0] if ended else list(daemons)[-1]
            tail = (folder / f"{name}.log").read_text(errors="replace")[-400:].strip()
            what = f"{name} ended" if ended else f"no answer from {name} after {seconds:.0f} s"
            raise SlurmUnavailable(f"{what}: {tail}")
        time.sleep(0.2)


def _stop(environment: dict[str, str], daemons: dict[str, subprocess.Popen[bytes]]) -> None:
    """Cancel the jobs that are left, then end the daemons in the opposite order of their start."""
    if "slurmd" in daemons and daemons["slurmd"].poll() is None:
        for number in _ask(environment, "squeue", "-h", "-o", "%A").split():
            _ask(environment, "scancel", number)
        deadline = time.monotonic() + 30
        while _ask(environment, "squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.5)
    for daemon in reversed(daemons.values()):
        daemon.terminate()
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with local_slurm(Path(sys.argv[1])) as slurm:
            sys.exit(subprocess.run(sys.argv[2:], env=slurm).returncode)
    except SlurmUnavailable as reason:
        sys.exit(f"Slurm cannot be started: {reason}")
