"""A new job type is one file, a new handler is one file, and the example may go: tried in a copy of the project."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CONTRACT = """
from pydantic import BaseModel
from core.model import Contract

class Greeted(BaseModel):
    name: str

GREETED = Contract("guest.greeted", Greeted, queues=("greetings",))
"""

HANDLER = """
from consumer import Context, handler
from app.contracts.guest_greeted import Greeted

@handler("guest.greeted", queue="greetings")
async def greet(guest: Greeted, ctx: Context) -> dict[str, str]:
    return {"said": f"Hello {guest.name}"}
"""

SCRIPT = """
import asyncio, json, sys
import aiohttp

async def main(url):
    async with aiohttp.ClientSession(url) as client:
        async with client.post("/v1/jobs/guest.greeted", json={"name": "Ada"}) as answer:
            assert answer.status == 202, await answer.text()
            location = answer.headers["Location"]
        while True:
            async with client.get(location) as answer:
                (delivery,) = (await answer.json())["deliveries"]
            if delivery["state"] == "succeeded":
                return delivery["result"]
            await asyncio.sleep(0.05)

from pathlib import Path
from cli.supervisor import Supervisor
from cli.system import local_system

async def whole(folder):
    system = local_system(Path(folder), broker=None, outcomes=None, consumers=(1, 1), port=0)
    async with Supervisor(system.programs, drain=10.0, said=print):
        print(json.dumps(await asyncio.wait_for(main(system.url), 20)))

asyncio.run(whole(sys.argv[1]))
"""


EMPTY = """
import asyncio, sys
from pathlib import Path
from cli.supervisor import Supervisor
from cli.system import local_system

async def whole(folder):
    system = local_system(Path(folder), broker=None, outcomes=None, consumers=(0, 1), port=0)
    async with Supervisor(system.programs, drain=10.0, said=print):
        print("up and down")

asyncio.run(whole(sys.argv[1]))
"""

# Modules that the copy's `app` lacks would be found in an editable install of this project.
APART = """
import sys
sys.meta_path[:] = [one for one in sys.meta_path if "Editable" not in getattr(one, "__name__", "")]
"""


def copy_of(folder: Path, *, example: bool) -> Path:
    """A copy of the programs. Without the example nothing is in its place but two empty packages."""
    copy = folder / "copy"
    for package in ("app", "consumer", "core", "adapters", "telemetry", "service", "autoscaler", "simulator", "cli"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    if not example:
        shutil.rmtree(copy / "app")
        for emptied in (copy / "app", copy / "app/contracts", copy / "app/handlers"):
            emptied.mkdir()
            (emptied / "__init__.py").touch()
    (copy / "sitecustomize.py").write_text(APART)
    return copy


async def python(copy: Path, *arguments: str) -> str:
    """The output of a Python in the copy. It must have ended with 0."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=copy,
        env=environment | {"PYTHONPATH": str(copy)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out.decode()
    return out.decode()


@pytest.mark.parametrize("example", [True, False], ids=["beside the example", "in its place"])
async def test_two_new_files_are_enough(tmp_path: Path, example: bool) -> None:
    copy = copy_of(tmp_path, example=example)
    (copy / "app" / "contracts" / "guest_greeted.py").write_text(CONTRACT)
    (copy / "app" / "handlers" / "greet.py").write_text(HANDLER)
    out = await python(copy, "-c", SCRIPT, str(tmp_path / "data"))
    assert json.loads(out.splitlines()[-1]) == {"said": "Hello Ada"}


async def test_without_any_job_type_it_runs_and_says_so(tmp_path: Path) -> None:
    copy = copy_of(tmp_path, example=False)
    checked = " ".join((await python(copy, "-m", "cli", "check")).split())
    assert "there is no job type yet: add one in app/contracts/" in checked
    assert "nothing to mend" in checked
    assert "## The policy of a workload" in await python(copy, "-m", "cli", "settings")
    assert "up and down" in await python(copy, "-c", EMPTY, str(tmp_path / "data"))
