"""`headrace`: one command a file; heavy modules are imported by the command that needs them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from core.errors import HeadraceError, SettingsError

_WHAT = "Headrace: jobs over HTTP, durable queues, consumers."
app = typer.Typer(no_args_is_help=True, add_completion=False)

Broker = Annotated[str | None, typer.Option(help="URL of the broker; without it, an SQLite file.")]
Outcomes = Annotated[str | None, typer.Option(help="URL of the outcome store; without it, the same SQLite file.")]
Url = Annotated[str, typer.Option(help="The gateway.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--api-key-file", help="A file that holds an API key; without it, the environment's HEADRACE_API_KEY."),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Least = Annotated[int, typer.Option("--min", min=1, max=64, help="The fewest consumer processes.")]
Most = Annotated[int, typer.Option("--max", min=1, max=64, help="The most; the controller decides between the two.")]


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from cli.new import made_from

        print(f"headrace {version('headrace')}{made_from()}")
        raise typer.Exit


@app.callback(help=_WHAT)
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """What holds for all commands."""


def _consumers(least: int, most: int) -> tuple[int, int]:
    if least > most:
        raise SettingsError(f"--min {least} is above --max {most}: raise --max, or lower --min")
    return least, most


@app.command()
def up(
    broker: Broker = None,
    outcomes: Outcomes = None,
    least: Least = 1,
    most: Annotated[
        int,
        typer.Option(
            "--max",
            min=1,
            max=64,
            help="The most; the controller decides between the two. Also the most of each --job queue, beside them.",
        ),
    ] = 4,
    job: Annotated[
        list[str] | None,
        typer.Option(
            help="A queue of long jobs: each job gets a process of its own, which ends with it; --max of them at most, and "
            "none while the queue is empty. May be repeated."
        ),
    ] = None,
    data: Annotated[Path, typer.Option(help="The folder of its files: of one `headrace up` at a time.")] = Path(".headrace"),
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The gateway's port; another one if it is taken.")] = 8080,
) -> None:
    """Run gateway, consumers and a mail sink on this machine, until Ctrl-C."""
    from cli.up import up as run

    asyncio.run(run(data, broker, outcomes, _consumers(least, most), job or [], port))


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=1, max=100_000, help="How many users register.")] = 2000,
    broker: Broker = None,
    outcomes: Outcomes = None,
    least: Least = 1,
    most: Most = 4,
    kill_consumer: Annotated[bool, typer.Option(help="Kill a consumer with SIGKILL half-way.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for everything to settle.")] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Send real work through the whole system, and count what became of it."""
    from cli.demo import demo as run

    try:
        code = asyncio.run(run(users, broker, outcomes, _consumers(least, most), kill_consumer, timeout, json))
    except asyncio.CancelledError:
        code = 128 + signal.SIGTERM
    raise typer.Exit(code)


@app.command()
def submit(
    job_type: Annotated[str, typer.Argument(help="Such as user.registered.")],
    source: Annotated[str, typer.Argument(help="A file with one JSON object a line, or - for standard input.")],
    url: Url = "http://127.0.0.1:8080",
    key_file: KeyFile = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1000)] = 32,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A file that remembers what is accepted, and from which the same command goes on.")
    ] = None,
) -> None:
    """Submit a job for each line of a file."""
    from cli.api import Address
    from cli.submit import submit as run

    raise typer.Exit(asyncio.run(run(job_type, source, Address(url, key_file), concurrency, checkpoint)))


@app.command("try")
def try_(
    job_type: Annotated[str, typer.Argument(help="Such as order.settled.")],
    payload: Annotated[str, typer.Argument(help="Its payload, as JSON.")],
    url: Url = "http://127.0.0.1:8080",
    key_file: KeyFile = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until every delivery must have ended.")] = 60.0,
) -> None:
    """Submit one job, and wait until all of its deliveries have succeeded."""
    from cli.api import Address
    from cli.trial import trial as run

    raise typer.Exit(asyncio.run(run(job_type, payload, Address(url, key_file), timeout)))


@app.command()
def status(
    job_id: str, url: Url = "http://127.0.0.1:8080", key_file: KeyFile = None, watch: bool = False, json: Json = False
) -> None:
    """Show what became of a job."""
    from cli.api import Address
    from cli.operate import status as run

    asyncio.run(run(job_id, Address(url, key_file), watch, json))


@app.command()
def watch(url: Url = "http://127.0.0.1:8080", key_file: KeyFile = None, queue: str | None = None) -> None:
    """Watch queues and consumers, and the reasons of the controller, live."""
    from cli.api import Address
    from cli.watch import watch as run

    asyncio.run(run(Address(url, key_file), queue))


@app.command()
def check() -> None:
    """Look at settings, handlers, connections and topology, and say what to mend.

    Like every program it declares what is missing: exchanges and queues of RabbitMQ, an SQLite file with its folder and tables.
    """
    from cli.check import check as run

    raise typer.Exit(asyncio.run(run()))


@app.command()
def bindings(
    prune: Annotated[bool, typer.Option(help="Remove what no contract names, once no older release runs.")] = False,
    advise: Annotated[
        bool, typer.Option(help="Leave out what is as it should be; warn where settings and contracts do not fit, as `check` does.")
    ] = False,
) -> None:
    """Show which queues get which job types at RabbitMQ, those of earlier releases included."""
    from cli.bindings import bindings as run

    raise typer.Exit(asyncio.run(run(prune, advise)))


dead = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, replay, drop.")
app.add_typer(dead, name="dead")


@dead.command("list")
def dead_list(
    url: Url = "http://127.0.0.1:8080",
    key_file: KeyFile = None,
    queue: str | None = None,
    job_type: str | None = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json: Json = False,
) -> None:
    """The newest first."""
    from cli.api import Address
    from cli.operate import dead_list as run

    asyncio.run(run(Address(url, key_file), queue, job_type, limit, json))


@dead.command("show")
def dead_show(dead_id: str, url: Url = "http://127.0.0.1:8080", key_file: KeyFile = None) -> None:
    """One, with its payload, headers and traceback."""
    from cli.api import Address
    from cli.operate import dead_show as run

    asyncio.run(run(Address(url, key_file), dead_id))


@dead.command("replay")
def dead_replay(
    dead_id: Annotated[str | None, typer.Argument()] = None,
    url: Url = "http://127.0.0.1:8080",
    key_file: KeyFile = None,
    queue: str | None = None,
    job_type: str | None = None,
) -> None:
    """One by its id, or all of a queue or a job type."""
    from cli.api import Address
    from cli.operate import dead_replay as run

    asyncio.run(run(Address(url, key_file), dead_id, queue, job_type))


@dead.command("drop")
def dead_drop(dead_id: str, url: Url = "http://127.0.0.1:8080", key_file: KeyFile = None) -> None:
    """Forget one."""
    from cli.api import Address
    from cli.operate import dead_drop as run

    asyncio.run(run(Address(url, key_file), dead_id))


key = typer.Typer(no_args_is_help=True, help="API keys: make one, or the line that the gateway keeps of it.")
app.add_typer(key, name="key")

Name = Annotated[str, typer.Option(help="The caller's name; keys of one name are one caller.")]
Scopes = Annotated[str, typer.Option(help="Some of submit, read, operate, with commas between; none holds another.")]


@key.command("new")
def key_new(name: Name, scopes: Scopes, json: Json = False) -> None:
    """Make a key, and the line for the file that HEADRACE_API_KEYS names."""
    from cli.keys import new as run

    run(name, scopes, json)


@key.command("hash")
def key_hash(name: Name, scopes: Scopes, json: Json = False) -> None:
    """The line for a key that is given on standard input."""
    from cli.keys import hash_line as run

    run(name, scopes, json)


@app.command()
def simulate(
    trace: Annotated[
        list[str] | None,
        typer.Option(
            help="A CSV file (bench/traces/README.md), or step, ramp, spike, diurnal, on_off, poisson, silent_then_burst, "
            "measured-step, day; may be repeated."
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="With commas between: ours, keda, keda-rate, hpa, kpa, practo, fixed (by the peak), fixed:12 (always 12), "
            "oracle (the bound of them all)."
        ),
    ] = "ours,keda,kpa,practo,oracle",
    out: Annotated[Path | None, typer.Option(help="Write a report in HTML, with its pictures beside it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="End with one line of JSON; docs/controller.md has its keys.")] = False,
    engine: Annotated[
        str | None,
        typer.Option(
            help="fluid counts jobs, discrete follows each: that is taken with --jobs, and for up to 1,000,000 runs of a queue."
        ),
    ] = None,
    jobs: Annotated[
        str | None,
        typer.Option(
            help="How long jobs take: seconds, exponential:60, lognormal:60,1.5, a mixture 0.9*0.1 + 0.1*lognormal:600,1, "
            "or a CSV at,seconds with each job's arrival and duration."
        ),
    ] = None,
    from_prometheus: Annotated[
        str | None, typer.Option(help="Take a queue's arrivals and durations from the metrics in this Prometheus server.")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="The queue, with --from-prometheus.")] = None,
    since: Annotated[str, typer.Option(help="How much of its past: 7d, 12h, 90m.")] = "7d",
    until: Annotated[str | None, typer.Option(help="Where that ends, such as 2026-01-31T09:30:00Z; now.")] = None,
    selector: Annotated[
        str,
        typer.Option(
            envvar="HEADRACE_PROMETHEUS_SELECTOR", help='Which series are ours: namespace="jobs",release="headrace"; all.'
        ),
    ] = "",
    peak_replicas: Annotated[
        int | None, typer.Option(min=1, help="Scale the arrivals so that their peak needs this many replicas; 100.")
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="What a policy may ask for at most; twice what the peak needs.")
    ] = None,
    objective: Annotated[float | None, typer.Option(help="Seconds that a job may wait; 5.")] = None,
    service_seconds: Annotated[float | None, typer.Option(help="Seconds that a job takes; 0.1.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Jobs that a replica runs at once; 10, or 32 of a real queue.")] = None,
    startup: Annotated[str | None, typer.Option(help="Seconds that a start takes, from and to; 1,7.")] = None,
    prefetch: Annotated[int, typer.Option(min=0, help="Jobs that a replica holds at most (discrete); 0 is as consumers do.")] = 0,
    drain_seconds: Annotated[
        float | None, typer.Option(help="Seconds until a replica that is to go hands back what it still runs; 25.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds after which a run is broken off as failed (discrete).")
    ] = None,
    lasting: Annotated[bool, typer.Option(help="Consumers report how long their runs may last (discrete).")] = True,
    dt: Annotated[float | None, typer.Option(help="Seconds of a step (fluid); 0.25.")] = None,
    compress: Annotated[int, typer.Option(min=1, help="Play the trace in a tenth of its time (10), at the same rates.")] = 1,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    broker_rate: Annotated[
        float, typer.Option(help="Jobs/s of one broker, for the sizing of `day`; `make bench-smoke` measures it.")
    ] = 6000.0,
    sweep: Annotated[bool, typer.Option("--sweep", help="Try each policy at every setting of a search, and compare.")] = False,
    tune: Annotated[
        float | None,
        typer.Option(help="Search our policy's parameters on the first trace; this is what a late second costs, in pod-seconds."),
    ] = None,
) -> None:
    """Try scaling policies on recorded or generated traffic, or on a queue's own past, and score them."""
    from cli.simulate import run
    from cli.workloads import Options, startup_of

    if not (trace or jobs or from_prometheus):
        raise SettingsError("nothing to simulate: give --trace, --jobs with a CSV file, or --from-prometheus with --queue")
    run(
        Options(
            traces=trace or (),
            policies=[name.strip() for name in policy.split(",")],
            out=out,
            as_json=json,
            peak_replicas=peak_replicas,
            objective=objective,
            service_seconds=service_seconds,
            concurrency=concurrency,
            dt=dt,
            compress=compress,
            seed=seed,
            sweep=sweep,
            tune=tune,
            broker_rate=broker_rate,
            engine=engine,
            sizes=jobs,
            prefetch=prefetch,
            time_limit=time_limit,
            drain_seconds=drain_seconds,
            startup=startup_of(startup),
            max_replicas=max_replicas,
            lasting=lasting,
            prometheus=from_prometheus,
            queue=queue,
            since=since,
            until=until,
            selector=selector,
        )
    )


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Lower-case words with hyphens, as in my-team-jobs.")],
    folder: Annotated[Path | None, typer.Argument(help="Where; beside this one, under that name, when left out.")] = None,
) -> None:
    """Make a project of your own: this one, as committed, with every name in its own spelling, in a repository of its own."""
    from cli.new import new as make

    make(name, folder)


@app.command()
def update(
    source: Annotated[str, typer.Option(help="Path or URL of the template's repository; as recorded when left out.")] = "",
    commit: Annotated[str, typer.Option(help="Which version: a tag, a branch, a commit.")] = "HEAD",
) -> None:
    """Merge a newer version of the template into the project in this folder. Ends with 1 where files have conflicts."""
    from cli.new import update_here

    raise typer.Exit(update_here(source, commit))


@app.command()
def settings() -> None:
    """Print every setting, as Markdown."""
    from cli.settings import page

    typer.echo(page(), nl=False)


def main() -> None:
    """The entry point: our own errors are a line, not a traceback."""
    try:
        app()
    except HeadraceError as error:
        typer.secho(str(error), err=True, fg="red")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
