"""An engine whose requests reach its core late, as on a machine with other work."""

import asyncio
from typing import Any

from rollout.vllm_engine import Engine


class LateEngine(Engine):
    """The engine of the real runs; `be_late` makes its requests late."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        core = self._llm.engine_core
        self._add, self._resume = core.add_request_async, core.resume_scheduler_async
        self._late_s = 0.0
        self._order: list[str] = []
        core.add_request_async, core.resume_scheduler_async = self._add_late, self._resume_noted

    async def be_late(self, late_s: float) -> list[str]:
        """Every request waits so long from now on. Returns what reached the core since the last call, in order."""
        self._late_s = late_s
        order, self._order = self._order, []
        return order

    async def _add_late(self, request: Any) -> None:
        await asyncio.sleep(self._late_s)
        self._order.append("request")
        await self._add(request)

    async def _resume_noted(self) -> None:
        self._order.append("resume")
        await self._resume()
