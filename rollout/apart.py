"""An actor's object in a process beside the actor's, which has no Ray: what is held there may copy itself by fork.

The actor passes calls on over a socket, and the process answers them in any order. Each of the two ends with the other.
"""

import asyncio
import ctypes
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from rollout.actor_spec import ActorSpec
from rollout.held import Held

_LENGTH = 8  # bytes that say how long a message is
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_GONE = (asyncio.IncompleteReadError, ConnectionError)  # the other end's process has ended


class Apart:
    """The actor's end. Calls made before the object is there wait for it."""

    def __init__(self, spec: ActorSpec, target: str, *args: Any, **kwargs: Any) -> None:
        """Start the process; returns at once. target: "module:Class", whose methods are async."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-P", "-m", "rollout.apart", str(number)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            subprocess.Popen(command, pass_fds=[number], env=environment)
        self._socket.sendall(_message(spec, target, args, kwargs))
        self._opening = asyncio.Lock()
        self._streams: tuple[asyncio.StreamWriter, asyncio.Task[None]] | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def call(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method of the object. Raises StartFailed, or what the method raised."""
        async with self._opening:
            if self._streams is None:
                reader, writer = await asyncio.open_connection(sock=self._socket)
                self._streams = writer, asyncio.create_task(self._take_answers(reader))
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._streams[0].write(_message(number, method, args, kwargs))
        return await future

    async def _take_answers(self, reader: asyncio.StreamReader) -> None:
        """Hand each answer to the call that waits for it. The actor's process ends here when the other has ended."""
        while True:
            try:
                number, value, error = await _received(reader)
            except _GONE:
                os._exit(1)  # Ray tells the driver of a death
            future = self._waiting.pop(number)
            if future.cancelled():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


def _message(*parts: Any) -> bytes:
    content = pickle.dumps(parts)
    return len(content).to_bytes(_LENGTH) + content


async def _received(reader: asyncio.StreamReader) -> tuple[Any, ...]:
    return pickle.loads(await reader.readexactly(int.from_bytes(await reader.readexactly(_LENGTH))))


async def _serve(ours: socket.socket) -> None:
    """Hold the object and answer calls until the actor is gone."""
    reader, writer = await asyncio.open_connection(sock=ours)
    spec, target, args, kwargs = await _received(reader)
    held = Held(spec, target, *args, **kwargs)
    answers: set[asyncio.Task[None]] = set()
    while True:
        try:
            call = await _received(reader)
        except _GONE:
            os._exit(0)
        answers.add(task := asyncio.create_task(_answer(held, writer, *call)))
        task.add_done_callback(answers.discard)


async def _answer(
    held: Held, writer: asyncio.StreamWriter, number: int, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    try:
        with held.calling(method):
            answer = held.method(method)(*args, **kwargs)
            value = await answer if asyncio.iscoroutine(answer) else answer
        message = _message(number, value, None)
    except Exception as error:  # noqa: BLE001  the caller is told
        message = _message(number, None, _portable(error))
    writer.write(message)


def _portable(error: Exception) -> Exception:
    """The error as the actor can raise it: itself, with its traceback as a note, or its text if it does not pickle."""
    if not hasattr(error, "__notes__"):  # a failed start is raised by every call
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  whatever its class does there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """Let the kernel end this process when its parent ends, however that happens and whatever this one does then."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    _end_with_parent()
    os.register_at_fork(after_in_child=_end_with_parent)
    own = socket.socket(fileno=int(sys.argv[1]))
    own.set_inheritable(False)
    asyncio.run(_serve(own))
