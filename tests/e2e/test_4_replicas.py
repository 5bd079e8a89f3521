"""The number of replicas after it leaves the manifest: by Helm's own apply, on a real API server."""

from __future__ import annotations

import pytest

from tests.e2e.release import CHART, Json, Release, merged, until


@pytest.mark.parametrize("server_side", ["true", "false"], ids=["server-side apply", "three-way merge"])
def test_an_autoscaler_that_is_turned_on_begins_with_what_is_there(release: Release, server_side: str) -> None:
    """A gateway alone, on the shared broker. No metrics are needed: the autoscaler sees that the number is within its bounds."""
    name = f"auto-{server_side}"
    values: Json = merged(
        release.images,
        {
            "rabbitmq": {"mode": "external", "external": {"existingSecret": f"{release.prefix}-rabbitmq-user"}},
            "redis": {"mode": "external", "external": {"existingSecret": f"{release.prefix}-redis"}},
            "gateway": {"replicas": 3, "apiKeys": {"existingSecret": f"{release.prefix}-api-keys"}},
            "mail": {"mode": "none"},
            "consumerDefaults": {"enabled": False},
            "controller": {"enabled": False},
            "bindings": {"prune": False},
        },
    )
    scaled = merged(values, {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 2}}})

    def apply(verb: str, given: Json) -> Json:
        release.helm(verb, name, str(CHART), f"--server-side={server_side}", values=[given])
        found: Json = release.get("deployment", f"{name}-headrace-gateway")
        return found

    try:
        assert apply("install", values)["spec"]["replicas"] == 3
        for _ in range(2):  # and again, while no other client has set it
            found = apply("upgrade", scaled)
            assert found["spec"]["replicas"] == 3
            assert found["metadata"]["annotations"]["headrace/replicas"] == "kept"
        release.kubectl("scale", "deployment", f"{name}-headrace-gateway", "--replicas=4")
        found = apply("upgrade", scaled)
        assert found["spec"]["replicas"] == 4, "as an autoscaler had set it"
        assert ("headrace/replicas" in found["metadata"]["annotations"]) == (server_side == "false"), "somebody owns it now"
    finally:
        release.helm("uninstall", name)


def test_a_controller_that_is_turned_off_and_on_takes_nothing_away(release: Release) -> None:
    deployment = f"{release.prefix}-consumer-quick"
    off: Json = {"enabled": False}
    none: Json = {"consumers": {"apart": off, "long": {"min": 1}}}  # only a controller starts these from 0
    release.upgrade(
        merged(none, {"consumers": {"quick": {"min": 3}}, "controller": {"enabled": False}}), options=["--force-conflicts"]
    )
    assert release.replicas("quick") == 3
    release.kubectl("annotate", "deployment", deployment, "headrace/pause=all", "--overwrite")
    try:
        release.upgrade()
        assert release.replicas("quick") == 3, "nobody but Helm could have set it"
    finally:
        release.kubectl("annotate", "deployment", deployment, "headrace/pause-")
    until(lambda: release.replicas("quick"), lambda n: n == 1, 90, "the controller goes on from what is there")
    release.upgrade(merged(none, {"controller": {"dryRun": True}}), options=["--force-conflicts"])
    assert release.replicas("quick") == 1
    release.upgrade()
