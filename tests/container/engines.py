# SPDX-License-Identifier: MIT
"""The program that builds and runs containers here: docker, podman or buildah, whichever answers.

A client whose daemon is not there does not answer.  On Debian, as root, buildah is installed where none does.  It needs
no daemon; chroot isolation lets it run inside a container or a virtual machine too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

__all__ = ["BASE", "Buildah", "Docker", "NoEngine", "find_engine"]

BASE = "docker.io/library/debian:trixie-slim"
_HERE = Path(__file__).parent
_CHROOT = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": os.environ.get("STORAGE_DRIVER", "vfs")}


class NoEngine(Exception):
    """Why no container can be built here."""


def call(
    *command: str | Path, timeout: float = 60.0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; both of its outputs as text, whatever its status."""
    variables = {**os.environ, **(environment or {})}
    return subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, timeout=timeout, env=variables, check=False
    )


def checked(done: subprocess.CompletedProcess[str]) -> str:
    """What a program printed; its failure is an AssertionError that shows all of it."""
    assert done.returncode == 0, f"{' '.join(done.args)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass
class Docker:
    """docker, or podman, which takes the same words.

    Attributes:
        program: "docker" or "podman".
    """

    program: str

    def build(self, context: Path, tag: str) -> None:
        """Build the image of a folder."""
        checked(call(self.program, "build", "-t", tag, context, timeout=3600))

    def size(self, tag: str) -> int:
        """Bytes of the image."""
        return int(checked(call(self.program, "image", "inspect", "--format", "{{.Size}}", tag)))

    def run(
        self,
        tag: str,
        words: Sequence[str],
        runs: Path,
        variables: Mapping[str, str],
        program: str = "",
        timeout: float = 900.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run the image's entry point, or another program of it, with a folder for its runs."""
        environment = [w for name, value in variables.items() for w in ("--env", f"{name}={value}")]
        entry = ["--entrypoint", program] if program else []
        name = f"selection-{uuid4().hex}"
        options = ["--rm", "--name", name, "-v", f"{runs}:/selection/runs", *environment, *entry]
        try:
            return call(self.program, "run", *options, tag, *words, timeout=timeout)
        except subprocess.TimeoutExpired:
            call(self.program, "kill", name)  # else the container outlives its client
            raise

    def clean(self, tag: str) -> None:
        """Remove nothing: an image that was built is worth keeping in the engine's cache."""


@dataclass
class Buildah:
    """buildah, with chroot isolation; its `run` knows no entry point, which is looked up in the image."""

    container: str = ""

    def _buildah(self, *words: str | Path, timeout: float = 900.0) -> subprocess.CompletedProcess[str]:
        return call("buildah", *words, timeout=timeout, environment=_CHROOT)

    def build(self, context: Path, tag: str) -> None:
        """Build the image of a folder, upon the official base image or, where no registry has it, upon a stand-in."""
        if self._buildah("images", "--quiet", BASE).returncode and self._buildah("pull", "--quiet", BASE).returncode:
            if shutil.which("debootstrap") is None:
                raise NoEngine(f"buildah gets {BASE} from no registry, and there is no debootstrap for a stand-in")
            checked(call("bash", _HERE / "base_image.sh", BASE, timeout=1800, environment=_CHROOT))
        checked(self._buildah("bud", "--pull-never", "--layers", "-t", tag, context, timeout=3600))
        self.container = checked(self._buildah("from", "--pull-never", f"localhost/{tag}")).strip()

    def size(self, tag: str) -> int:
        """Bytes of the files of the image."""
        root = checked(self._buildah("mount", self.container)).strip()
        size = int(checked(call("du", "--summarize", "--bytes", "--one-file-system", root)).split()[0])
        checked(self._buildah("umount", self.container))
        return size

    def run(
        self,
        tag: str,
        words: Sequence[str],
        runs: Path,
        variables: Mapping[str, str],
        program: str = "",
        timeout: float = 900.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run the image's entry point, or another program of it, with a folder for its runs."""
        environment = [w for name, value in variables.items() for w in ("--env", f"{name}={value}")]
        entry = [program] if program else self.entry_point(tag)
        volume = ["--volume", f"{runs}:/selection/runs"]
        return self._buildah("run", *volume, *environment, self.container, "--", *entry, *words, timeout=timeout)

    def entry_point(self, tag: str) -> list[str]:
        """The words before the user's."""
        form = "{{range .OCIv1.Config.Entrypoint}}{{.}} {{end}}"
        return checked(self._buildah("inspect", "--type", "image", "--format", form, f"localhost/{tag}")).split()

    def clean(self, tag: str) -> None:
        """Remove the container; the image stays."""
        if self.container:
            self._buildah("rm", self.container)


def find_engine() -> Docker | Buildah:
    """The first that answers.

    Raises:
        NoEngine: with what each said.
    """
    said = []
    for program in ("docker", "podman"):
        if shutil.which(program) is None:
            said.append(f"{program} is not installed")
            continue
        answer = call(program, "info")
        if answer.returncode == 0:
            return Docker(program)
        words = (answer.stderr or answer.stdout).strip().splitlines() or ["it says nothing"]
        said.append(f"{program} does not answer ({words[-1]})")
    if os.geteuid() == 0:
        if shutil.which("buildah") is None and shutil.which("apt-get") is not None:
            call("apt-get", "update", timeout=300)
            words = ("install", "--yes", "--no-install-recommends", "buildah", "debootstrap")
            call("apt-get", *words, timeout=900, environment={"DEBIAN_FRONTEND": "noninteractive"})
        if shutil.which("buildah") is not None:
            return Buildah()
    said.append("buildah is not installed" if shutil.which("buildah") is None else "buildah is used as root only")
    raise NoEngine("; ".join(said))
