"""The one file that knows Ray: start it, spawn actors, call them, and report their deaths."""

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

_DEATHS = (RayActorError, OutOfMemoryError)  # Ray's memory monitor raises the second when it kills an actor


class ActorDied(RuntimeError):
    """An actor's process is gone, and the call it was working on is lost."""


class ActorTimeout(RuntimeError):
    """An actor did not answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSpec:
    """What one actor takes of the cluster, and how its process is set up."""

    num_cpus: float = 0.01
    """Ray's share of CPU cores."""
    num_gpus: float = 0.0
    """Ray's share of GPUs."""
    concurrency: int = 1
    """Calls that may be under way at once; above 1 the methods must be async."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables, set in the process before it imports anything."""


class Remote:
    """A handle of an object that lives in an actor."""

    def __init__(self, handle: ActorHandle[Any]) -> None:
        self._handle = handle

    def submit(self, method: str, *args: Any, **kwargs: Any) -> "ray.ObjectRef[Any]":
        """Start a call and return a reference to its answer, see `gather` and `answer`."""
        return self._handle.invoke.remote(method, *args, **kwargs)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call and wait. Raises ActorDied, or what the method raised."""
        return gather([self.submit(method, *args, **kwargs)])[0]

    async def acall(self, method: str, *args: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """Call and wait, in asyncio. Raises ActorDied, ActorTimeout, or what the method raised."""
        return await answer(self.submit(method, *args, **kwargs), method, timeout_s)

    def kill(self) -> None:
        ray.kill(self._handle)


class _Host:
    """The actor. It imports the class in its own process, so that the driver never imports vLLM or DeepSpeed."""

    def __init__(self, target: str, *args: Any, **kwargs: Any) -> None:
        self._held = _resolve(target)(*args, **kwargs)

    def invoke(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._held, method)(*args, **kwargs)


class _AsyncHost:
    """The actor of a class with async methods, whose calls interleave."""

    def __init__(self, target: str, *args: Any, **kwargs: Any) -> None:
        self._held = _resolve(target)(*args, **kwargs)

    async def invoke(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self._held, method)(*args, **kwargs)


def spawn(target: str | type, *args: Any, spec: ActorSpec, **kwargs: Any) -> Remote:
    """Start an actor that holds `target(*args, **kwargs)`. Returns at once; the first call raises its errors.

    target: the class, or "module:Class" to spare this process the import.
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
    """Wait in asyncio for a submitted call of `method`. Raises ActorDied, ActorTimeout, or what the method raised."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(reference.future()), timeout_s)
    except TimeoutError as error:
        raise ActorTimeout(f"{method} did not answer within {timeout_s} s") from error
    except _DEATHS as error:
        raise ActorDied(f"actor died during {method}") from error
    except RayTaskError as error:
        raise _cause(error) from error


def gather(references: Sequence["ray.ObjectRef[Any]"], timeout_s: float | None = None) -> list[Any]:
    """Wait for all submitted calls. Raises ActorDied, ActorTimeout, or what the first failed method raised."""
    try:
        return ray.get(list(references), timeout=timeout_s)
    except GetTimeoutError as error:
        raise ActorTimeout(f"no answer within {timeout_s} s") from error
    except _DEATHS as error:
        raise ActorDied(str(error)) from error
    except RayTaskError as error:
        raise _cause(error) from error


def share(value: Any) -> "ray.ObjectRef[Any]":
    """Put a value into the object store once, to pass it to many calls."""
    return ray.put(value)


def start(*, num_cpus: int | None = None, address: str | None = None, object_store_bytes: int = 2**30) -> None:
    """Start Ray on this machine, or join the cluster at `address`.

    num_cpus: cores that Ray counts with; None: those of the machine.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's default, 15, workers yield to every other process
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
    """The cluster's resources, such as {"CPU": 2.0, "GPU": 1.0}."""
    return dict(cast(Mapping[str, float], ray.cluster_resources()))


def _cause(error: RayTaskError) -> BaseException:
    """The exception that the method raised; Ray's wrapping of it if it cannot be unpickled."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else error
