"""The cluster of Ray: start it here or join one, stop it, and say what it has."""

# Ray's own signatures are partly untyped.
# pyright: reportUnknownMemberType=false

import logging
import os
import signal
import socket
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import psutil
import ray
from ray._private import services, worker
from ray.exceptions import AuthenticationError, RayError

from rollout.actor_spec import ActorSpec, Node
from rollout.muted import stderr_muted
from rollout.placement import NoPlace

_ANSWER_S = 5.0  # for a cluster to take a connection
_STOP_S = 3.0  # for Ray's processes to end by themselves
_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_raylet: Any = cast(Any, ray)._raylet  # compiled, and without types
_own_processes: list[psutil.Process] = []  # those that `start` started


class NoCluster(ConnectionError):
    """No Ray cluster can be joined at the address that was given."""


class RayFailed(RuntimeError):
    """Ray's own processes did not start on this machine."""


def check_cluster(address: str) -> None:
    """Raise NoCluster where nobody listens at the address of a cluster, within seconds.

    address: "host:port", "ray://host:port", or "auto".
    """
    try:
        host, _, port = _found(address).rpartition("://")[2].rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NoCluster(
            f"cluster.address={address}: no Ray cluster answers there ({reason}); start one with ray start --head, or "
            "cluster.address=null to start Ray here"
        ) from error


def _found(address: str) -> str:
    """An address, with "auto" looked up: in RAY_ADDRESS, then in what `ray start` has left on this machine.

    Ray would go on to look among the machine's processes, and join the Ray that another run has started for itself.
    """
    if address != "auto":
        return address
    found = cast(str | None, os.environ.get("RAY_ADDRESS") or services.find_bootstrap_address(None))
    if found is None:
        raise ConnectionError("RAY_ADDRESS is not set, and nobody has called ray start on this machine")
    return found


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
        place = _found(address)
        if not place.startswith("ray://"):
            _send_token_if_asked(place)
        ray.init(address=place, log_to_driver=False, logging_level=logging.ERROR)
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


def resources() -> dict[str, float]:
    """The cluster's resources, such as {"CPU": 2.0, "GPU": 1.0}."""
    return dict(cast(Mapping[str, float], ray.cluster_resources()))


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
