"""The prose of docstrings, comments and pages: turns that stop a reader whose third language is English are banned."""

from __future__ import annotations

import ast
import bisect
import io
import itertools
import re
import subprocess
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TURNS = {
    r"\b(?:is|are|was|were|been|being|be) told\b": "name the sender, and use its verb: receives, is notified of, reads, gets",
    r"\bso many\b": "the number with its unit: `at most N seconds`, `N jobs`, `that number of`",
    r"\bso long\b": "`for N seconds`, `for that time`, or `as long as`",
    r"\bwho sees\b": "a noun as the subject: the reader, the operator, the program that reads it",
    r"\bwhat is away\b": "`an unavailable server`, `the unavailable part`",
    r"\b(?:is|are|was|were) away\b": "`is unavailable`; of a person or an alert `is absent`",
    r"\b(?:goes|go|going|went) before\b": "`takes precedence over`, or `runs before`",
    r"\b(?:made anew|anew)\b": "`again`: `created again`, `generated again`, `read again`",
    r"\b(?:is|are|was|were) said\b": "`is logged`, `is reported`, `is documented`: name where",
    r"\bas (?:it stands|they stand)\b": "`unchanged`, `as is`, or `in its present state`",
    r"\bnobody\b": "the thing that does not act: `no consumer`, `no program`, `no caller`; or the passive: `is not read`",
    r"\bwhoever\b": "the one that acts: the caller, the client, the operator, the consumer",
    r"\blook that saw\b": "`a poll with an empty result`",
}
"""A regular expression of words and groups of words alone, and what to write instead."""

OPENING = re.compile(r"(?:(?:^|(?<=[.!?] ))(?:What|Whatever|Who|Whoever)|(?<=; )(?:what|whatever))\b(?![^.:;]*\?)")
OPENING_ADVICE = "begin the sentence with a noun: `Missing keys are skipped`, not `What is missing is skipped`"

_BANNED = re.compile("|".join(f"({turn})" for turn in TURNS), re.IGNORECASE)
_PHRASES = [
    "".join(parts)
    for turn in TURNS
    for parts in itertools.product(*(group.split("|") for group in re.split(r"\(\?:|\)", turn.replace(r"\b", ""))))
]

GENERATED = {
    "docs/settings.md": "made by `make docs` of the settings' descriptions, which programs print",
    "docs/rbac.md": "made by `make docs` of the chart",
    "docs/reliability.md": "made of tests/chaos/reliability.head.md, which is checked, and of strings in tests/chaos/cells.py",
    "helm/headrace/README.md": "its table is made by `make docs` of values.yaml",
}
VALUES = "helm/headrace/values.yaml"
"""A comment above a key of it is part of helm/headrace/README.md, and left alone as the other generated texts are."""
SHOWN = ("command", "callback", "get", "post", "put", "delete", "patch", "head", "exception_handler", "middleware")
"""Decorators whose function's docstring is help text or part of the OpenAPI document: a program prints it."""
NOT_YET: dict[str, str] = {}
"""Folders and files that are not rewritten yet, and why."""


@dataclass(frozen=True)
class Block:
    """One paragraph, comment or table cell: (line, text) of its lines. opens: whether its first word begins a sentence."""

    file: str
    lines: Sequence[tuple[int, str]]
    opens: bool = True


@dataclass(frozen=True)
class Finding:
    file: str
    line: int
    turn: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.turn!r}: {self.instead}"


def test_prose_has_no_riddles() -> None:
    found = [str(finding) for file in _tracked() if not _excepted(file) for finding in _findings(file, _read(file))]
    assert found == [], f"{len(found)} turns to rewrite:\n" + "\n".join(found)


def test_exceptions_are_needed() -> None:
    tracked = _tracked()
    assert [name for name in GENERATED if name not in tracked] == []
    covered = {name: [file for file in tracked if file == name or file.startswith(f"{name}/")] for name in NOT_YET}
    assert [name for name, files in covered.items() if not any(_findings(file, _read(file)) for file in files)] == [], "covered now"


@pytest.mark.parametrize(
    ("file", "text", "lines"),
    [
        ("a.py", '"""What is away is skipped."""\n', [1, 1]),
        ("a.py", 'X = "what is away"  # waits so many\n', [1]),
        ("a.py", "# A caller that waits so\n# many seconds.\n", [1]),
        ("a.py", "# What happens then?\n", []),
        ("a.py", '"""One.\n\nWho asks waits.\n"""\n', [3]),
        ("a.py", '"""One; what is it? One; what\nis not."""\n', [1]),
        ("a.py", '"""One. What\nis it? What it is."""\n', [2]),
        ("a.py", '@app.command()\ndef run():\n    """What it prints."""\n', []),
        ("a.md", "## What it does\n\nWhat it does is said here.\n", [3, 3]),
        ("a.md", "| What is told | other |\n", [1]),
        ("a.md", "```\nWhat is told\n```\n\n    what is told\n\nText.\n", []),
        ("a.md", "- One.\n- Who comes\n  is told.\n", [2, 3]),
        ("a.yaml", "key: 1 # goes before\n# What\nother: is told\n", [1, 2]),
        ("Makefile", "lock: ## make it anew\n", []),
        ("a.tpl", "{{- /* What it is. */}}\n", [1]),
    ],
)
def test_a_turn_is_found(file: str, text: str, lines: list[int]) -> None:
    assert [finding.line for finding in _findings(file, text)] == lines


def _tracked() -> list[str]:
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    return [
        file
        for file in listed.split("\0")
        if file.endswith((".py", ".md"))
        or file == "Makefile"
        or file.startswith((".ci/", "helm/headrace/templates/"))
        or file == VALUES
    ]


def _excepted(file: str) -> bool:
    return file in GENERATED or any(file == name or file.startswith(f"{name}/") for name in NOT_YET)


def _read(file: str) -> str:
    path = ROOT / file
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _findings(file: str, text: str) -> list[Finding]:
    """The banned turns of a file, by line. A file without any of their words is not parsed: parsing them all takes seconds."""
    if not _suspect(text):
        return []
    blocks = _python(file, text) if file.endswith(".py") else _page(file, text) if file.endswith(".md") else _commented(file, text)
    return sorted((finding for block in blocks for finding in _in_block(block)), key=lambda finding: finding.line)


def _suspect(text: str) -> bool:
    """Whether a banned phrase may be in some prose of it: a search for plain strings, which is fast."""
    words = " ".join(text.replace("#", " ").lower().split())
    if any(phrase in words and re.search(rf"\b{phrase}\b", words) for phrase in _PHRASES):
        return True
    if "; what" in words:
        return True
    before = (text[text.rfind("\n", 0, match.start()) + 1 : match.start()].rstrip() for match in re.finditer("Wh(?:at|o)", text))
    return any(not one or one.endswith(("#", '"""', "*", "-", ">", ".")) for one in before)


def _in_block(block: Block) -> Iterator[Finding]:
    text, starts = "", []
    for _, line in block.lines:
        starts.append(len(text))
        text += re.sub(r"`[^`]*`", lambda code: "`" * len(code[0]), line.strip()) + " "
    numbers = [number for number, _ in block.lines]
    found = [(match, OPENING_ADVICE) for match in OPENING.finditer(text) if block.opens or match.start()]
    found += [
        (match, next(advice for advice, turn in zip(TURNS.values(), match.groups(), strict=True) if turn))
        for match in _BANNED.finditer(re.sub(r"\s", " ", text))
    ]
    for match, instead in found:
        yield Finding(block.file, numbers[bisect.bisect_right(starts, match.start()) - 1], match[0], instead)


def _python(file: str, text: str) -> Iterator[Block]:
    for node in _statements(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            printed = any(_decorator(one) in SHOWN for one in getattr(node, "decorator_list", ()))
            printed |= isinstance(node, ast.Module) and "description=__doc__" in text
            for statement in node.body:
                match statement:
                    case ast.Expr(ast.Constant(str(words))) if not (printed and statement is node.body[0]):
                        yield from _paragraphs(file, enumerate(words.splitlines(), statement.lineno))
    if not _suspect("\n".join(line[line.index("#") :] for line in text.splitlines() if "#" in line)):
        return  # for the tokens take most of the time
    comments = [
        (token.start, token.string, token.line)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    yield from _grouped(file, [(row, column, comment, not line[:column].strip()) for (row, column), comment, line in comments])


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """It and all statements below. `ast.walk` goes through their expressions too, which takes three times as long."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _statements(child)


def _decorator(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else ""


def _commented(file: str, text: str) -> Iterator[Block]:
    """Comments that begin with #, and those of templates. A # within a word or within quotes begins none; ## is the help of a
    Makefile's target, which `make help` prints."""
    whole = [
        (row, match.start(2), match[2], not match[1].strip())
        for row, line in enumerate(text.splitlines(), 1)
        if (match := re.match(r"((?:[^#'\"]|'[^']*'|\"[^\"]*\"|(?<=\S)#)*?)((?:(?<=\s)|^)#(?![#!]).*)", line))
    ]
    if file == VALUES:
        filled = [False, *(bool(line.strip()) for line in text.splitlines()), False]
        rows = {row for row, *_, alone in whole if alone}
        whole = [one for one in whole if not (one[3] and _describes(one[0], filled, rows))]
    yield from _grouped(file, whole)
    for match in re.finditer(r"\{\{-? */\*(.*?)\*/", text, re.DOTALL):
        yield from _paragraphs(file, enumerate(match[1].splitlines(), text.count("\n", 0, match.start()) + 1))


def _describes(row: int, filled: Sequence[bool], comments: set[int]) -> bool:
    """Whether a line of a comment is followed by a key, with no empty line between."""
    while row in comments:
        row += 1
    return filled[row]


def _grouped(file: str, comments: Sequence[tuple[int, int, str, bool]]) -> Iterator[Block]:
    """Joins comments on consecutive lines of their own. comments: (row, column, text, whether it has the line to itself)."""
    group: list[tuple[int, str]] = []
    last = (0, 0, False)
    for row, column, comment, alone in comments:
        if group and not (alone and last == (row - 1, column, True)):
            yield from _paragraphs(file, group)
            group = []
        group.append((row, re.sub(r"^#+ ?", "", comment)))
        last = (row, column, alone)
    yield from _paragraphs(file, group)


def _paragraphs(file: str, lines: Iterator[tuple[int, str]] | Sequence[tuple[int, str]]) -> Iterator[Block]:
    paragraph: list[tuple[int, str]] = []
    for row, line in lines:
        if not line.strip() or re.match(r"\s*[-*] ", line):
            if paragraph:
                yield Block(file, paragraph)
            paragraph = []
        if line.strip():
            paragraph.append((row, re.sub(r"^\s*[-*] ", "", line)))
    if paragraph:
        yield Block(file, paragraph)


def _page(file: str, text: str) -> Iterator[Block]:
    """Paragraphs, items of lists, headings and rows of tables of a page, without its code."""
    paragraph: list[tuple[int, str]] = []
    fenced = indented = False
    blank = True
    for row, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        indented = not fenced and line.startswith("    ") and (blank or indented) and not re.match(r"\s*([-*]|\d+\.) ", line)
        code = fence or fenced or indented
        lone = line.startswith(("|", "#"))
        item = re.match(r"\s*(?:[-*>]|\d+\.) +(?:\*\*)?", line)
        if paragraph and (code or lone or item or not line.strip()):
            yield Block(file, paragraph)
            paragraph = []
        if lone and not code:
            yield Block(file, [(row, line)], opens=False)
        elif line.strip() and not code:
            paragraph.append((row, line[item.end() :] if item else line))
        blank = not line.strip()
    if paragraph:
        yield Block(file, paragraph)
