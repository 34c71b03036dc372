"""What an actor takes of the cluster, how long its calls may take, and what the cluster consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rollout.placement import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How long a call may take; then the actor counts as stuck."""

    seconds: float
    """From when somebody waits for the answer."""
    setting: str
    """The setting that raises it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSpec:
    """What one actor is called, what it takes of the cluster, and how its process is set up."""

    name: str = "an actor"
    """What messages call it, such as "engine 0"."""
    num_cpus: float = 0.01
    """Ray's share of CPU cores."""
    num_gpus: int = 0
    """GPUs that Ray reserves for this actor alone. Its process sees these and no others."""
    place: Place | None = None
    """The node, and the GPUs there that another actor has reserved and this one shares; None lets Ray choose a node."""
    spread: bool = False
    """Whether Ray goes from node to node with such actors; else it fills the driver's node first."""
    folder: str | None = None
    """Working folder of the process, if its node has it; None leaves Ray's."""
    concurrency: int = 1
    """Calls that may be under way at once; above 1 methods are async, and the object has a process of its own."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables, set in the process before it imports anything."""
    limit: Limit | None = None
    """Of a call that has none in `limits` and whose caller names none; None waits for ever."""
    limits: Mapping[str, Limit] = field(default_factory=dict[str, Limit])
    """Of calls that take longer, or shorter, by the method."""
    start: tuple[str, ...] = ()
    """Methods that belong to the start: what they raise becomes StartFailed, as what the constructor raises does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of the cluster."""

    number: str
    """Ray's id of it, as in `Place.node`."""
    name: str
    """Its name, which is its address unless ray start --node-name gave another."""
    gpus: int
    """GPUs that Ray hands out there."""
    cpus: float
    """CPU cores that Ray hands out there."""
    memory: int
    """Bytes of memory that Ray hands out there: the machine's or the container's, without the object store's."""
