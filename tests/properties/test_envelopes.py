"""Headers of whatever producer: read to an envelope that can be written, or refused with an EnvelopeError."""

from __future__ import annotations

import os

from hypothesis import example, given
from hypothesis import strategies as st

from core.clock import FIRST, LAST, from_rfc3339, rfc3339, within
from core.envelope import Envelope
from core.errors import EnvelopeError, SettingsError
from core.settings import load
from service.settings import GatewaySettings

ID = "01a20c57-040c-7584-a42e-6f91a24065d8"
BARE = {"cloudEvents_specversion": "1.0", "cloudEvents_id": ID, "cloudEvents_source": "/shop", "cloudEvents_type": "a.b"}
TIMES = st.one_of(
    st.text(max_size=40),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.builds(
        lambda at, sign, hours: f"{at.isoformat()}{sign}{hours:02}:59", st.datetimes(), st.sampled_from("+-"), st.integers(0, 23)
    ),
)
COUNTS = st.one_of(st.text(max_size=12), st.integers(-2, 10**12).map(str))
TEXTS = ["cloudEvents_id", "cloudEvents_type", "cloudEvents_source", "traceparent", "baggage"]
NAMES = ["headrace-version", "headrace-attempt", "headrace-replay", "headrace-crashes", "headrace-priority"]


@given(
    st.fixed_dictionaries(
        {},
        optional={"cloudEvents_time": TIMES, "headrace-deadline": TIMES}
        | dict.fromkeys(NAMES, COUNTS)
        | dict.fromkeys(
            ["cloudEvents_id", "cloudEvents_type", "cloudEvents_source", "traceparent", "baggage"], st.text(max_size=300)
        ),
    ),
    st.floats(),
)
@example({"cloudEvents_time": "9999-12-31T23:59:59-14:00"}, 0.0)
@example({"cloudEvents_time": "0001-01-01T00:00:00+14:00", "headrace-deadline": "9999-12-31T23:59:59.999999-23:59"}, 0.0)
@example({"headrace-attempt": "999999999", "headrace-replay": "999999999"}, 0.0)
def test_what_is_read_can_be_written_and_read_again(given_headers: dict[str, str], now: float) -> None:
    try:
        envelope = Envelope.read(BARE | given_headers, now)
    except EnvelopeError:
        return
    assert Envelope.read(envelope.headers(), 0.0) == envelope
    for later in (envelope.next_attempt(), envelope.after_crash(), envelope.replayed(envelope.replay + 1)):
        assert Envelope.read(later.headers(), 0.0) == later


@given(st.floats())
def test_any_time_can_be_shown(at: float) -> None:
    """For any time in a record: the nearest one that RFC 3339 can write."""
    text = rfc3339(at)
    assert FIRST <= from_rfc3339(text) <= LAST
    assert from_rfc3339(text) == within(at)


VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@given(
    st.dictionaries(
        st.sampled_from([name for name in GatewaySettings.model_fields if not name.endswith("_file")]),
        VALUES | st.floats().map(str) | st.integers().map(str),
        max_size=4,
    )
)
def test_any_value_of_a_setting_is_taken_or_refused_with_its_name(values: dict[str, str]) -> None:
    names = {f"HEADRACE_{name.upper()}": value for name, value in values.items()}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    said = ""
    try:
        load(GatewaySettings)
    except SettingsError as error:
        said = str(error)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    assert not said or any(name in said for name in names)
