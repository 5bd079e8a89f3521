"""`headrace try`: one job from its acceptance to its end, as a check that everything works."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import orjson
from rich.console import Console

from cli.api import Address, Gateway, GatewayError, NoAnswer, said
from cli.operate import FINAL, show_job

_PAUSE = 0.3  # seconds between two looks, and the first between two tries; full jitter


async def trial(job_type: str, payload: str, address: Address, timeout: float) -> int:
    """The exit code: 0 when every delivery succeeded, 1 when one died, was refused or did not end within `timeout` seconds."""
    try:
        body = orjson.dumps(orjson.loads(payload))
    except orjson.JSONDecodeError as error:
        raise GatewayError(f"the payload is not JSON: {error}") from None
    accepted = False
    try:
        async with asyncio.timeout(timeout), Gateway(address) as gateway:
            job_id = await _accepted(gateway, job_type, body)
            accepted = True
            job = await _ended(gateway, job_id)
    except TimeoutError:
        why = "no end within {:g} s: are consumers running, and does the controller scale them?"
        Console(stderr=True).print((why if accepted else "not accepted within {:g} s").format(timeout))
        return 1
    show_job(job)
    return 0 if all(delivery["state"] == "succeeded" for delivery in job["deliveries"]) else 1


async def _accepted(gateway: Gateway, job_type: str, body: bytes) -> str:
    """The job's id. 503 is tried again with the same key: the same job."""
    headers = {"content-type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
    pause, told = _PAUSE, ""
    while True:
        try:
            status, asked, answer = await gateway.raw("POST", f"/v1/jobs/{job_type}", data=body, headers=headers)
        except NoAnswer as error:
            status, asked, answer = 503, 0.0, {"detail": str(error)}
        if status == 202:
            return str(answer["job_id"])
        why = said(status, answer)
        if status < 500:
            raise GatewayError(why)
        if why != told:
            told = why
            Console(stderr=True).print(f"not accepted yet, trying again: {why}", markup=False, highlight=False, soft_wrap=True)
        await asyncio.sleep(max(asked, pause) * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 5.0)


async def _ended(gateway: Gateway, job_id: str) -> Any:
    """The job, when all of its deliveries have ended."""
    while True:
        status, _, job = await gateway.raw("GET", f"/v1/jobs/{job_id}")  # 503: the outcome store is unavailable
        if status == 200 and all(delivery["state"] in FINAL for delivery in job["deliveries"]):
            return job
        await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.0))
