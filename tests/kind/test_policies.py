"""Allowed and refused connections: the chart's NetworkPolicies, as a cluster enforces them, between pods on one node and on two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.release import Json, Release, merged, until
from tests.kind.conftest import VALUES
from tests.kind.probes import Answers, Probes

# + is let through, - is not. Rows are the pods that connect: of each part; in the release's namespace one without labels
# (stranger), one that the values may let in (caller) and one of another release (neighbour); in another namespace one without
# labels (foreigner) and one with a consumer's (impostor). Columns are where to: `metrics` and `nodes` are ports of RabbitMQ,
# `alerts` and `outside` ports of a pod in another namespace, the first of them that of an Alertmanager.
TABLE = """
.          gateway consumer controller amqp metrics nodes redis mail dns dns-tcp api kubelet alerts outside
gateway    - - - + - - + - + + - - + -
consumer   - - - + - - + + + + - - + -
controller - + - + - - + - + + + - + -
bindings   - - - + - - + - + + - - + -
rabbitmq   - - - - - - - - + + - - - -
redis      - - - - - - - - + + - - - -
mail       - - - - - - - - + + - - - -
test       + - - - - - - - + + - - - -
stranger   + + + - + - - - + + + + + +
caller     + + + - + - - - + + + + + +
neighbour  + + + - + - - - + + + + + +
foreigner  + + + - + - - - + + + + + +
impostor   + + + - + - - - + + + + + +
"""
_HEAD, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
EXPECTED = {
    (row[0], destination): "open" if sign == "+" else "silent"
    for row in _ROWS
    for destination, sign in zip(_HEAD[1:], row[1:], strict=True)
}


@pytest.fixture(scope="module")
def probes(release: Release, workers: list[str]) -> Iterator[Probes]:
    made = Probes(release, workers)
    yield made
    made.end()


@pytest.fixture(scope="module")
def answers(probes: Probes) -> Answers:
    return probes.again()


def test_the_table_has_every_kind_of_pod(probes: Probes) -> None:
    assert {source for source, _ in probes.first} == {source for source, _ in EXPECTED}


@pytest.mark.parametrize(("source", "destination"), EXPECTED, ids=map("-to-".join, EXPECTED))
def test_what_must_connect_does_and_nothing_else(
    probes: Probes, answers: Answers, workers: list[str], source: str, destination: str
) -> None:
    """Nothing else from the first packet on; a program that must connect may have to try twice, since a policy can only let in the
    pods that the peer's node knows of."""
    expected = EXPECTED[source, destination]
    assert {answers[source, node][destination] for node in workers} == {expected}
    if expected == "silent":
        assert {probes.first[source, node][destination] for node in workers} == {"silent"}, "with its first packet"


def test_values_narrow_who_reaches_gateway_and_metrics(release: Release, probes: Probes) -> None:
    home = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": probes.elsewhere.name}}}
    narrow = {"gatewayFrom": [{"podSelector": {"matchLabels": {"role": "caller"}}}], "metricsFrom": [home]}
    expected = dict(EXPECTED)
    for source in ("stranger", "caller", "neighbour"):
        for destination in ("gateway", "consumer", "controller", "metrics"):
            expected[source, destination] = "silent"
    expected["caller", "gateway"] = "open"
    _upgrade(release, {"networkPolicy": narrow})
    _becomes(probes, expected)


def test_without_them_all_is_open(release: Release, probes: Probes) -> None:
    """So what was silent above is there, and the policies denied it."""
    _upgrade(release, {"networkPolicy": {"enabled": False}})
    try:
        _becomes(probes, dict.fromkeys(EXPECTED, "open"))
    finally:
        _upgrade(release, {})


def _upgrade(release: Release, values: Json) -> None:
    release.upgrade(merged(VALUES, values))


def _becomes(probes: Probes, expected: dict[tuple[str, str], str]) -> None:
    def differences() -> list[tuple[str, ...]]:
        return [
            (source, node, destination, answer)
            for (source, node), told in probes.again().items()
            for destination, answer in told.items()
            if answer != expected[source, destination]
        ]

    until(differences, lambda found: not found, 60, "each answer as expected")
