"""The names of keys in Redis."""

from __future__ import annotations


class Keys:
    """On one server: the names of version 0.1.0. A script works on all that it touches."""

    listed = 1  # the lists of dead letters are where the letters are
    index = "headrace:dead"
    where = "headrace:dead:where"  # not used here
    alive = "headrace:alive"

    def job(self, job_id: str) -> str:
        return f"headrace:job:{job_id}"

    def letter(self, dead_id: str, place: str) -> str:  # noqa: ARG002  # for clusters
        """place: on a cluster, what the letter's slot follows from."""
        return f"headrace:dead:{dead_id}"

    def place(self, dead_id: str, job_id: str | None) -> str:
        return job_id or dead_id


class ClusterKeys(Keys):
    """On a cluster: a job and its dead letters are on one slot, the lists of dead letters on another."""

    listed = 0
    index = "{headrace:dead}"
    where = "{headrace:dead}:where"

    def job(self, job_id: str) -> str:
        return f"headrace:job:{{{job_id}}}"

    def letter(self, dead_id: str, place: str) -> str:
        return f"headrace:dead:{{{place}}}:{dead_id}"
