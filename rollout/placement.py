"""Where the parts of a run stand: the GPUs of the learner's ranks, and which of them each engine shares."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil


class NoPlace(RuntimeError):
    """The cluster has not the GPUs that a part of a run asks for. The message has what was asked and what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """GPUs of one node of the cluster."""

    node: str
    """Ray's id of the node."""
    devices: tuple[str, ...]
    """The GPUs, as CUDA_VISIBLE_DEVICES names them."""


def engine_places(ranks: Sequence[Place], *, engines: int, tensor_parallel: int) -> tuple[Place, ...]:
    """The GPUs of each engine: those of `tensor_parallel` ranks that follow each other on one node.

    No GPU is given twice. A node that Ray gave ranks 0 and 2 serves engines as one that it gave ranks 0 and 1.

    >>> ranks = [Place(node="a", devices=(device,)) for device in "3120"]
    >>> [place.devices for place in engine_places(ranks, engines=2, tensor_parallel=2)]
    [('3', '1'), ('2', '0')]

    Raises NoPlace where the ranks' GPUs are too few, or lie so on the nodes that an engine would span two.
    """
    devices: dict[str, list[str]] = {}
    for rank in ranks:
        devices.setdefault(rank.node, []).extend(rank.devices)
    places = [
        Place(node=node, devices=tuple(own[first : first + tensor_parallel]))
        for node, own in devices.items()
        for first in range(0, len(own) - tensor_parallel + 1, tensor_parallel)
    ]
    if len(places) < engines:
        raise NoPlace(
            f"cluster.engines={engines} with engine.tensor_parallel={tensor_parallel}, but the learner's GPUs, "
            f"{', '.join(str(len(own)) for own in devices.values())} of each node, have room for {len(places)} "
            "engines: lower cluster.engines, or raise cluster.ranks"
        )
    return tuple(places[:engines])


def interface_of(address: str) -> str | None:
    """The network interface of this machine that has the address; None where none has it.

    Gloo takes the interface of the host's name, which many machines resolve to themselves: no other node reaches that.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(own.address == address for own in addresses):
            return name
    return None
