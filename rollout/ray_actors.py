"""The one file that knows Ray: start it, spawn actors, call them, and report their deaths."""

# Ray's own signatures are partly untyped.
# pyright: reportUnknownMemberType=false

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import psutil
import ray
from ray._private import services, state, worker
from ray.actor import ActorHandle
from ray.exceptions import (
    AuthenticationError,
    GetTimeoutError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rollout.actor_spec import ActorSpec, Limit, Node
from rollout.apart import Apart
from rollout.held import Held, own_log
from rollout.muted import stderr_muted
from rollout.placement import NoPlace, Place

_DEATHS = (RayActorError, OutOfMemoryError)  # Ray's memory monitor raises the second when it kills an actor
_ANSWER_S = 5.0  # for a cluster to take a connection
_STOP_S = 3.0  # for Ray's processes to end by themselves
_LOG_S = 5.0  # for an actor to have said where its log lies
_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_raylet: Any = cast(Any, ray)._raylet  # compiled, and without types
_own_processes: list[psutil.Process] = []  # those that `start` started


class NoCluster(ConnectionError):
    """No Ray cluster can be joined at the address that was given."""


class RayFailed(RuntimeError):
    """Ray's own processes did not start on this machine."""


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

    timeout_s: None takes the longest of the calls' own limits.
    """
    limit = _limit(calls, timeout_s)
    try:
        return ray.get([call.reference for call in calls], timeout=limit and limit.seconds)
    except GetTimeoutError as error:
        raise ActorTimeout(_lateness(calls, cast(Limit, limit))) from error
    except _DEATHS as error:
        raise _death(_first_dead(calls), error) from error
    except RayTaskError as error:
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


def nodes() -> list[Node]:
    """The nodes of the cluster, the driver's first."""
    own = ray.get_runtime_context().get_node_id()
    alive = [node for node in cast(list[dict[str, Any]], ray.nodes()) if node["Alive"]]
    return [
        Node(
            number=node["NodeID"],
            name=node["NodeName"],
            gpus=int(node["Resources"].get("GPU", 0)),
            cpus=node["Resources"].get("CPU", 0.0),
            memory=int(node["Resources"].get("memory", 0)),
        )
        for node in sorted(alive, key=lambda node: (node["NodeID"] != own, node["NodeName"]))
    ]


def own_address() -> str:
    """The address under which the other nodes of the cluster reach this one."""
    return cast(str, ray.util.get_node_ip_address())


def check_room(specs: Sequence[ActorSpec]) -> None:
    """Raise NoPlace where the cluster could not hold all these actors, which ask for the same, even if it were empty.

    Ray itself would wait for ever.
    """
    each = max((spec.num_gpus for spec in specs), default=0)
    if each == 0:
        return
    gpus = [node.gpus for node in nodes()]
    if (rooms := sum(count // each for count in gpus)) < len(specs):
        raise NoPlace(
            f"{specs[0].name} to {specs[-1].name} ask for {each} GPUs each on one node, and the cluster has room for "
            f"{rooms} of these {len(specs)} ({', '.join(map(str, gpus))} GPUs on its nodes): lower cluster.gpus, or "
            "join a larger cluster with cluster.address=..."
        )


def _first_dead(calls: Sequence[Call]) -> Call:
    """The first of the calls that a death ended."""
    for call in calls:
        try:
            ray.get([call.reference], timeout=0)
        except _DEATHS:
            return call
        except RayError:
            continue
    return calls[0]


def _death(call: Call, error: RayError) -> ActorDied:
    """The line for a death. Ray's own lists what might have happened and names nobody."""
    why = " because the machine's memory ran out" if isinstance(error, OutOfMemoryError) else ""
    return ActorDied(f"{call.actor.name} died{why} during {call.method}; its log is {call.actor.log}")


def share(value: Any) -> "ray.ObjectRef[Any]":
    """Put a value into the object store once, to pass it to many calls."""
    return ray.put(value)


def check_cluster(address: str) -> None:
    """Raise NoCluster where nobody listens at the address of a cluster, within seconds.

    address: "host:port", "ray://host:port", or "auto", which is looked up as Ray looks it up.
    """
    try:
        place = services.canonicalize_bootstrap_address(address) if address == "auto" else address
        host, _, port = str(place).rpartition("://")[2].rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NoCluster(
            f"cluster.address={address}: no Ray cluster answers there ({reason}); start one with ray start --head, or "
            "cluster.address=null to start Ray here"
        ) from error


def start(
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    address: str | None = None,
    object_store_bytes: int = 2**30,
) -> None:
    """Start Ray on this machine, whatever else runs on it, or join the cluster at `address`.

    num_cpus, num_gpus: what Ray counts with; None: those of the machine. Raises NoCluster where none can be joined, and
    RayFailed where none starts.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # The first error of several calls is raised here; Ray would print a page for each of the others.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's default, 15, workers yield to every other process
    # Each of our actors has an environment of its own, so that none takes the idle process that Ray starts ahead.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    # Ray keeps a record of the last 100,000 calls for its dashboard: 16 MiB per 1,000 rollouts.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    # Ray would print a page for each process that is lost; whoever called it is told.
    worker.listen_error_messages = _unheard
    with _signals_kept():
        if address is None:
            _start_here(num_cpus, num_gpus, object_store_bytes)
        else:
            _join(address)


def _unheard(_worker: Any, _stopped: threading.Event) -> None:
    """What Ray's thread runs in the place of printing the cluster's messages."""


def _start_here(num_cpus: int | None, num_gpus: int | None, object_store_bytes: int) -> None:
    others = set(psutil.Process().children())
    started = False
    try:
        ray.init(
            # Without an address, Ray would join what RAY_ADDRESS or the file of an earlier cluster names.
            address="local",
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            include_dashboard=False,
            object_store_memory=object_store_bytes,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        started = True
    except Exception as error:  # Ray raises Exception itself, with a sentence
        raise RayFailed(f"Ray did not start on this machine: {' '.join(str(error).split())}") from error
    finally:
        _own_processes[:] = set(psutil.Process().children()) - others
        if not started:
            stop()


def _join(address: str) -> None:
    check_cluster(address)
    try:
        if not address.startswith("ray://"):
            _send_token_if_asked(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        if "AuthenticationError" in f"{error!r} {error.__cause__}":
            reason = "it asks for a token, so put its token into ~/.ray/auth_token"
        raise NoCluster(f"cluster.address={address} cannot be joined: {reason}") from error


def _send_token_if_asked(address: str) -> None:
    """Send Ray's token where the cluster asks for one, and nowhere else.

    Ray leaves this to RAY_AUTH_MODE, which it also sets itself. A process that sends a token to a cluster that asks for
    none loses every actor that it starts.
    """
    _set_auth_mode("disabled")
    try:
        with stderr_muted():  # Ray's core warns there of the token that is missing
            _raylet.GcsClient(address=services.canonicalize_bootstrap_address(address))
    except AuthenticationError:
        _set_auth_mode("token")


def _set_auth_mode(mode: str) -> None:
    os.environ["RAY_AUTH_MODE"] = mode
    _raylet.Config.initialize("")
    _raylet.AuthenticationTokenLoader.instance().reset_cache()


def stop() -> None:
    """Stop Ray, or leave the cluster. The processes that `start` started, and theirs, are gone when this returns."""
    family = {child for process in _own_processes if process.is_running() for child in _with_children(process)}
    _own_processes.clear()
    try:
        with _signals_kept():
            ray.shutdown()
    finally:
        _, alive = psutil.wait_procs(list(family), timeout=_STOP_S)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_STOP_S)


def check_running() -> None:
    """Raise RayFailed where Ray does not run any more, or one of the processes that `start` started is gone."""
    gone = [process.pid for process in _own_processes if not process.is_running() or process.status() in _ENDED]
    if gone or not ray.is_initialized():
        raise RayFailed(f"Ray does not run any more: {len(gone)} of its processes have ended")


def _with_children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return [process]


@contextmanager
def _signals_kept() -> Generator[None]:
    """Keep this process's own handlers: Ray puts its own in their place, which would abort with a trace of C++."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def resources() -> dict[str, float]:
    """The cluster's resources, such as {"CPU": 2.0, "GPU": 1.0}."""
    return dict(cast(Mapping[str, float], ray.cluster_resources()))


def _cause(error: RayTaskError) -> BaseException:
    """The exception that the method raised; Ray's wrapping of it if it cannot be unpickled."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else error
