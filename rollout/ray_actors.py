"""Actors of Ray: spawn them, call them, and report their deaths."""

# Ray's own signatures are partly untyped.
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray._private import state
from ray.actor import ActorHandle
from ray.exceptions import (
    ActorUnschedulableError,
    GetTimeoutError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rollout.actor_spec import ActorSpec, Limit
from rollout.apart import Apart
from rollout.held import Held, own_log
from rollout.placement import Place
from rollout.ray_cluster import resources

# Ray's memory monitor raises the second when it kills an actor. The third is of an actor whose node is gone before it
# starts, the last of an answer whose node is gone.
_DEATHS = (RayActorError, OutOfMemoryError, ActorUnschedulableError, ObjectLostError)
_NEWS_S = 2.0  # for the news of a death to come after the errors that it causes in other actors
_LOG_S = 5.0  # for an actor to have said where its log lies


class ActorDied(RuntimeError):
    """An actor's process is gone, and the call it was working on is lost."""


class ActorTimeout(RuntimeError):
    """An actor did not answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that was submitted, see `gather` and `answer`."""

    actor: "Remote"
    """Who works on it."""
    method: str
    """What was called."""
    reference: "ray.ObjectRef[Any]"
    """Ray's reference to the answer."""

    @property
    def limit(self) -> Limit | None:
        """How long it may take."""
        return self.actor.spec.limits.get(self.method, self.actor.spec.limit)


class Remote:
    """A handle of an object that lives in an actor."""

    def __init__(self, handle: ActorHandle[Any], spec: ActorSpec, log: "ray.ObjectRef[Any] | None" = None) -> None:
        """log: the reference to the path of its log."""
        self._handle = handle
        self.spec = spec
        self._log = log

    @property
    def name(self) -> str:
        """What messages call the actor."""
        return self.spec.name

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Call:
        """Start a call; `gather` and `answer` wait for it."""
        return Call(actor=self, method=method, reference=self._handle.invoke.remote(method, *args, **kwargs))

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call and wait. Raises ActorDied, StartFailed, or what the method raised."""
        return gather([self.submit(method, *args, **kwargs)])[0]

    async def acall(self, method: str, *args: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """Call and wait, in asyncio. Raises ActorDied, ActorTimeout, StartFailed, or what the method raised."""
        return await answer(self.submit(method, *args, **kwargs), timeout_s)

    def renew(self, *args: Any, **kwargs: Any) -> Call:
        """Start to put a new object, made of these arguments, in the place of the one that the actor holds.

        The process stays, with all that it has imported. An object with a method `give_up` is told before.
        """
        return Call(actor=self, method="renew", reference=self._handle.renew.remote(*args, **kwargs))

    def kill(self) -> None:
        ray.kill(self._handle)

    def ask_place(self) -> Call:
        """Start to ask where Ray has put the actor; the answer is a Place with the GPUs that it has reserved."""
        return Call(actor=self, method="place", reference=self._handle.place.remote())

    @property
    def pid(self) -> int | None:
        """Of the actor's process; None until Ray has found a node with room for it."""
        number = self._handle._actor_id.hex()  # pyright: ignore[reportPrivateUsage]  no public way to ask
        return cast(Mapping[str, Any], state.actors(number)).get("Pid") or None

    @property
    def is_placed(self) -> bool:
        """Whether Ray has found a node with room for the actor."""
        return self.pid is not None

    @property
    def log(self) -> str:
        """The path of the actor's log; the folder of all logs if its process never came to say."""
        try:
            return ray.get(self._log, timeout=_LOG_S) if self._log is not None else _logs()
        except RayError:
            return _logs()


class _Process:
    """What every actor answers of its process."""

    def log(self) -> str:
        return own_log()

    def place(self) -> Place:
        """The node and the GPUs that Ray has reserved."""
        context = ray.get_runtime_context()
        return Place(node=context.get_node_id(), devices=tuple(context.get_accelerator_ids()["GPU"]))


class _Host(_Process):
    """The actor."""

    def __init__(self, spec: ActorSpec, target: str, *args: Any, **kwargs: Any) -> None:
        self._held = Held(spec, target, *args, **kwargs)

    def invoke(self, method: str, *args: Any, **kwargs: Any) -> Any:
        with self._held.calling(method):
            return self._held.method(method)(*args, **kwargs)

    def renew(self, *args: Any, **kwargs: Any) -> None:
        self._held = self._held.renewed(*args, **kwargs)


class _AsyncHost(_Process):
    """The actor of a class with async methods, whose calls interleave. The object has a process of its own."""

    def __init__(self, spec: ActorSpec, target: str, *args: Any, **kwargs: Any) -> None:
        self._apart = Apart(spec, target, *args, **kwargs)

    async def invoke(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await self._apart.call(method, args, kwargs)


def spawn(target: str | type, *args: Any, spec: ActorSpec, **kwargs: Any) -> Remote:
    """Start an actor that holds `target(*args, **kwargs)`. Returns at once; every call raises the start's error.

    target: the class, or "module:Class" to spare this process the import.
    """
    # Many containers set it. Each actor would then compile what it imports, vLLM for 17 s, at every start.
    env = {"PYTHONDONTWRITEBYTECODE": "", **spec.env}
    options: dict[str, Any] = {
        "num_cpus": spec.num_cpus,
        "num_gpus": spec.num_gpus,
        "runtime_env": {"env_vars": env},
        "max_concurrency": spec.concurrency,
    }
    if spec.place is not None:  # Ray leaves this variable alone in an actor that reserves no GPU
        env["CUDA_VISIBLE_DEVICES"] = ",".join(spec.place.devices)
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(spec.place.node, soft=False)
    elif spec.spread:
        options["scheduling_strategy"] = "SPREAD"
    if isinstance(target, type):
        target = f"{target.__module__}:{target.__qualname__}"
    host = _AsyncHost if spec.concurrency > 1 else _Host
    actor = cast(Any, ray.remote(host).options(**options)).remote(spec, target, *args, **kwargs)
    return Remote(actor, spec, actor.log.remote())


def _logs() -> str:
    """The folder of the logs of all actors."""
    node = cast(Any, ray)._private.worker.global_worker.node
    return "gone with Ray" if node is None else str(node.get_logs_dir_path())


async def answer(call: Call, timeout_s: float | None = None) -> Any:
    """Wait in asyncio for a call. Raises ActorDied, ActorTimeout, StartFailed, or what the method raised.

    timeout_s: None takes the call's own limit.
    """
    limit = _limit([call], timeout_s)
    try:
        return await asyncio.wait_for(asyncio.wrap_future(call.reference.future()), limit and limit.seconds)
    except TimeoutError as error:
        raise ActorTimeout(_stuck([call], cast(Limit, limit))) from error
    except _DEATHS as error:
        raise _death(call, error) from error
    except RayTaskError as error:
        raise _cause(error) from error


def answered(call: Call) -> bool:
    """Whether the answer to a call is there, or the news that there will be none."""
    ready: list[Any] = ray.wait([call.reference], timeout=0)[0]  # pyright: ignore[reportUnknownVariableType]
    return bool(ready)


def gather(calls: Sequence[Call], timeout_s: float | None = None) -> list[Any]:
    """Wait for all calls. Raises ActorDied, ActorTimeout, StartFailed, or what the first failed method raised.

    Of a death and an error that come together the death is raised: it may be the cause.

    timeout_s: None takes the longest of the calls' own limits.
    """
    limit = _limit(calls, timeout_s)
    try:
        return ray.get([call.reference for call in calls], timeout=limit and limit.seconds)
    except GetTimeoutError as error:
        raise ActorTimeout(_lateness(calls, cast(Limit, limit))) from error
    except _DEATHS as error:
        raise _death(_dead(calls) or calls[0], error) from error
    except RayTaskError as error:
        if len(calls) > 1:  # ranks that lose one of them fail in the middle of what they do together
            ray.wait([call.reference for call in calls], num_returns=len(calls), timeout=_NEWS_S)
            if (dead := _dead(calls)) is not None:
                raise _death(dead, error) from error
        raise _cause(error) from error


def _limit(calls: Sequence[Call], timeout_s: float | None) -> Limit | None:
    """The caller's, else the longest of the calls'; None where a call has none."""
    if timeout_s is not None:
        return Limit(seconds=timeout_s, setting="")
    limits = [call.limit for call in calls]
    known = [limit for limit in limits if limit is not None]
    return max(known, key=lambda limit: limit.seconds) if known and len(known) == len(limits) else None


def _stuck(calls: Sequence[Call], limit: Limit) -> str:
    """The line for actors that work and do not answer."""
    names = ", ".join(dict.fromkeys(call.actor.name for call in calls))
    first, remedy = calls[0], f"; if it is only slow, raise {limit.setting}" if limit.setting else ""
    return (
        f"no answer of {names} to {first.method} within {limit.seconds:g} s; the log of {first.actor.name} is "
        f"{first.actor.log}{remedy}"
    )


def _lateness(calls: Sequence[Call], limit: Limit) -> str:
    """The line for calls that were not answered in time: which actors Ray never placed and why, or else their logs."""
    done = cast(Any, ray.wait([call.reference for call in calls], num_returns=len(calls), timeout=0))[0]
    late = [call for call in calls if call.reference not in done] or [calls[-1]]
    unplaced = [call.actor for call in late if not call.actor.is_placed]
    if not unplaced:
        return _stuck(late, limit)
    num_gpus = sum(actor.spec.num_gpus for actor in unplaced)
    names = ", ".join(dict.fromkeys(actor.name for actor in unplaced))
    free = ray.available_resources().get("GPU", 0.0)
    return (
        f"Ray found no place for {names} within {limit.seconds:g} s: asked for {num_gpus} GPUs, and the cluster has "
        f"{resources().get('GPU', 0.0):g}, {free:g} of them free: stop what holds them, or lower cluster.gpus"
    )


def _dead(calls: Sequence[Call]) -> Call | None:
    """The first of the calls that a death ended."""
    for call in calls:
        try:
            ray.get([call.reference], timeout=0)
        except _DEATHS:
            return call
        except RayError:
            continue
    return None


def _death(call: Call, error: RayError) -> ActorDied:
    """The line for a death. Ray's own lists what might have happened and names nobody."""
    why = " because the machine's memory ran out" if isinstance(error, OutOfMemoryError) else ""
    return ActorDied(f"{call.actor.name} died{why} during {call.method}; its log is {call.actor.log}")


def share(value: Any) -> "ray.ObjectRef[Any]":
    """Put a value into the object store once, to pass it to many calls."""
    return ray.put(value)


def _cause(error: RayTaskError) -> BaseException:
    """The exception that the method raised; Ray's wrapping of it if it cannot be unpickled."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else error
