"""The child process that runs one program and its tests: reads a JSON object, shuts the doors, writes lines of JSON.

`envs.code.sandbox` starts it as `python -I -S runner.py`. The first line says how the process was shut in; then each
test that was run has a line [token, passed, text]. A process that ends early leaves the other tests without a line.
Memory and processor time are limited by the kernel first (RLIMIT_AS, RLIMIT_CPU). Then the harmless modules of the
standard library that the program names are imported, while their files can still be read. Then:

- user: root becomes nobody. Processes: none can be started, nor threads (RLIMIT_NPROC). Nothing is written
  (RLIMIT_FSIZE).
- files, network, other processes: namespaces of its own, in which the file system is read-only and no network exists.
  Where the kernel grants none that hold, an audit hook alone refuses what Python's own functions would do there. It is
  installed in both cases, so that a program gets the same errors on every machine.

What a program returns is judged by `plain`: no `__eq__` that the program wrote has a say about a value of Python's own.
Nor has a name: the tests see Python's own `set`, `abs` and the like, whatever the program calls so, unless the problem
asks for one of that name, and the modules that they import as they were before the program.

It is no fortress: a program that attacks the interpreter itself can tell lies about its tests, and the hook can be got
around.
"""

import ast
import builtins
import ctypes
import importlib
import json
import linecache
import operator
import os
import resource
import signal
import sys
import traceback
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any, cast

__builtins__ = dict(vars(builtins))
"""Python's own names as they are before the program: what is defined below keeps them if it changes `builtins`."""

NOBODY = 65534
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REFUSED = (
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.utime", "os.ch"),
    *("os.setxattr", "os.removexattr", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill"),
    *("signal.pthread_kill", "subprocess.", "shutil.", "socket.", "ctypes.", "pty."),
)
"""Beginnings of the audit events that the hook refuses; `open` is refused where it writes."""
LONGEST_TEXT = 400  # characters of what went wrong; the parent knows a hidden test by its whole text
IMPORTED = frozenset(
    """
    abc argparse array ast asyncio atexit base64 binascii bisect builtins bz2 calendar cmath cmd code codecs collections
    colorsys concurrent configparser contextlib contextvars copy copyreg csv ctypes dataclasses datetime decimal difflib
    dis doctest email enum errno filecmp fileinput fnmatch fractions functools gc getopt gettext glob graphlib gzip
    hashlib heapq hmac html http imaplib importlib inspect io ipaddress itertools json keyword linecache locale logging
    lzma marshal math mimetypes mmap multiprocessing ntpath numbers opcode operator optparse os pathlib pickle
    pickletools pkgutil platform plistlib posixpath pprint queue quopri random re reprlib resource sched secrets select
    selectors shelve shlex shutil signal smtplib socket socketserver sqlite3 ssl stat statistics string stringprep
    struct subprocess symtable sys sysconfig tarfile tempfile textwrap threading time timeit token tokenize tomllib
    trace traceback tracemalloc types typing unicodedata unittest urllib uuid warnings wave weakref xml xmlrpc zipfile
    zipimport zlib zoneinfo
    """.split()  # noqa: SIM905 - as a list it has a hundred lines
)
"""What a program may have imported before the doors are shut: importing these does nothing but define names. Others,
such as `antigravity`, which starts a browser, are imported inside or not at all."""
BEHIND = {"datetime": "_strptime", "time": "_strptime"}
"""Modules that others import only when they are used."""

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run the program of standard input."""
    request: dict[str, Any] = json.load(sys.stdin)
    program, setup, tests, asked = (request[name] for name in ("program", "setup", "tests", "asked"))
    reply = os.dup(1)
    for descriptor in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    die_with_parent()
    signal.alarm(request["seconds"])
    limit({resource.RLIMIT_AS: request["memory_bytes"], resource.RLIMIT_CPU: request["cpu_seconds"]})
    import_named((program, setup, *tests))
    inside = shut_in()
    limit(NOTHING_MORE)
    _write(reply, {"namespaces": inside})
    sys.addaudithook(refuse)
    token = request.pop("token")
    _remember_equality(object)
    sys.modules["__main__"] = sys.modules["answer"] = ModuleType("answer")  # a program finds no judge to change there
    judge(program, setup, tests, frozenset(asked), lambda passed, text: _write(reply, [token, passed, text]))
    os._exit(0)  # threads and exit handlers of the program have no say


def judge(program: str, setup: str, tests: list[str], asked: frozenset[str], tell: Callable[[bool, str], None]) -> None:
    """Run the program and the setup, then each test; tell for each whether it passed and what went wrong."""
    # "answer" is the module where dataclasses look for their classes.
    names: dict[str, Any] = {"__name__": "answer", "__builtins__": builtins}
    modules = _copies({name for source in (setup, *tests) for name in _modules_of(source)})
    linecache.cache["tests"] = (len(setup), None, setup.splitlines(keepends=True), "tests")
    fault = _fault_of(lambda: compile(program, "answer", "exec"), names)
    seen = {name: value for name, value in names.items() if name in asked or name not in __builtins__}
    seen |= {"__name__": "answer", "__builtins__": {**__builtins__, "__import__": _import_from(modules)}, **GUARDS}
    if fault is None:
        fault = _fault_of(lambda: _guarded(ast.parse(setup), "tests"), seen)
    for name in seen.keys() - GUARDS.keys():
        names.setdefault(name, seen[name])  # a program may use what the setup imports
    for test in tests:
        wrong = _fault_of_test(test, seen) if fault is None else fault
        tell(wrong is None, (wrong or "")[: LONGEST_TEXT + (len(test) if fault is None else 0)])


def _copies(names: set[str]) -> dict[str, ModuleType]:
    """Copies of the modules that are imported, and of the packages around them, by name."""
    whole = names | {name[:at] for name in names for at, letter in enumerate(name) if letter == "."}
    copies = {name: ModuleType(name) for name in whole if name in sys.modules}
    for name, copy in copies.items():
        vars(copy).update(vars(sys.modules[name]))
        package, _, inner = name.rpartition(".")
        if package in copies:
            setattr(copies[package], inner, copy)
    return copies


def _import_from(modules: Mapping[str, ModuleType]) -> Callable[..., Any]:
    """An `__import__` that prefers these modules."""

    def imported(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level == 0 and name in modules:
            return modules[name if fromlist else name.partition(".")[0]]
        return __import__(name, globals, locals, fromlist, level)

    return imported


def _fault_of(code: Callable[[], Any], names: dict[str, Any]) -> str | None:
    """What is wrong with running some code, which is compiled first; None if nothing is."""
    try:
        exec(code(), names)
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are answers too
        return _told(error)
    return None


def _fault_of_test(test: str, names: dict[str, Any]) -> str | None:
    """The same for a test. One that compares two values says what it got."""
    parsed = ast.parse(test)
    match parsed.body:
        case [ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]))]:
            return _fault_of_comparison(test, left, right, names)
        case _:
            fault = _fault_of(lambda: _guarded(parsed, "test"), names)
            return None if fault is None else f"{test}\n{fault}"


def _fault_of_comparison(test: str, left: ast.expr, right: ast.expr, names: dict[str, Any]) -> str | None:
    try:
        sides = (ast.Expression(_Operands().visit(side)) for side in (left, right))
        got, wanted = (eval(compile(ast.fix_missing_locations(side), "test", "eval"), names) for side in sides)
        if equal(wanted, got):
            return None
        return f"{test}\ngot {got!r}"
    except BaseException as error:  # noqa: BLE001
        return f"{test}\n{_told(error)}"


def _guarded(parsed: ast.Module, name: str) -> Any:
    """The code of a setup or a test. What its assertions compare is made plain first."""
    return compile(ast.fix_missing_locations(_Assertions().visit(parsed)), name, "exec")


class _Assertions(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        node.test = _Operands().visit(node.test)
        return node


class _Operands(ast.NodeTransformer):
    """Rewrites `a == b` to `plain(a) == plain(b)`, so for `<`, `in` and the like, and what is calculated with a and b.

    `is` stays: nobody can write its meaning anew.
    """

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if not any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            node.left, *node.comparators = (_called("__plain__", side) for side in (node.left, *node.comparators))
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        sides = _called("__operands__", node.left, node.right)
        calculated = ast.parse("lambda a, b: a + b", mode="eval").body
        assert isinstance(calculated, ast.Lambda)
        assert isinstance(calculated.body, ast.BinOp)
        calculated.body.op = node.op
        return ast.copy_location(ast.Call(calculated, [ast.Starred(sides, ast.Load())], []), node)


def _called(name: str, *values: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Call(ast.Name(name, ast.Load()), list(values), []), values[0])


def equal(wanted: Any, got: Any) -> bool:
    """Whether a result is the wanted one.

    >>> from unittest.mock import ANY
    >>> equal([2], [ANY]), equal({"a": 1}, Counter("a")), equal(2, Fraction(4, 2))
    (False, True, True)
    """
    return bool(plain(wanted) == plain(got))


def plain(value: Any) -> Any:
    """A value whose `==` and order are Python's own, whatever the program wrote.

    Numbers, texts and containers of Python and of the standard library count as what is in them, those of classes that
    the program derived from them too. An object of any other class equals only objects of the very same class: one of
    `unittest.mock.ANY`'s class, or of a class that the program made, equals no number.
    """
    kind = cast(type[Any], type(value))
    if id(kind) in EXACT or _is_untouched_fraction(value):  # no `kind in`: a metaclass can claim to equal int
        return value
    for base, made_plain in MADE_PLAIN:
        if issubclass(kind, base):
            return made_plain(value)
    return _Object(value)


def operands(left: Any, right: Any) -> tuple[Any, Any]:
    """The two sides of a calculation in an assertion. Raises TypeError for a number and an object of another class,
    which could answer 0 in `abs(f(x) - 0.5) < 1e-6`.
    """
    for one, other in ((left, right), (right, left)):
        if (
            type(plain(one)) is _Object
            and type(one) is not timedelta
            and isinstance(plain(other), int | float | complex | Decimal | Fraction)
        ):
            raise TypeError(f"tests do not calculate with an object of class {type(one).__name__}")
    return _number(left), _number(right)


def _number(value: Any) -> Any:
    return plain(value) if issubclass(type(value), str | int | float) else value


class _Object:
    """An object of a class that holds no known value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if type(other) is not _Object or type(other.value) is not type(self.value):
            return False
        kind = cast(type[Any], type(self.value))
        _, method = EQUALITY.get(id(kind), (kind, operator.eq))
        answer = method(self.value, other.value)
        return self.value is other.value if answer is NotImplemented else bool(answer)

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: object) -> bool:
        return self._in_order(operator.lt, other)

    def __le__(self, other: object) -> bool:
        return self._in_order(operator.le, other)

    def __gt__(self, other: object) -> bool:
        return self._in_order(operator.gt, other)

    def __ge__(self, other: object) -> bool:
        return self._in_order(operator.ge, other)

    def _in_order(self, compare: Callable[[Any, Any], Any], other: object) -> bool:
        if type(other) is not _Object or type(other.value) is not type(self.value):
            return NotImplemented
        return bool(compare(self.value, other.value))

    def __contains__(self, item: object) -> bool:
        return any(plain(part) == item for part in self.value)


class _Counts(dict[Any, Any]):
    """A Counter: beside another one, a count of 0 is no count."""

    def __eq__(self, other: object) -> bool:
        if type(other) is _Counts:
            return _without_zeros(self) == _without_zeros(other)
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other


def _without_zeros(counts: _Counts) -> dict[Any, Any]:
    return {key: count for key, count in counts.items() if count != 0}


EXACT = frozenset(map(id, (type(None), bool, int, float, complex, str, bytes, bytearray, memoryview, range, Decimal)))
"""Ids of the classes whose values are plain: no program can change one, or make one of its own."""


def _container(
    kind: Any, made: Callable[[list[Any]], Any], through: str = "__iter__"
) -> tuple[type[Any], Callable[[Any], Any]]:
    """A class and how to make a value of it, or of a class derived from it, plain.

    through: the name of the method that goes through the parts; the class's own, a C function that no program replaces.
    """
    parts = getattr(kind, through)
    return kind, lambda value: made([plain(part) for part in parts(value)])


_, dict_made_plain = _container(dict, dict, "items")
MADE_PLAIN: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    _container(tuple, tuple),
    _container(list, list),
    _container(set, frozenset),
    _container(frozenset, frozenset),
    _container(deque, deque),
    (Counter, lambda value: _Counts(dict_made_plain(value))),
    _container(OrderedDict, OrderedDict, "items"),
    (dict, dict_made_plain),
    _container(type(dict[Any, Any]().keys()), frozenset),
    _container(type(OrderedDict[Any, Any]().keys()), frozenset),
)
"""How to see what is in a value; Counter and OrderedDict before dict, from which they derive."""

EQUALITY: dict[int, tuple[type[Any], Any]] = {}
"""The classes that there were before the program, by their ids, and the `==` that they had then."""

GUARDS = {"__plain__": plain, "__operands__": operands}
FRACTION = dict(vars(Fraction))


def _is_untouched_fraction(value: Any) -> bool:
    """Whether it is a Fraction of numbers, and the class, which is written in Python, is as it was."""
    return (
        type(value) is Fraction
        and all(vars(Fraction).get(name) is part for name, part in FRACTION.items())
        and type(value._numerator) is type(value._denominator) is int  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    )


def _remember_equality(kind: type[Any]) -> None:
    """Fill EQUALITY with a class and all that derive from it."""
    EQUALITY[id(kind)] = (kind, kind.__eq__)
    for derived in type.__subclasses__(kind):
        if id(derived) not in EQUALITY:
            _remember_equality(derived)


def _told(error: BaseException) -> str:
    """The error in a line; before it the line of the setup that raised it, where there is one."""
    where = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "tests"]
    name = type(error).__name__ or "an error without a name"
    return "\n".join([*filter(None, where[-1:]), f"{name}: {error}".removesuffix(": ")])


def import_named(sources: tuple[str, ...]) -> None:
    """Import the harmless modules that the sources name: nobody may not be able to read them."""
    named = {name.partition(".__main__")[0] for source in sources for name in _modules_of(source)}
    for name in sorted(named):
        if name.partition(".")[0] in IMPORTED:
            for module in filter(None, (name, BEHIND.get(name))):
                with suppress(Exception):  # the program's own import will say it
                    importlib.import_module(module)


def _modules_of(source: str) -> set[str]:
    """The names that a source imports, and those that may be modules: `b` in `from a import b`."""
    modules: set[str] = set()
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def die_with_parent() -> None:
    """End when the process that started this one ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def shut_in() -> bool:
    """Become nobody, and go on in namespaces of its own. Returns whether the kernel granted them.

    A child asks for them, for a kernel may grant one and then refuse to let it be used (AppArmor of Ubuntu does): this
    process is none the worse for it then. The namespace of processes holds only children of who asked, so the program
    runs in a child of that child; both above it wait and end as it ended.
    """
    if os.getuid() == 0:
        with suppress(OSError):  # inside a container that has no such user, root is no real root
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        libc.prctl(PR_SET_DUMPABLE, 1)  # else its own files in /proc are root's
        die_with_parent()
    answers, answer = os.pipe()
    if child := os.fork():
        os.close(answer)
        granted = os.read(answers, 1) == b"1"
        os.close(answers)
        if granted:
            _end_like(child)
        os.waitpid(child, 0)
        return False
    die_with_parent()
    os.close(answers)
    if not _enter_namespaces():
        os._exit(1)
    os.write(answer, b"1")
    os.close(answer)
    if child := os.fork():
        _end_like(child)
    die_with_parent()
    return True


def _enter_namespaces() -> bool:
    """Whether this process now is in namespaces that hold. If not, it may be halfway in and is of no use."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWPID):
        return False
    try:
        for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)
    except OSError:
        return False
    return not (libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) or _make_read_only())


def _end_like(child: int) -> None:
    """Wait for a child and end as it ended; as shells say it, 128 and the signal."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def _make_read_only() -> int:
    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]

    attributes = Attributes(MOUNT_ATTR_RDONLY)
    return libc.syscall(
        MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), ctypes.sizeof(attributes)
    )


NOTHING_MORE = {
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 64,
}
"""The limits of a process that has imported what it needs and has its children: it writes and starts nothing."""


def limit(limits: Mapping[int, int]) -> None:
    """Set limits of the kernel for this process and its children, where they are not tighter already."""
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
