"""A new job type is one file, a new handler is one file: tried in a copy of the project."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CONTRACT = """
from pydantic import BaseModel
from jobs.model import Contract

class Greeted(BaseModel):
    name: str

GREETED = Contract("guest.greeted", Greeted, queues=("greetings",))
"""

HANDLER = """
from consumer import Context, handler
from contracts.guest_greeted import Greeted

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


async def test_two_new_files_are_enough(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for package in ("contracts", "consumer", "jobs", "telemetry", "service", "autoscaler", "cli"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "contracts" / "guest_greeted.py").write_text(CONTRACT)
    (copy / "consumer" / "handlers" / "greet.py").write_text(HANDLER)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        str(tmp_path / "data"),
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out.decode()
    assert json.loads(out.decode().splitlines()[-1]) == {"said": "Hello Ada"}
