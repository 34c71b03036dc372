"""The inside of an actor: the object that it holds, or why it holds none."""

import gc
import importlib
import logging
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from rollout import spans
from rollout.actor_spec import ActorSpec

_LONGEST_REASON = 400  # characters; the log has the rest


class StartFailed(RuntimeError):
    """An actor could not start. The message has one line: which one, why, and where its log lies."""

    def __init__(self, name: str, kinds: tuple[str, ...], reason: str, log: str) -> None:
        """kinds: the classes of what was raised, as "module.Class", the most special first. reason: one line."""
        super().__init__(name, kinds, reason, log)
        self.kinds = kinds
        self.reason = reason
        self._name, self._log = name, log

    def __str__(self) -> str:
        kind = self.kinds[0].rpartition(".")[2]
        return f"{self._name} did not start: {kind}: {self.reason}; its log is {self._log}"


class Held:
    """The inside of an actor: the object, or why there is none. Ray would hide what a constructor raises."""

    def __init__(self, spec: ActorSpec, target: str, *args: Any, **kwargs: Any) -> None:
        """Import the class here, in the actor's process, so that the driver never imports vLLM or DeepSpeed."""
        self._spec, self._target = spec, target
        self._object, self._failure = None, None
        if spec.folder is not None and os.path.isdir(spec.folder):
            os.chdir(spec.folder)
        try:
            self._object = _resolve(target)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  every call raises it
            self._failure = _start_failed(spec, error)

    def method(self, name: str) -> Any:
        """The object's method of this name.

        Raises StartFailed if there is no object.
        """
        if self._failure is not None:
            raise self._failure
        return spans.CALLS.get(name) or getattr(self._object, name)

    def renewed(self, *args: Any, **kwargs: Any) -> "Held":
        """Another object of the same class. This one is given up, and its memory is free before."""
        if hasattr(self._object, "give_up"):
            cast(Any, self._object).give_up()
        self._object = None
        gc.collect()
        return Held(self._spec, self._target, *args, **kwargs)

    @contextmanager
    def calling(self, name: str) -> Generator[None]:
        """Turn what a method of the start raises into StartFailed."""
        try:
            with spans.span(name):
                yield
        except Exception as error:
            if name in self._spec.start and not isinstance(error, StartFailed):
                raise _start_failed(self._spec, error) from error
            raise


def _resolve(target: str) -> type:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _start_failed(spec: ActorSpec, error: Exception) -> StartFailed:
    kinds = tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    reason = re.sub(r"\s+", " ", str(error)).strip() or "it gave no reason"
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]} ..."
    logging.getLogger(__name__).exception("%s did not start", spec.name, exc_info=error)  # the whole of it, in the log
    return StartFailed(spec.name, kinds, reason, own_log())


def own_log() -> str:
    """The file that this process writes its standard error to."""
    return os.readlink("/proc/self/fd/2")
