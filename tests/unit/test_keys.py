"""API keys: the lines of their file, which key a request carries, and how a file is read again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.errors import SettingsError
from service.errors import Problem
from service.guard import OPEN, SKIPPED_AT_MOST, Guard
from service.key_files import KeyFiles, is_loopback, keys_of
from service.keys import SCOPES, Key, Keyring, line_of, new_key, parse, unambiguous
from service.settings import GatewaySettings

HEX = "ab" * 32


def test_a_new_key_is_random_and_its_line_holds_its_hash_alone() -> None:
    key, other = new_key(), new_key()
    assert key != other
    assert (key[:3], len(key)) == ("hr_", 46)
    (found,) = parse(line_of("ci", "submit,read", key), "file")
    assert found == Key("ci", frozenset({"submit", "read"}), hashlib.sha256(key.encode()).digest())
    assert key not in line_of("ci", "submit", key)


def test_comments_empty_lines_and_line_ends_of_any_editor() -> None:
    text = f"# keys\r\n\r\n  ci  submit\tsha256:{HEX}\r\n   # ci submit sha256:{HEX}\nops read,operate sha256:{HEX.upper()}"
    assert [(key.name, key.scopes) for key in parse(text, "file")] == [
        ("ci", frozenset({"submit"})),
        ("ops", frozenset({"read", "operate"})),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ci", "1 words"),
        (f"ci submit sha256:{HEX} # mine", "5 words"),
        (f"ci submit sha256:{HEX[1:]}", "64 hex"),
        (f"ci submit sha256:{HEX[1:]}g", "64 hex"),
        (f"ci submit {HEX}", "headrace key hash"),
        (f"ci submit,write sha256:{HEX}", "some of submit, read, operate"),
        (f"ci submit, sha256:{HEX}", "some of"),
        (f"ci SUBMIT sha256:{HEX}", "some of"),
        (f"-ci submit sha256:{HEX}", "the name"),
        (f"{'c' * 65} submit sha256:{HEX}", "the name"),
        (f"cé submit sha256:{HEX}", "the name"),
    ],
)
def test_a_bad_line_is_told_by_its_number_and_never_shown(line: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        parse(f"# one\nok read sha256:{HEX}\n{line}", "keys.txt")
    assert "keys.txt, line 3: " in str(raised.value)
    assert HEX[1:] not in str(raised.value)


def test_a_key_in_the_wrong_place_is_not_shown() -> None:
    key = new_key()
    for line in (f"ci submit {key}", f"ci {key} sha256:{HEX}", f"{key}! submit sha256:{HEX}", key):
        with pytest.raises(SettingsError) as raised:
            parse(line, "file")
        assert key not in str(raised.value)


def test_only_a_made_key_gets_a_line() -> None:
    for secret in ("hunter2", "hr_short", new_key() + "x", ""):
        with pytest.raises(SettingsError, match="headrace key new"):
            line_of("ci", "submit", secret)
    with pytest.raises(SettingsError, match="the name"):
        line_of("a b", "submit", new_key())


def test_one_key_in_two_lines_must_be_the_same_line() -> None:
    keys = parse(f"a read sha256:{HEX}\na read sha256:{HEX}", "file")
    assert len(unambiguous(keys)) == 1
    with pytest.raises(SettingsError, match="a and b") as raised:
        unambiguous(keys + parse(f"b read sha256:{HEX}", "file"))
    assert HEX not in str(raised.value)


def guard_of(*lines: str) -> Guard:
    return Guard(Keyring(parse("\n".join(lines), "file")))


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def refused(guard: Guard, headers: dict[bytes, bytes], scope: Any = "submit") -> Problem:
    with pytest.raises(Problem) as raised:
        guard.caller(headers, scope)
    return raised.value


def test_either_header_names_the_caller() -> None:
    key = new_key()
    guard = guard_of(line_of("ci", "submit", key), line_of("other", "submit", new_key()))
    for headers in (
        bearer(key),
        {b"authorization": b"bearer  " + key.encode() + b" "},
        {b"x-api-key": key.encode()},
        {b"authorization": b"Basic Zm9vOmJhcg==", b"x-api-key": key.encode()},  # a proxy's own
    ):
        assert guard.caller(headers, "submit") == "ci"


def test_missing_and_unknown_are_401_and_say_how() -> None:
    key = new_key()
    guard = guard_of(line_of("ci", "submit", key))
    missing = refused(guard, {})
    assert (missing.status, missing.headers) == (401, {"WWW-Authenticate": 'Bearer realm="headrace"'})
    for given in (new_key(), key[:-1], key + "x", key.upper(), "ü"):
        unknown = refused(guard, bearer(given))
        assert unknown.status == 401
        assert unknown.headers["WWW-Authenticate"] == 'Bearer realm="headrace", error="invalid_token"'
        assert given not in unknown.detail
    assert refused(guard, {b"authorization": b"Bearer"}).status == 401
    assert refused(guard_of(), bearer(key)).status == 401, "no keys: nobody comes in"


def test_a_missing_scope_is_403_and_named_and_no_scope_holds_another() -> None:
    for scope in SCOPES:
        key = new_key()
        guard = guard_of(line_of("ci", scope, key))
        for wanted in SCOPES:
            if wanted == scope:
                assert guard.caller(bearer(key), wanted) == "ci"
                continue
            problem = refused(guard, bearer(key), wanted)
            assert (problem.status, problem.extensions) == (403, {"scope": wanted})
            assert problem.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{wanted}"'


def test_a_connection_is_kept_only_when_what_is_left_of_the_body_is_short() -> None:
    def closes(**headers: str) -> bool:
        return "Connection" in refused(guard_of(), {n.replace("_", "-").encode(): v.encode() for n, v in headers.items()}).headers

    assert not closes()
    assert not closes(content_length=str(SKIPPED_AT_MOST))
    assert closes(content_length=str(SKIPPED_AT_MOST + 1))
    assert closes(content_length="9" * 30)
    assert closes(transfer_encoding="chunked")
    assert closes(content_length="2", expect="100-continue")


def test_an_open_gateway_asks_nobody() -> None:
    assert Guard(None).caller({}, "operate") == ""


def settings(**given: Any) -> GatewaySettings:
    return GatewaySettings(**given)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_open_where_only_this_machine_comes(host: str) -> None:
    assert keys_of(settings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "gateway", "localhost.example.com", ""])  # noqa: S104 - what is refused
def test_refused_where_others_come_with_both_remedies(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match=r"HEADRACE_API_KEYS is empty.*headrace key new.*HEADRACE_API_KEYS=open"):
        keys_of(settings(host=host))
    assert keys_of(settings(host=host, api_keys="open")) is None


def test_what_cannot_be_read_at_start_is_named(tmp_path: Path) -> None:
    bad, binary = tmp_path / "bad", tmp_path / "binary"
    bad.write_text("ci\n")
    binary.write_bytes(b"\xff\xfe")
    long = tmp_path / "long"
    long.write_bytes(b"#" * 2_000_000)
    for path, why in (
        (tmp_path / "none", "No such file"),
        (bad, "bad, line 1"),
        (binary, "UTF-8"),
        (long, "longer than"),
    ):
        with pytest.raises(SettingsError, match=f"HEADRACE_API_KEYS.*{why}"):
            keys_of(settings(api_keys=str(path)))


def names(files: KeyFiles) -> list[str]:
    return [key.name for key in files.ring.keys]


def test_a_folder_is_all_its_files_but_hidden_ones_and_folders(tmp_path: Path) -> None:
    for name, caller in (("b", "two"), ("a", "one"), (".c", "hidden")):
        (tmp_path / name).write_text(line_of(caller, "read", new_key()))  # no line end: files are joined as lines
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d").write_text("not read")
    assert names(KeyFiles(tmp_path)) == ["one", "two"]


def test_a_mistake_changes_nothing_and_is_logged_once_without_its_content(tmp_path: Path) -> None:
    file, key = tmp_path / "keys", new_key()
    file.write_text(line_of("one", "read", key))
    files = KeyFiles(file)
    with structlog.testing.capture_logs() as logged:
        files.look()
        assert logged == []
        file.write_text(f"one read sha256:{HEX}\noops {new_key()}\n")
        files.look()
        files.look()
        assert files.ring.find(key.encode()) is not None
        (line,) = logged
        assert (line["log_level"], "keys, line 2" in line["why"], HEX in str(line)) == ("error", True, False)
        file.unlink()
        files.look()
        assert names(files) == ["one"]
        assert "No such file" in logged[1]["why"]
        file.write_text(line_of("two", "read", new_key()))
        files.look()
        assert names(files) == ["two"]
        assert logged[2]["callers"] == ["two"]
        file.write_text("")
        files.look()
        assert names(files) == [], "no key is a set of keys too"
        assert logged[-1]["log_level"] == "warning"


def test_a_secret_is_swapped_as_kubernetes_does_it(tmp_path: Path) -> None:
    """Links to ..data, itself a link that is renamed into place; here even with the same size and times."""
    first, second = new_key(), new_key()
    for version, key in (("..1", first), ("..2", second)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(line_of("ci", "read", key))
        os.utime(tmp_path / version / "keys", ns=(1, 1))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys").symlink_to("..data/keys")
    files = KeyFiles(tmp_path)
    assert files.ring.find(first.encode())
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    files.look()
    assert files.ring.find(second.encode())
    assert not files.ring.find(first.encode())


def test_what_is_open_is_few() -> None:
    assert sorted(OPEN) == ["/asyncapi.json", "/docs", "/livez", "/metrics", "/openapi.json", "/readyz"]
