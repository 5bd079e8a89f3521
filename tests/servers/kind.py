"""A kind cluster on this machine: its nodes are containers of the Docker engine, which can be reached into, stopped and started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_MANIFESTS = "/etc/kubernetes/manifests"
# `mv` first: the kubelet starts again what ends. It may have been about to, so it is killed until it stays away for 2 s.
_STOP = """
mv {manifests}/{name}.yaml /etc/kubernetes/ && quiet=0
while [ $quiet -lt 4 ]; do if pkill -{signal} -x {name}; then quiet=0; else quiet=$((quiet + 1)); fi; sleep 0.5; done
"""
# Of the pod's containers; the pod's own process, `pause`, holds its network, and with it would go its address.
_KILL = """
for file in $(grep -lE 'pod{uid}' /proc/[0-9]*/cgroup 2>/dev/null); do
  folder=${{file%/cgroup}}
  [ "$(cat "$folder/comm" 2>/dev/null)" = pause ] || {{ kill -KILL "${{folder#/proc/}}" 2>/dev/null && echo killed; }}
done
true
"""


def named(kubeconfig: str) -> str:
    """The name of the kind cluster that is the current context of a kubeconfig, or "" for another one, or none."""
    try:
        text = Path(kubeconfig.split(os.pathsep, maxsplit=1)[0]).read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^current-context: [\"']?kind-([a-z0-9.-]+)", text, re.MULTILINE)
    return found[1] if found else ""


class Kind:
    """name: of the cluster, as `kind get clusters` has it."""

    def __init__(self, name: str) -> None:
        self.name = name
        # A distribution's client is of one release with its engine.
        self._docker = shutil.which("/usr/bin/docker") or "docker"

    def load(self, *images: str) -> None:
        """Have all nodes know images of this machine's engine. In one archive, which has their common layers once."""
        with tempfile.TemporaryDirectory() as folder:  # as an archive: kind cannot always read the engine's own store
            archive = f"{folder}/images.tar"
            self._run(self._docker, "save", "--output", archive, *images, seconds=300)
            self._run("kind", "load", "image-archive", archive, "--name", self.name, seconds=600)

    def component(self, action: str, name: str, how: str = "TERM") -> None:
        """`stop` a component of the control plane with signal `how`, or `start` it: it is a pod of which the kubelet has a file."""
        if action == "stop":
            script = _STOP.format(manifests=_MANIFESTS, name=name, signal=how)
        else:
            script = f"mv /etc/kubernetes/{name}.yaml {_MANIFESTS}/"
        self.inside(f"{self.name}-control-plane", script)

    def kill(self, node: str, uid: str) -> bool:
        """SIGKILL the processes of a pod. False where none was found."""
        return "killed" in self.inside(node, _KILL.format(uid=uid.replace("-", "[-_]")))

    def inside(self, node: str, script: str) -> str:
        """The output of a shell script in a node."""
        return self._run(self._docker, "exec", node, "sh", "-c", script)

    def stop(self, node: str) -> None:
        """At once, as by a loss of power."""
        self._run(self._docker, "kill", node)

    def start(self, node: str) -> None:
        self._run(self._docker, "start", node)

    def _run(self, *command: str, seconds: float = 60) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:4])}: {done.stdout}{done.stderr}")
        return done.stdout
