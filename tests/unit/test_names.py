"""A project's name in its spellings, and texts from one to another."""

from __future__ import annotations

import pytest

from core.errors import SettingsError
from template.names import OWN, Names, Renaming

LIVE = Names.of(OWN)


def spelt(text: str) -> str:
    """{k}, {s}, {S}, {T}, {C}: this project's name in kebab, snake, screaming, title, camel."""
    return text.format(k=LIVE.kebab, s=LIVE.snake, S=LIVE.screaming, T=LIVE.title, C=LIVE.camel)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{S}_BROKER=x {S}_OUTCOMES", "MY_TEAM_JOBS_BROKER=x MY_TEAM_JOBS_OUTCOMES"),
        ("rate({s}_jobs_total) _{s}_", "rate(my_team_jobs_jobs_total) _my_team_jobs_"),
        ("{k}/pause: {k}-consumer-x {k}.local", "my-team-jobs/pause: my-team-jobs-consumer-x my-team-jobs.local"),
        ("{k}:job:1", "my-team-jobs:job:1"),
        ("class {C}Error; alert {C}QueueGone", "class MyTeamJobsError; alert MyTeamJobsQueueGone"),
        ('f"{C}{{kind}}"', 'f"MyTeamJobs{kind}"'),
        ("{T}'s gateway. {T}, {T}: {T}", "My Team Jobs's gateway. My Team Jobs, My Team Jobs: My Team Jobs"),
        ("nothing of it", "nothing of it"),
    ],
)
def test_each_place_gets_its_own_spelling(before: str, after: str) -> None:
    assert Renaming(LIVE, Names.of("my-team-jobs")).of(spelt(before)) == after


@pytest.mark.parametrize("name", ["my-team-jobs", "x9"])
def test_a_renamed_project_can_be_renamed_again(name: str) -> None:
    text = spelt("{S}_A {s}_b {k}-c {C}D {T} e")
    there = Renaming(LIVE, Names.of(name)).of(text)
    assert Renaming(Names.of(name), LIVE).of(there) == text


@pytest.mark.parametrize("name", ["", "My-Jobs", "9x", "a--b", "-a", "a-", "a_b", "a b", "ä", "a" * 31, "../x"])
def test_what_is_no_name_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(SettingsError, match="as in my-team-jobs"):
        Names.of(name)
