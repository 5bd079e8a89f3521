"""How the outcome store is, kept in memory: a probe that asked a stalled store would time out, and take the gateway with it."""

from __future__ import annotations

import asyncio

from core.errors import StoreUnavailable
from core.ports import OutcomeStore
from telemetry import logs, metrics
from telemetry.reasons import public
from telemetry.supervisor import Beat

_log = logs.get("service")

# Seconds between two looks. The store's own timeout bounds a look; the second bound is for one that does not keep it.
INTERVAL, _LOOK_AT_MOST = 1.0, 20.0
_LOG_EVERY = 30.0


class StoreHealth:
    """state: `none`, `ok`, `away: …` without addresses, or `not asked yet`. Only on a running loop."""

    def __init__(self, store: OutcomeStore | None) -> None:
        self._store = store
        self.state = "none" if store is None else "not asked yet"
        self._may_log = logs.OncePer(_LOG_EVERY)
        self._logged = False

    def saw(self, error: StoreUnavailable | None) -> None:
        """Take the result of any command: None is an answer. Logged, with the address, but not at each change of a shaky one."""
        if error is None:
            metrics.STORE_UP.set(1)
            self.state = "ok"
            if self._logged:
                self._logged = False
                _log.info("the outcome store answers again")
            return
        metrics.STORE_UP.set(0)
        self.state = f"away: {public(str(error))}"
        if self._may_log(asyncio.get_running_loop().time()):
            self._logged = True
            _log.warning("the outcome store is away; jobs are accepted without it", why=str(error))

    async def watch(self, beat: Beat) -> None:
        """Look again and again: for a Supervisor."""
        while self._store is not None:
            await self.look(self._store)
            beat()
            await asyncio.sleep(INTERVAL)

    async def look(self, store: OutcomeStore) -> None:
        try:
            async with asyncio.timeout(_LOOK_AT_MOST):
                await store.ping()
        except StoreUnavailable as error:
            self.saw(error)
        except TimeoutError:
            self.saw(StoreUnavailable(f"no answer within {_LOOK_AT_MOST:g} s"))
        else:
            self.saw(None)
