"""`headrace`: one command a file; what is heavy is imported by the command that needs it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from jobs.errors import HeadraceError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Headrace: jobs over HTTP, durable queues, consumers.")

Broker = Annotated[str | None, typer.Option(help="URL of the broker; without it, an SQLite file.")]
Outcomes = Annotated[str | None, typer.Option(help="URL of the outcome store; without it, the same SQLite file.")]
Consumers = Annotated[int, typer.Option(min=1, max=64, help="Consumer processes.")]


@app.command()
def up(
    broker: Broker = None,
    outcomes: Outcomes = None,
    consumers: Consumers = 1,
    data: Annotated[Path, typer.Option(help="The folder of its files.")] = Path(".headrace"),
    port: Annotated[int, typer.Option(help="The gateway's port; another one if it is taken.")] = 8080,
) -> None:
    """Run gateway, consumers and a mail sink on this machine, until Ctrl-C."""
    from cli.up import up as run

    asyncio.run(run(data, broker, outcomes, consumers, port))


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=1, max=100_000, help="How many users register.")] = 2000,
    broker: Broker = None,
    outcomes: Outcomes = None,
    consumers: Consumers = 2,
    kill_consumer: Annotated[bool, typer.Option(help="Kill a consumer with SIGKILL half-way.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for everything to settle.")] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Send real work through the whole system, and count what became of it."""
    from cli.demo import demo as run

    raise typer.Exit(asyncio.run(run(users, broker, outcomes, consumers, kill_consumer, timeout, json)))


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
