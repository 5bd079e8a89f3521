"""The shared language: contracts, catalogue, payloads, ids, delays. Arithmetic and strings."""

from __future__ import annotations

import random
import types
import uuid
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from core import payload
from core.catalogue import Catalogue
from core.clock import from_rfc3339, rfc3339
from core.errors import ContractError, InvalidPayload, MalformedBody, UnknownJobType
from core.identity import claim_token, dead_id, is_job_id, job_id_from_key, new_job_id
from core.model import Contract
from core.retry import MAX_DELAY, RetryPolicy
from core.topology import DELAY_LEVELS, Topology, delay_exchange, delay_key, delay_seconds


class Thing(BaseModel):
    n: int
    tags: list[dict[str, int]] = []


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Thing.Done"},
        {"name": "a" * 101},
        {"queues": ()},
        {"queues": ("one", "one")},
        {"queues": ("with.dot",)},
        {"time_limit": 0},
        {"priority": 10},
        {"deadline": 0},
    ],
)
def test_a_contract_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"name": "thing.done", "payload": Thing, "queues": ("one",)}
    Contract(**right)
    with pytest.raises(ContractError, match="job type"):
        Contract(**right | wrong)


def test_a_tuple_of_one_needs_its_comma() -> None:
    with pytest.raises(ContractError, match=r"queues is a str, not a tuple: write \(\"ledger\",\)"):
        Contract("a.b", BaseModel, queues=("ledger"))  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ContractError, match="queues is a list, not a tuple"):
        Contract("a.b", BaseModel, queues=["ledger"])  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("wrong", [{"max_attempts": 0}, {"base": 0}, {"base": 5, "cap": 1}, {"cap": MAX_DELAY + 1}])
def test_a_retry_policy_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="RetryPolicy"):
        RetryPolicy(**wrong)


@given(attempt=st.integers(1, 2000), seed=st.integers())
def test_a_delay_lies_between_nothing_and_the_doubled_base(attempt: int, seed: int) -> None:
    policy = RetryPolicy(max_attempts=1000, base=0.5, cap=60.0)
    delay = policy.delay(attempt, random.Random(seed))
    if attempt >= 1000:
        assert delay is None
    else:
        assert delay is not None
        assert 0 <= delay <= min(60.0, 0.5 * 2.0 ** (attempt - 1))


def test_jitter_is_full() -> None:
    policy, rng = RetryPolicy(base=8.0, cap=8.0), random.Random(1)
    delays = [policy.delay(1, rng) or 0.0 for _ in range(2000)]
    assert min(delays) < 0.1
    assert max(delays) > 7.9
    assert abs(sum(delays) / len(delays) - 4.0) < 0.2


def test_two_contracts_of_one_name_are_refused() -> None:
    one = Contract("thing.done", Thing, ("one",))
    with pytest.raises(ContractError, match="two contracts"):
        Catalogue([one, Contract("thing.done", Thing, ("two",))])


def test_an_example_that_does_not_validate_is_refused() -> None:
    with pytest.raises(ContractError, match=r"examples\[0\]"):
        Catalogue([Contract("thing.done", Thing, ("one",), examples=({"n": "x"},))])


def test_near_names_are_told() -> None:
    catalogue = Catalogue([Contract("thing.done", Thing, ("one", "two")), Contract("thing.seen", Thing, ("two",))])
    assert catalogue.topology().queues == ("one", "two")
    with pytest.raises(UnknownJobType) as caught:
        catalogue["thing.don"]
    assert caught.value.near[0] == "thing.done"


def test_a_module_without_a_contract_is_refused(tmp_path: object) -> None:
    package = types.ModuleType("tests.unit")
    package.__path__ = ["tests/contract"]  # modules, and no Contract in any of them
    package.__name__ = "tests.contract"
    with pytest.raises(ContractError, match="defines no Contract"):
        Catalogue.of(package)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b'"x"', b"null", b'{"n":1,"n":2}', b'{"n":Infinity}', b'{"a":"\xff"}', b"[" * 300, b"{} {}"]
)
def test_what_is_not_one_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        payload.read(Thing, body)


def test_every_wrong_field_has_a_json_pointer() -> None:
    with pytest.raises(InvalidPayload) as caught:
        payload.read(Thing, b'{"n":"x","tags":[{"a/b~c":"y"}]}')
    assert [p.pointer for p in caught.value.problems] == ["/n", "/tags/0/a~1b~0c"]


def test_a_strict_model_takes_what_json_can_say() -> None:
    assert payload.read(Strict, b'{"at":"2026-01-31T09:30:00Z"}').at.year == 2026


def test_ids() -> None:
    assert uuid.UUID(new_job_id()).version == 7
    assert uuid.UUID(job_id_from_key("k", "a.b", "")).version == 8
    assert job_id_from_key("k", "a.b", "me") == job_id_from_key("k", "a.b", "me")
    assert len({job_id_from_key(*parts) for parts in (("ab", "c", ""), ("a", "bc", ""), ("a", "b", "c"), ("", "abc", ""))}) == 4
    assert dead_id("q", "j", 0) != dead_id("q", "j", 1)
    assert len({claim_token() for _ in range(100)}) == 100


@given(st.uuids())
def test_only_the_canonical_spelling_is_a_job_id(value: uuid.UUID) -> None:
    assert is_job_id(str(value))
    assert not any(map(is_job_id, (value.hex, str(value) + "\n", f"{{{value}}}", str(value)[:-1], "")))


@given(st.floats(0, 4e9))
def test_times_survive_to_the_millisecond(at: float) -> None:
    assert abs(from_rfc3339(rfc3339(at)) - at) <= 0.000_51


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        from_rfc3339("2026-01-31T09:30:00")


def walk(delay: float, queue: str) -> tuple[int, str]:
    """Follow a delayed message through the ladder as its bindings lead it: seconds waited, and the queue it arrives in."""
    seconds = delay_seconds(delay)
    key = delay_key(delay, queue).split(".")
    waited, level = 0, seconds.bit_length() - 1
    while level >= 0:
        if key[DELAY_LEVELS - 1 - level] == "1":
            waited += 2**level
        level -= 1
    return waited, key[-1]


@given(delay=st.floats(0.001, MAX_DELAY), queue=st.sampled_from(["email", "a-b_c"]))
def test_the_ladder_waits_no_less_and_hardly_more(delay: float, queue: str) -> None:
    waited, arrived = walk(delay, queue)
    assert arrived == queue
    assert delay <= waited < delay + 1


def test_the_ladders_words() -> None:
    assert delay_key(5.0, "email").endswith("1.0.1.email")
    assert delay_key(5.0, "email").count(".") == DELAY_LEVELS
    assert delay_exchange(3) == "jobs.delay.03"
    assert delay_seconds(1e12) == 2**22 - 1
    assert Topology({"a": ("x", "y"), "b": ("y",)}).queues == ("x", "y")
