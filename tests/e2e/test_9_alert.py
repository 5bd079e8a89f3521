"""Consumers whose image cannot be pulled, for minutes by now, and what their controller says of them."""

from __future__ import annotations

import re

from tests.e2e.release import Release, until


def test_an_image_that_cannot_be_pulled_is_told(release: Release, second: Release) -> None:
    """Of two releases that post to one receiver: the other's consumers of `long` start as they should."""
    (alert, *_) = until(lambda: release.alerts("HeadraceNotStarting", "long"), bool, 180, "the alert")
    summary = alert["annotations"]["summary"]
    print(summary)
    # `ErrImagePull` while the kubelet tries, `ImagePullBackOff` while it waits.
    assert re.search(r"0 of 1 replicas are ready.*\. 1 pod: (ErrImagePull|ImagePullBackOff): ", summary)
    assert "headrace.invalid/nowhere:1" in summary
    events = [event for event in second.events() if event["reason"] == "NotStarting"]
    assert summary in {event["message"].removeprefix("long: ") for event in events}
    assert second.replicas("long") == 1, "more of them would not start, either"
    second.helm("uninstall", second.name, "--wait", "--timeout", "60s")
    assert release.pods("gateway"), "the first one is as it was"
