"""SIGTERM, Ctrl-C and a lost terminal: a command ends within ten seconds, leaves no process, and says how to go on."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

import psutil

from rollout.weights import discard_held

PATIENCE_S = 7.0  # for an orderly end; what is left then is killed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILL_ROUNDS = 3  # a process that is being killed may start another


def nothing_started() -> str:
    """How to go on before anything is done."""
    return "nothing was started yet"


class Interrupted(KeyboardInterrupt):
    """Raised where the main thread is when the first signal arrives, so that every part is closed on the way out."""


class Interruption:
    """While it is entered, the first signal ends the command in order, and the second one ends it at once.

    Consumes signals. The main thread unwinds by Interrupted; a thread of its own waits for PATIENCE_S, then kills all
    processes that the command started, and itself. That thread reads a wakeup pipe, to which the interpreter writes
    even while the main thread is inside a library that does not return.
    """

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self.number: int | None = None
        """The first signal that arrived; None as long as there was none."""
        self.remedy: Callable[[], str] = nothing_started
        """How the user goes on; ends the line."""
        self._patience_s = patience_s
        self._handlers: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._reader, self._writer = socket.socketpair()
        self._wakeup = -1
        self._raised = False
        self._told = False  # the line: an orderly end that takes long and the kill both come to it

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's background jobs have it
                self._handlers[number] = signal.signal(number, self._raise)
        self._writer.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True, name="interruption").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.number is not None:  # the handlers stay: a second signal still ends what hangs at exit
            with suppress(BrokenPipeError):
                sys.stdout.flush()
            self._tell(sys.stderr.write)
            raise SystemExit(128 + self.number) from None
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writer.close()  # ends the thread

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        if not self._raised:
            self._raised = True
            raise Interrupted(number)

    def _watch(self) -> None:
        arrived = 0
        while numbers := self._reader.recv(64):
            for number in (byte for byte in numbers if byte in SIGNALS):
                self.number = self.number or number  # also where a library has put a handler of its own
                arrived += 1
                if arrived > 1:
                    self._end_now()
                timer = threading.Timer(self._patience_s, self._end_now)
                timer.daemon = True
                timer.start()
        self._reader.close()

    def _end_now(self) -> None:
        """Kill all that the command started, give its shared memory back, and end this process."""
        for _ in range(KILL_ROUNDS):
            children = psutil.Process().children(recursive=True)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(children, timeout=1)
        discard_held()
        self._tell(lambda line: os.write(2, line.encode()))
        os._exit(128 + (self.number or 0))

    def _tell(self, write: Callable[[str], object]) -> None:
        """Say once how the command ended."""
        if not self._told:
            self._told = True
            write(self._line())

    def _line(self) -> str:
        name = "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number or 0).name
        return f"stepcredit: ended by {name}; {self.remedy()}\n"
