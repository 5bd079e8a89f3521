"""`headrace simulate`: its table, its JSON, its report."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from cli.policies import build
from core.errors import SettingsError
from simulator.simulate import Fixed, Run, Score, World, simulate

TRACES = Path(__file__).parents[2] / "bench" / "traces"
KEYS = [
    "trace",
    "policy",
    "late_s",
    "p50_wait_s",
    "p95_wait_s",
    "p99_wait_s",
    "pod_seconds",
    "scale_actions",
    "max_backlog",
    "returned",
    "drain_s",
    "late_jobs",
]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [simulate(World(), [900.0] * 5 + [50.0] * 60, Fixed(replicas), trace="a <b> & c") for replicas in (1, 4)]


@pytest.fixture(scope="module")
def report() -> ModuleType:
    """Not at import: where matplotlib is new, it asks a program for the fonts of the machine."""
    return importlib.import_module("cli.report")


@pytest.fixture(scope="module")
def plots(report: ModuleType) -> ModuleType:
    return importlib.import_module("cli.plots")


@pytest.fixture(scope="module")
def page(report: ModuleType, runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "new" / "report.html"
    more = [replace(runs[0].score, policy="keda 5", late_s=3.0), replace(runs[0].score, policy="keda 9", late_s=0.0)]
    report.write(out, [report.Section("step", World(), runs, more), report.Section("again", World(), runs)])
    return out


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_page_needs_nothing_beside_it(page: Path) -> None:
    text = page.read_text()
    assert text.count("<svg") == 4
    assert not re.findall(r"<(?:script|link|img|image|iframe)\b", text)
    links = re.findall(r"(?:href|src)=\"([^\"]*)\"|url\(([^)]*)\)", text)
    assert all(target.startswith("#") for pair in links for target in pair if target)


def test_each_drawing_is_well_formed_and_its_text_is_text(page: Path) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page.read_text(), flags=re.DOTALL)
    for drawing in drawings:
        ElementTree.fromstring(drawing)  # noqa: S314 - our own
    words = " ".join(drawings)
    for label in ("jobs/s", "time (s)", "replicas", "pod-seconds", "fixed 4", "keda", "oldest job was late"):
        assert label in words


def test_ids_of_two_drawings_do_not_meet(page: Path) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page.read_text(), flags=re.DOTALL)
    clips = [set(re.findall(r'clipPath id="([^"]+)"', drawing)) for drawing in drawings]
    assert len(set.union(*clips)) == sum(map(len, clips))


def test_the_table_has_every_score_and_escapes_names(report: ModuleType, page: Path, runs: list[Run]) -> None:
    text = page.read_text()
    assert text.count("<tr><td>") == 4 + 2, "no search, no table of it"
    assert f"<td>{runs[0].score.pod_seconds:,.0f}</td>" in text
    section = report._section(report.Section("a <b>", World(), runs), "", "")
    assert "a &lt;b&gt;" in section


def test_pictures_lie_beside_it(page: Path) -> None:
    names = sorted(path.name for path in page.parent.glob("*.png"))
    assert names == ["report-again-cost.png", "report-again-course.png", "report-step-cost.png", "report-step-course.png"]
    assert all((page.parent / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_the_same_runs_give_the_same_drawing(plots: ModuleType, runs: list[Run]) -> None:
    assert plots.svg(plots.course(runs), "s") == plots.svg(plots.course(runs), "s")


def test_the_picture_of_costs_says_what_its_dots_are(plots: ModuleType, runs: list[Run]) -> None:
    ours = [replace(runs[0].score, policy=f"ours drain_target={target}", pod_seconds=100.0 * target) for target in (1, 5)]
    rival = replace(runs[0].score, policy="keda")
    drawing = plots.svg(plots.cost([replace(rival, policy="ours"), *ours, rival]), "s")
    assert "Each dot is our policy with another drain target." in drawing
    assert "Each other mark" not in drawing, "the rival has one setting"
    assert "Each other mark is a rival" in plots.svg(plots.cost([*ours, rival, replace(rival, policy="keda 5")]), "s")
    assert "Each dot" not in plots.svg(plots.cost([ours[0], rival]), "s"), "there is one dot"


def test_points_are_joined_where_jobs_are_counted_and_not_where_they_are_followed(plots: ModuleType, runs: list[Run]) -> None:
    ours = [replace(runs[0].score, policy=f"ours {target}", pod_seconds=100.0 * target) for target in (1, 5)]
    for joined in (True, False):
        (line,) = plots.cost(ours, joined=joined).axes[0].lines
        assert (line.get_linestyle(), line.get_marker()) == ("-" if joined else "None", "o")


def test_points_of_several_parameters_are_not_joined(plots: ModuleType, runs: list[Run]) -> None:
    """A line through them in the order of their cost would jump from one curve to another."""
    at = [(100.0, "polling=5"), (200.0, "polling=30"), (300.0, "polling=5")]
    keda = [replace(runs[0].score, policy=f"keda value={cost:g} {polling}", pod_seconds=cost) for cost, polling in at]
    ours = [replace(runs[0].score, policy=f"ours drain_target={cost:g}", pod_seconds=cost) for cost, _ in at]
    default = replace(runs[0].score, policy="ours")
    lines = {line.get_label(): line.get_linestyle() for line in plots.cost([*ours, default, *keda]).axes[0].lines}
    assert lines == {"ours": "-", "keda": "None"}


@pytest.mark.parametrize(
    ("jobs", "scale", "ticks"), [(40, "linear", None), (101, "symlog", [0, 100]), (3e4, "symlog", [0, 100, 1e4])]
)
def test_an_axis_that_is_not_linear_says_so(plots: ModuleType, runs: list[Run], jobs: float, scale: str, ticks: object) -> None:
    run = replace(runs[0], score=replace(runs[0].score, max_backlog=int(jobs)))
    _, backlog, _ = plots.course([run]).axes
    assert backlog.get_yscale() == scale
    assert ("logarithmic from 10 jobs on" in backlog.get_title(loc="left")) == (scale == "symlog")
    assert ticks is None or list(backlog.get_yticks()) == ticks
    (cost,) = plots.cost([run.score]).axes
    assert (cost.get_yscale(), "logarithmic from 1 s on" in cost.get_ylabel()) == ("symlog", True)


def test_the_page_says_what_its_words_are(report: ModuleType, page: Path, runs: list[Run]) -> None:
    text = page.read_text()
    words = re.search(r'<p class="note">(late.*?)</p>', text, re.DOTALL)
    assert words is not None
    for _, label, _ in report._COLUMNS:
        assert label.split()[0] in words[1], label
    assert "oracle" in words[1]
    assert "can be more than there may be" in words[1]
    section = report._section(report.Section("a", World(), runs, peak=900.0), "", "")
    assert "the highest mean of 5 s, is 900 jobs/s" in section


def test_a_search_names_each_best_setting_in_full_on_the_screen_and_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "r.html"
    output = invoke("--trace", "measured-step", "--policy", "ours,kpa,oracle", "--sweep", "--out", str(out))
    assert "…" not in output
    best = re.search(
        r"^kpa at its best: target=\d+ utilisation=\S+ stable_window=\d+: [\d.]+ s late, [\d,]+ pod-seconds; "
        r"ours drain_target=\S+: [\d.]+ s late, [\d,]+ pod-seconds$",
        output,
        re.MULTILINE,
    )
    assert best is not None, output
    assert "oracle at its best: the bound: 4 s late, 828 pod-seconds; ours is later at every setting" in output
    text = out.read_text()
    assert f"<td>{best[0]}</td>" in text
    assert "our pod-seconds ÷ theirs, with our drain target turned until we are no later" in text


def test_the_report_of_the_discrete_engine_joins_no_points(report: ModuleType, tmp_path: Path) -> None:
    invoke("--trace", "step", "--peak-replicas", "2", "--jobs", "5", "--policy", "ours", "--out", str(tmp_path / "r.html"))
    _, cost = re.findall(r"<svg.*?</svg>", (tmp_path / "r.html").read_text(), flags=re.DOTALL)
    joined = re.findall(r'<path d="[^"]+" style="fill: none; stroke: #0072b2', cost)
    assert ("Each dot is our policy" in cost, joined) == (True, [])
    invoke("--trace", "step", "--peak-replicas", "2", "--policy", "ours", "--out", str(tmp_path / "r.html"))
    _, cost = re.findall(r"<svg.*?</svg>", (tmp_path / "r.html").read_text(), flags=re.DOTALL)
    assert len(re.findall(r'<path d="[^"]+" style="fill: none; stroke: #0072b2', cost)) >= 1


def test_a_policy_keeps_its_colour_and_strangers_get_others(plots: ModuleType) -> None:
    alone = plots.colours(["ours"])
    assert plots.colours(["mine 3", "ours 10", "ours 20", "theirs"])["ours"] == alone["ours"]
    assert len(set(plots.colours(["mine", "ours", "theirs", "keda", "kpa", "fixed 3"]).values())) == 6


@pytest.mark.parametrize(("value", "short"), [(0, "0"), (7500, "7,500"), (25_000, "25 k"), (1_500_000, "1.5 M"), (2e9, "2 G")])
def test_ticks_are_short(plots: ModuleType, value: float, short: str) -> None:
    assert plots._shortened(value) == short


def test_a_short_run_and_one_without_arrivals_can_be_drawn(report: ModuleType, tmp_path: Path) -> None:
    for arrivals in ([0.0] * 3, [1.0]):
        run = simulate(World(), arrivals, Fixed(1), trace="t")
        report.write(tmp_path / "r.html", [report.Section("t", World(), [run])])


def test_json_is_the_last_line_and_has_just_these_names() -> None:
    assert [field.name for field in fields(Score)] == KEYS
    output = invoke("--trace", "measured-step", "--policy", "fixed,fixed:5", "--json")
    scores = json.loads(output.splitlines()[-1])
    assert [list(score) for score in scores] == [[*KEYS, "ours_at_equal_lateness"]] * 2
    assert [(score["trace"], score["policy"]) for score in scores] == [("measured-step", "fixed 30"), ("measured-step", "fixed 5")]


def test_a_recorded_trace_is_scaled_to_the_peak() -> None:
    trace = str(TRACES / "azure-llm-conv-2023.csv")
    output = invoke("--trace", trace, "--policy", "fixed:8", "--peak-replicas", "10", "--compress", "4", "--dt", "0.5", "--json")
    assert "peak 1,000 jobs/s" in output
    assert json.loads(output.splitlines()[-1])[0]["trace"] == "azure-llm-conv-2023"


def test_world_and_objective_can_be_set() -> None:
    output = invoke(
        "--trace", "spike", "--policy", "fixed:8", "--service-seconds", "0.5", "--concurrency", "40", "--objective", "9"
    )
    assert "a replica does 80 jobs/s; late is above 9 s" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--trace", "no-such"], "'no-such' is not a file"),
        (["--trace", "step", "--policy", "magic"], "'magic' is not known"),
        (["--trace", "step", "--dt", "0.3"], "dt=0.3"),
        (["--trace", "step", "--compress", "99999"], "has no arrivals"),
        ([], "nothing to simulate"),
        (["--trace", "step", "--engine", "magic"], "there are fluid and discrete"),
        (["--trace", "step", "--engine", "discrete"], "jobs are too many to follow each"),
        (["--trace", "step", "--jobs", "1", "--service-seconds", "1"], "both say how long a job takes"),
        (["--jobs", "no-such.csv"], "the file cannot be read"),
        (["--jobs", "60"], "not when they come"),
        (["--trace", "step", "--startup", "5"], "--startup 5"),
        (["--trace", "step", "--queue", "email"], "belong to --from-prometheus"),
        (["--from-prometheus", "http://127.0.0.1:1"], "of one --queue"),
        (["--from-prometheus", "http://127.0.0.1:1", "--queue", "email", "--trace", "step"], "no --trace"),
        (["--from-prometheus", "http://127.0.0.1:1", "--queue", "email", "--since", "soon"], "from 10m to 90d"),
        (["--from-prometheus", "http://127.0.0.1:1", "--queue", "email", "--until", "noon"], "--until noon"),
        (["--from-prometheus", "http://127.0.0.1:1", "--queue", "email", "--selector", "x="], "--selector x="),
    ],
)
def test_what_cannot_be_used_is_told(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert isinstance(result.exception, SettingsError)
    assert told in str(result.exception)


def test_jobs_of_a_file_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    file.write_text("at,seconds,type\n0,90,call\n0,90,call\n30,30,call\n")
    told = ["--jobs", str(file), "--concurrency", "1", "--max-replicas", "2", "--startup", "0,0", "--policy", "fixed:2,oracle"]
    scores = {row["policy"]: row for row in json.loads(invoke(*told, "--json").splitlines()[-1])}
    assert (scores["fixed 2"]["trace"], scores["fixed 2"]["late_jobs"], scores["fixed 2"]["p99_wait_s"]) == ("calls", 1, 60.0)
    assert scores["fixed 2"]["late_s"] == scores["oracle"]["late_s"] == 55.0
    assert 210.0 <= scores["oracle"]["pod_seconds"] <= scores["fixed 2"]["pod_seconds"] == 2 * 121.0
    assert "calls" in invoke("--jobs", str(file), "--engine", "fluid", "--policy", "ours")


@pytest.mark.parametrize(
    ("option", "text"), [("--jobs", "at,seconds\n0,9\n4,9\n"), ("--trace", "second,arrivals\n0,1\n4,1\n")], ids=["jobs", "arrivals"]
)
def test_a_file_of_a_spreadsheet_may_begin_with_a_byte_order_mark(option: str, text: str, tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain" / "some.csv", tmp_path / "marked" / "some.csv"
    for file, encoding in ((plain, "utf-8"), (marked, "utf-8-sig")):
        file.parent.mkdir()
        file.write_text(text, encoding=encoding)
    assert marked.read_bytes().startswith(b"\xef\xbb\xbf")
    with_it, without = (invoke(option, str(file), "--policy", "fixed:2", "--json") for file in (marked, plain))
    assert with_it == without


def test_runs_that_reach_their_time_limit_are_told() -> None:
    told = ["--trace", "spike", "--peak-replicas", "2", "--jobs", "20", "--policy", "ours,hpa,oracle", "--time-limit", "15"]
    output = invoke(*told)
    assert re.search(r"spike: \d+ jobs reach their time limit", output)
    assert "hpa" in output


def test_a_table_fits_a_terminal_of_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output = invoke("--trace", "measured-step", "--policy", "ours,keda-rate,hpa,practo,fixed:30")
    assert "…" not in output
    assert "29,695" in output


def test_a_row_is_a_card_on_a_narrow_page(report: ModuleType, page: Path) -> None:
    """Each figure behind the name of its column; and settings that were tried beside are folded away."""
    text = page.read_text()
    heads = re.findall(r"<th>(.*?)</th>", text.partition("</thead>")[0])[1:]
    names = re.findall(r'td:nth-child\(\d+\)::before \{ content: "(.*?)"; \}', text)
    assert names == [re.sub(r" ?<[^>]+>", " ", head).strip() for head in heads]
    assert "<summary>2 more settings</summary>" in text


def test_a_fixed_fleet_of_any_size() -> None:
    assert build("fixed:12")(World(), [1.0]).name == "fixed 12"
    assert build("fixed")(World(), [800.0] * 10).name == "fixed 10"  # 800/s at 80 % of 100/s each
    with pytest.raises(SettingsError, match="fixed:N"):
        build("fixed:many")


@pytest.mark.parametrize("engine", [[], ["--jobs", "5"]], ids=["fluid", "discrete"])
def test_a_fixed_fleet_above_the_most_is_refused_before_anything_is_computed(engine: list[str]) -> None:
    told = ["simulate", "--trace", "step", "--peak-replicas", "2", *engine, "--policy", "ours,fixed:9"]
    result = CliRunner().invoke(app, told)
    assert isinstance(result.exception, SettingsError)
    for word in ("fixed:9", "the 4 that there may be", "--max-replicas 9", "fixed:4 at most"):
        assert word in str(result.exception)
    assert "late" not in result.output
    assert '"policy": "fixed 9"' in invoke(*told[1:], "--max-replicas", "9", "--json")


def test_without_matplotlib_the_remedy_is_told(tmp_path: Path) -> None:
    program = "import sys; sys.modules['matplotlib'] = None; from cli.__main__ import main; main()"
    arguments = ["simulate", "--trace", "measured-step", "--policy", "fixed:2", "--out", str(tmp_path / "r.html")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "make report-tools" in done.stderr
    assert done.stdout == "", "before anything is computed"
