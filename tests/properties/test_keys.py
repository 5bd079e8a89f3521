"""The parser of key files, on anything: keys or an error of ours, and never a word of what stands there."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingsError
from service.keys import SCOPES, Keyring, line_of, new_key, parse

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
WANTED = st.lists(st.sampled_from(SCOPES), min_size=1, unique=True)
# Whole words, so that most examples come near to being lines.
WORDS = st.one_of(
    st.text(max_size=20), st.just("submit,read"), st.just("sha256:" + "0f" * 32), st.just("#"), st.just("hr_" + "S" * 43)
)
_ERROR = re.compile(r"keys, line (\d+): .+", re.DOTALL)


@given(st.lists(st.tuples(NAMES, WANTED), max_size=8), st.lists(st.sampled_from(["", "# said", "  \t", "\r"]), max_size=8))
def test_what_is_made_is_read_and_each_key_finds_its_caller(callers: list[tuple[str, list[str]]], noise: list[str]) -> None:
    made = [(name, scopes, new_key()) for name, scopes in callers]
    lines = [line_of(name, ",".join(scopes), key) for name, scopes, key in made]
    ring = Keyring(parse("\n".join([*noise, *lines, *noise]), "keys"))
    assert len(ring.keys) == len(made)
    for name, scopes, key in made:
        found = ring.find(key.encode())
        assert found is not None
        assert (found.name, found.scopes) == (name, frozenset(scopes))
    assert ring.find(new_key().encode()) is None


@given(st.lists(st.lists(WORDS, max_size=4).map(" ".join), max_size=5).map("\n".join))
def test_anything_else_is_keys_or_an_error_of_ours_with_its_line(text: str) -> None:
    lines = text.split("\n")
    try:
        keys = parse(text, "keys")
    except SettingsError as error:
        said = str(error)
    else:
        assert len(keys) <= len(lines)
        assert all(len(key.digest) == 32 and key.scopes <= set(SCOPES) and key.scopes for key in keys)
        return
    match = _ERROR.fullmatch(said)
    assert match is not None
    assert 1 <= int(match[1]) <= len(lines)
    assert "S" * 43 not in said
    assert "0f" * 32 not in said
