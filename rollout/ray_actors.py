"""The one file that knows Ray: start it, spawn actors, call them, and name their deaths."""

# Ray's own signatures are partly untyped.
# pyright: reportUnknownMemberType=false

import asyncio
import importlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayTaskError

_DEATHS = (RayActorError, OutOfMemoryError)  # the second: killed by Ray's memory monitor


class ActorDied(RuntimeError):
    """The process behind an actor is gone; what it was doing is lost."""


class ActorTimeout(RuntimeError):
    """An actor did not answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSpec:
    """What one actor takes of the cluster. `env` goes into its process before anything is imported there."""

    num_cpus: float = 0.01
    num_gpus: float = 0.0
    concurrency: int = 1
    env: Mapping[str, str] = field(default_factory=dict[str, str])


class Remote:
    """A handle to an object living in an actor: `call` waits, `submit` does not, `acall` is for asyncio."""

    def __init__(self, handle: ActorHandle[Any]) -> None:
        self._handle = handle

    def submit(self, method: str, *args: Any, **kwargs: Any) -> "ray.ObjectRef[Any]":
        return self._handle.invoke.remote(method, *args, **kwargs)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return gather([self.submit(method, *args, **kwargs)])[0]

    async def acall(self, method: str, *args: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """Raises ActorDied, ActorTimeout, or what the method raised."""
        return await answer(self.submit(method, *args, **kwargs), method, timeout_s)

    def kill(self) -> None:
        ray.kill(self._handle)


class _Host:
    """The actor: imports the class in its own process, so that the driver never pays for vLLM or DeepSpeed."""

    def __init__(self, target: str, *args: Any, **kwargs: Any) -> None:
        self._held = _resolve(target)(*args, **kwargs)

    def invoke(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._held, method)(*args, **kwargs)


class _AsyncHost:
    """The same for a class with async methods; its calls interleave."""

    def __init__(self, target: str, *args: Any, **kwargs: Any) -> None:
        self._held = _resolve(target)(*args, **kwargs)

    async def invoke(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self._held, method)(*args, **kwargs)


def spawn(target: str | type, *args: Any, spec: ActorSpec, **kwargs: Any) -> Remote:
    """Start an actor that holds `target(*args, **kwargs)`; returns at once, errors come with the first call.

    target: the class, or "module:Class" where importing it here would cost. With
    spec.concurrency above 1 its methods must be async.
    """
    options: dict[str, Any] = {
        "num_cpus": spec.num_cpus,
        "num_gpus": spec.num_gpus,
        "runtime_env": {"env_vars": dict(spec.env)},
        "max_concurrency": spec.concurrency,
    }
    if isinstance(target, type):
        target = f"{target.__module__}:{target.__qualname__}"
    host = _AsyncHost if spec.concurrency > 1 else _Host
    actor = ray.remote(host).options(**options).remote(target, *args, **kwargs)
    return Remote(cast(ActorHandle[Any], actor))


def _resolve(target: str) -> type:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


async def answer(reference: "ray.ObjectRef[Any]", method: str, timeout_s: float | None = None) -> Any:
    """Wait for a submitted call of `method`, in asyncio. Raises ActorDied, ActorTimeout, or what it raised."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(reference.future()), timeout_s)
    except TimeoutError as error:
        raise ActorTimeout(f"{method} did not answer within {timeout_s} s") from error
    except _DEATHS as error:
        raise ActorDied(f"actor died during {method}") from error
    except RayTaskError as error:
        raise _cause(error) from error


def gather(references: Sequence["ray.ObjectRef[Any]"], timeout_s: float | None = None) -> list[Any]:
    """Wait for all. Raises ActorDied, ActorTimeout, or the first method's own error."""
    try:
        return ray.get(list(references), timeout=timeout_s)
    except GetTimeoutError as error:
        raise ActorTimeout(f"no answer within {timeout_s} s") from error
    except _DEATHS as error:
        raise ActorDied(str(error)) from error
    except RayTaskError as error:
        raise _cause(error) from error


def share(value: Any) -> "ray.ObjectRef[Any]":
    """Put a value into the object store once, so that many calls can name it."""
    return ray.put(value)


def start(*, num_cpus: int | None = None, address: str | None = None, object_store_bytes: int = 2**30) -> None:
    """Start Ray on this machine, or join the cluster at `address`."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's default, 15, lets anything else on the machine go first
    if address is not None:
        ray.init(address=address, log_to_driver=False)
        return
    ray.init(
        num_cpus=num_cpus,
        include_dashboard=False,
        object_store_memory=object_store_bytes,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def stop() -> None:
    ray.shutdown()


def resources() -> dict[str, float]:
    """What the cluster has: {"CPU": 2.0, "GPU": 0.0, ...}."""
    return dict(cast(Mapping[str, float], ray.cluster_resources()))


def _cause(error: RayTaskError) -> BaseException:
    """The exception that the method raised, without Ray's wrapping where it can be unpickled."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else error
