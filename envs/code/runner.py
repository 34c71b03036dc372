"""The child process that runs one program and its tests: reads a JSON object, shuts the doors, writes lines of JSON.

`envs.code.sandbox` starts it as `python -I -S runner.py`. The first line says how the process was shut in; then each
test that was run has a line [token, passed, text]. A process that ends early leaves the other tests without a line.
The standard library's modules that the program names are imported while files can still be read. Then:

- user: root becomes nobody. Processes: none can be started, nor threads (RLIMIT_NPROC).
- memory, processor time, written bytes: limited by the kernel (RLIMIT_AS, RLIMIT_CPU, RLIMIT_FSIZE).
- files, network, other processes: namespaces of its own, in which the file system is read-only and no network exists.
  Where the kernel grants none, an audit hook alone refuses what Python's own functions would do there. It is installed
  in both cases, so that a program gets the same errors on every machine.

It is no fortress: a program that attacks the interpreter itself can tell lies about its tests, and the hook can be got
around.
"""

import ast
import ctypes
import importlib
import json
import linecache
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

NOBODY = 65534
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    *(0x00020000, 0x08000000, 0x10000000),
    *(0x20000000, 0x40000000),
)
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REFUSED = (
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.utime", "os.ch"),
    *("os.setxattr", "os.removexattr", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill"),
    *("signal.pthread_kill", "subprocess.", "shutil.", "socket.", "ctypes.", "pty."),
)
"""Beginnings of the audit events that the hook refuses; `open` is refused where it writes."""
LONGEST_TEXT = 400  # characters that a test's line says

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run the program of standard input."""
    request: dict[str, Any] = json.load(sys.stdin)
    reply = os.dup(1)
    for descriptor in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    sources = (request["program"], request["setup"], *request["tests"])
    _import_named(sources)
    die_with_parent()
    signal.alarm(request["seconds"])
    inside = shut_in()
    limit(memory_bytes=request["memory_bytes"], cpu_seconds=request["cpu_seconds"])
    _write(reply, {"namespaces": inside})
    sys.addaudithook(refuse)
    token = request.pop("token")
    judge(
        request["program"],
        request["setup"],
        request["tests"],
        lambda passed, text: _write(reply, [token, passed, text]),
    )
    os._exit(0)  # threads and exit handlers of the program have no say


def judge(program: str, setup: str, tests: list[str], tell: Callable[[bool, str], None]) -> None:
    """Run the program and the setup, then each test; tell for each whether it passed and what went wrong."""
    names: dict[str, Any] = {"__name__": "answer"}
    sys.modules["answer"] = ModuleType("answer")  # where dataclasses look for the module of a class
    linecache.cache["tests"] = (len(setup), None, setup.splitlines(keepends=True), "tests")
    fault = _fault_of(program, "answer", names) or _fault_of(setup, "tests", names)
    for test in tests:
        wrong = fault or _fault_of_test(test, names)
        tell(not wrong, wrong[:LONGEST_TEXT])


def _fault_of(source: str, name: str, names: dict[str, Any]) -> str:
    """What is wrong with running a source; an empty text if nothing is."""
    try:
        exec(compile(source, name, "exec"), names)
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are answers too
        return _told(error)
    return ""


def _fault_of_test(test: str, names: dict[str, Any]) -> str:
    """The same for a test. One that compares two values says what it got."""
    statement = ast.parse(test).body
    match statement:
        case [ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]))]:
            return _fault_of_comparison(test, left, right, names)
        case _:
            fault = _fault_of(test, "test", names)
            return fault and f"{test}\n{fault}"


def _fault_of_comparison(test: str, left: ast.expr, right: ast.expr, names: dict[str, Any]) -> str:
    try:
        got, wanted = (eval(compile(ast.Expression(side), "test", "eval"), names) for side in (left, right))
        if equal(wanted, got):
            return ""
        return f"{test}\ngot {got!r}"
    except BaseException as error:  # noqa: BLE001
        return f"{test}\n{_told(error)}"


def equal(wanted: Any, got: Any) -> bool:
    """Whether a result is the wanted one. An object whose class the program made equals no value of Python's own."""
    return (_is_own(wanted) or not _holds_own(got)) and bool(wanted == got)


def _is_own(value: Any) -> bool:
    return type(value).__module__ == "answer"


def _holds_own(value: Any) -> bool:
    parts: tuple[Any, ...] = ()
    if isinstance(value, dict):
        parts = (*value.keys(), *value.values())  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return _is_own(value) or any(map(_holds_own, parts))


def _told(error: BaseException) -> str:
    """The error in a line; before it the line of the setup that raised it, where there is one."""
    where = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "tests"]
    return "\n".join([*filter(None, where[-1:]), f"{type(error).__name__}: {error}".removesuffix(": ")])


def _import_named(sources: tuple[str, ...]) -> None:
    """Import the modules of the standard library that the sources name: nobody may not be able to read them."""
    modules: set[str] = set()
    for source in sources:
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Import):
                    modules |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    modules.add(node.module)
    for name in sorted(modules):
        if name.partition(".")[0] in sys.stdlib_module_names:
            with suppress(ImportError):
                importlib.import_module(name)


def die_with_parent() -> None:
    """End when the process that started this one ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def shut_in() -> bool:
    """Become nobody, and go on in namespaces of its own. Returns whether the kernel granted them.

    The namespace of processes holds only children, so this process waits for one and ends as it ended.
    """
    if os.getuid() == 0:
        with suppress(OSError):  # inside a container that has no such user, root is no real root
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        libc.prctl(PR_SET_DUMPABLE, 1)  # else its own files in /proc are root's
        die_with_parent()
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWPID):
        return False
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) or _make_read_only():
        return False
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(code if code >= 0 else 128 - code)  # 128 and the signal, as shells say it
    die_with_parent()
    return True


def _make_read_only() -> int:
    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]

    attributes = Attributes(MOUNT_ATTR_RDONLY)
    return libc.syscall(
        MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), ctypes.sizeof(attributes)
    )


def limit(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Set the kernel's limits for this process, which has no children."""
    limits: Mapping[int, int] = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for name, most in limits.items():
        _, hard = resource.getrlimit(name)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (value, value))


def refuse(event: str, details: tuple[Any, ...]) -> None:
    """Refuse what reaches out of the process. Raises PermissionError."""
    if event == "open":
        flags = details[2]
        if isinstance(flags, int) and flags & WRITES:
            raise PermissionError(f"files are read-only here: {details[0]!r}")
    elif event.startswith(REFUSED):
        raise PermissionError(f"not allowed here: {event}")


def _write(descriptor: int, value: Any) -> None:
    os.write(descriptor, f"{json.dumps(value)}\n".encode())


if __name__ == "__main__":
    main()
