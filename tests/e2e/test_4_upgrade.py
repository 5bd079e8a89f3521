"""An upgrade under load: another image, another configuration."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.e2e.release import Release, until

RATE, SECONDS = 60, 45


def test_an_upgrade_refuses_nothing_and_loses_nothing(release: Release) -> None:
    before = {pod["metadata"]["uid"] for component in ("gateway", "controller", "consumer") for pod in release.pods(component)}
    password = release.secret(f"{release.prefix}-rabbitmq-user", "password"), release.secret(f"{release.prefix}-redis", "password")
    key = release.secret(f"{release.prefix}-api-key", "key")
    with ThreadPoolExecutor(1) as background:
        load = background.submit(release.submit, "load.quick", "upgrade", RATE * SECONDS, rate=RATE, seconds=0.05)
        release.upgrade({"image": {"tag": "b"}, "settings": {"LOG_LEVEL": "debug"}})
        told = load.result()
    print(
        told["answers"], f"first packets sent again: {told['sent_again']}; the client stood still for {told['stalled']} s at most"
    )
    assert told["accepted"] == RATE * SECONDS, told
    assert set(told["answers"]) <= {"202", "503"}, f"answered, or asked to come again; not refused, cut or silent: {told['failed']}"
    seen = until(lambda: release.effects("upgrade"), lambda seen: seen["effects"] >= told["accepted"], 90, "all effects")
    assert seen["effects"] == seen["jobs"] == told["accepted"]
    assert seen["ended"] == {"1": told["accepted"]}, "none was done twice"
    after = [pod for component in ("gateway", "controller", "consumer") for pod in release.pods(component)]
    assert not before & {pod["metadata"]["uid"] for pod in after}
    assert all(pod["spec"]["containers"][0]["image"].endswith(":b") for pod in after)
    assert (
        release.secret(f"{release.prefix}-rabbitmq-user", "password"),
        release.secret(f"{release.prefix}-redis", "password"),
    ) == password
    assert release.secret(f"{release.prefix}-api-key", "key") == key, "generated once, and kept"


def test_the_controllers_replicas_outlive_an_upgrade(release: Release) -> None:
    release.kubectl("annotate", "deployment", f"{release.prefix}-consumer-quick", "headrace/pause=all", "--overwrite")
    try:
        release.kubectl("scale", "deployment", f"{release.prefix}-consumer-quick", "--replicas=3")
        release.upgrade({"image": {"tag": "b"}, "settings": {"LOG_LEVEL": "info"}})
        assert release.replicas("quick") == 3
    finally:
        release.kubectl("annotate", "deployment", f"{release.prefix}-consumer-quick", "headrace/pause-")
    until(lambda: release.replicas("quick"), lambda n: n == 1, 60, "the controller goes on from what is there")
