"""What actors hold in the tests of placement. A process of its own imports it, so it imports next to nothing."""

import asyncio
import os
from typing import Any


class Rank:
    """Stands in for LearnerRank."""

    def __init__(self, config: Any, rank: int, *folders: str) -> None:
        del config, folders
        self.rank = rank

    def devices(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")


class Engine:
    """Stands in for the engine in vLLM's room."""

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        del model, options

    async def ready(self) -> bool:
        return True

    async def devices(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    async def shutdown(self) -> None:
        pass


class HangingEngine(Engine):
    """Starts and never gets ready."""

    async def ready(self) -> bool:
        await asyncio.sleep(3600)
        return False


class Part:
    """Tells its node."""

    def folder(self) -> str:
        return os.getcwd()
