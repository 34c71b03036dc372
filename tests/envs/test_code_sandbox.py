"""Programs that misbehave end in a failed test and nothing else; results are told as they are."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from envs import EnvError
from envs.code import runner, sandbox
from envs.code.sandbox import Limits, Verdict, run

TESTS = ("assert f(1) == 2", "assert f(5) == 6")
RUNNER = Path(runner.__file__)
LIMITS = Limits(cpu_seconds=1, memory_mib=256)


def judged(program: str, tests: tuple[str, ...] = TESTS, setup: str = "") -> tuple[Verdict, ...]:
    return run(program, setup=setup, tests=tests, limits=LIMITS)


def test_a_right_program_passes_every_test() -> None:
    assert judged("def f(x):\n    return x + 1") == (Verdict(passed=True, text=""),) * 2


def test_a_failed_test_says_what_it_got_and_the_others_are_run() -> None:
    assert judged("def f(x):\n    return 2") == (
        Verdict(passed=True, text=""),
        Verdict(passed=False, text="assert f(5) == 6\ngot 2"),
    )


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("def f(x: return", "SyntaxError"),
        ("def f(x):\n    return y", "NameError: name 'y' is not defined"),
        ("def g(x):\n    return x", "NameError: name 'f' is not defined"),
        ("import numpy\ndef f(x):\n    return x", "ModuleNotFoundError: No module named 'numpy'"),
        ("raise SystemExit", "SystemExit"),
        ("import sys\ndef f(x):\n    sys.exit(0)", "SystemExit: 0"),
        ("import os\nos._exit(0)", "ended its process"),
        ("def f(x):\n    while True: pass", "the program "),
        ("def f(x):\n    return 'x' * 10**10", "MemoryError"),
        ("import os\ndef f(x):\n    while True: os.fork()", "not allowed here: os.fork"),
        ("from threading import Thread\ndef f(x):\n    Thread(target=f).start()", "can't start new thread"),
        ("import subprocess\ndef f(x):\n    subprocess.run(['ls'])", "not allowed here: subprocess.Popen"),
        ("import os\ndef f(x):\n    os.kill(os.getppid(), 9)", "not allowed here: os.kill"),
        ("import socket\ndef f(x):\n    socket.socket()", "not allowed here: socket"),
        ("import ctypes\ndef f(x):\n    ctypes.CDLL(None)", "not allowed here: ctypes"),
        ("import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)", "the program"),
        ("class A:\n    def __eq__(self, other): return True\ndef f(x): return A()", "got <answer.A object"),
    ],
)
def test_a_program_that_misbehaves_fails_its_tests(program: str, text: str) -> None:
    verdicts = judged(program)
    assert [verdict.passed for verdict in verdicts] == [False, False]
    assert text in verdicts[0].text


@pytest.mark.parametrize(
    ("program", "processes"),
    [("def f(x):\n    return x + 2", 1), ("raise ValueError", 1), ("def f(x):\n    while True: pass", 2)],
    ids=["came to its end", "raised", "was ended"],
)
def test_a_program_that_came_to_its_end_is_run_once(
    monkeypatch: pytest.MonkeyPatch, program: str, processes: int
) -> None:
    started: list[object] = []

    def start(*words: Any, **options: Any) -> Any:
        started.append(words)
        return popen(*words, **options)

    popen = subprocess.Popen
    monkeypatch.setattr("envs.code.sandbox.subprocess.Popen", start)
    program += f"\n# {processes}"  # which no other test runs
    assert judged(program) == judged(program)
    assert len(started) == processes
    judged(program, ("assert f(2) == 3",))
    assert len(started) == processes + 1


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that nobody may reach and write to, unlike tmp_path."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        (Path(folder) / "mine.txt").write_text("kept")
        yield Path(folder)


def test_a_program_neither_removes_nor_writes_files(open_to_all: Path) -> None:
    mine, other = open_to_all / "mine.txt", open_to_all / "other.txt"
    (removed, written) = (
        judged(f"import os\ndef f(x):\n    os.remove({str(mine)!r})")[0],
        judged(f"def f(x):\n    open({str(other)!r}, 'w')")[0],
    )
    assert "not allowed here: os.remove" in removed.text
    assert "files are read-only here" in written.text
    assert mine.read_text() == "kept"
    assert not other.exists()


def test_the_kernel_refuses_what_gets_around_the_hook(open_to_all: Path) -> None:
    """The doors of runner.py without its hook, in a process of its own."""
    mine, other = open_to_all / "mine.txt", open_to_all / "other.txt"
    script = f"""
import os, socket, sys
sys.path.insert(0, {str(RUNNER.parent)!r})  # without the rooms, whose threads would forbid namespaces
import runner
inside = runner.shut_in()
runner.limit(runner.NOTHING_MORE)
for attempt in (
    lambda: os.remove({str(mine)!r}),
    lambda: open({str(other)!r}, "w"),
    os.fork,
    lambda: socket.socket().connect(("127.0.0.1", 9)),
    lambda: os.kill(os.getppid() or 2, 0),
):
    try:
        attempt()
        print("done", end=" ")
    except OSError as error:
        print(type(error).__name__, end=" ")
print(inside)
"""
    command = [sys.executable, "-I", "-S", "-c", script]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    *attempts, inside = output.stdout.split()
    if inside == "False":
        pytest.skip("this machine grants no user namespaces")
    assert attempts[:3] == ["OSError", "OSError", "BlockingIOError"]
    assert attempts[3] in ("OSError", "ConnectionRefusedError")  # no network at all, or a loopback that nobody is on
    assert attempts[4] == "ProcessLookupError"
    assert mine.read_text() == "kept"


@pytest.mark.parametrize("refused", ["setgroups", "uid_map", "gid_map"])
def test_namespaces_that_may_not_be_used_leave_limits_and_the_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """As where AppArmor lets a process ask for namespaces and then refuses to map its user."""
    script = tmp_path / "runner.py"
    script.write_text(f"""
import os, sys
sys.path.insert(0, {str(RUNNER.parent)!r})
import runner
def denied(path, *options):
    if path == "/proc/self/{refused}":
        raise PermissionError(1, "Operation not permitted")
    return open(path, *options)
runner.open = denied
before = os.readlink("/proc/self/ns/user"), os.readlink("/proc/self/ns/net")
os.environ["NAMESPACES"] = " ".join(before)
runner.main()
""")
    monkeypatch.setattr(sandbox, "_RUNNER", script)
    sandbox._say_weaker.cache_clear()
    program = f"""
import os
def f(x):
    if x == 0:
        os.remove({str(script)!r})
    if x == 1:
        while True: os.fork()
    return x
namespaces = " ".join(os.readlink(f"/proc/self/ns/{{name}}") for name in ("user", "net"))
"""
    tests = (
        "assert f(0) == 0",
        "assert f(1) == 1",
        "assert f(2) == 2",
        "assert namespaces == os.environ['NAMESPACES']",
    )
    with pytest.warns(RuntimeWarning, match="grants no user namespaces"):
        verdicts = judged(program + f"# {refused}", tests)
    assert [verdict.passed for verdict in verdicts] == [False, False, True, True]
    assert "not allowed here: os.remove" in verdicts[0].text
    assert "not allowed here: os.fork" in verdicts[1].text


@pytest.mark.parametrize("module", ["antigravity", "this", "idlelib.idle", "turtledemo", "__hello__", "lib2to3.tests"])
def test_modules_that_do_something_are_not_imported_before_the_doors_are_shut(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(runner.importlib, "import_module", asked.append)
    runner.import_named((f"import {module}\nfrom {module} import x\nimport math", "from collections import abc"))
    assert asked == ["collections", "collections.abc", "math"]


def test_an_import_that_raises_does_not_end_the_runner() -> None:
    program = "try:\n    import unittest.__main__\nexcept BaseException: pass\ndef f(x):\n    return x + 1"
    assert [verdict.passed for verdict in judged(program)] == [True, True]


def test_modules_are_imported_under_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    for name in ("limit", "die_with_parent", "import_named", "shut_in", "_write", "judge", "_remember_equality"):
        monkeypatch.setattr(runner, name, lambda *given, name=name: calls.append((name, *given)))
    for module, name in ((runner.os, "dup"), (runner.os, "dup2"), (runner.os, "_exit"), (runner.sys, "addaudithook")):
        monkeypatch.setattr(module, name, lambda *given: None)
    monkeypatch.setattr(runner.signal, "alarm", lambda seconds: calls.append(("alarm", seconds)))
    monkeypatch.setattr(runner.os, "open", lambda *given: 0)
    monkeypatch.setattr(runner.sys, "modules", dict(sys.modules))
    request = {
        "program": "p",
        "setup": "s",
        "tests": [],
        "asked": [],
        "memory_bytes": 7,
        "cpu_seconds": 3,
        "seconds": 9,
        "token": "",
    }
    monkeypatch.setattr(runner.sys, "stdin", StringIO(json.dumps(request)))
    runner.main()
    limits = {resource.RLIMIT_AS: 7, resource.RLIMIT_CPU: 3}
    assert calls[1:5] == [("alarm", 9), ("limit", limits), ("import_named", ("p", "s")), ("shut_in",)]


def test_a_module_of_a_package_and_one_behind_another_can_be_used() -> None:
    program = """
from datetime import datetime
from xml.etree import ElementTree
def f(x):
    return datetime.strptime(str(x + 1), "%d").day
"""
    assert judged(program) == (Verdict(passed=True, text=""),) * 2


def test_a_printed_gigabyte_goes_nowhere() -> None:
    verdicts = judged("def f(x):\n    for _ in range(1024): print('x' * 2**20)\n    return x + 1")
    assert {verdict.text for verdict in verdicts} <= {
        "",
        *(f"{test}\nthe program took more than 1 s" for test in TESTS),
    }


def test_a_program_cannot_write_its_own_verdict() -> None:
    program = """
import os
for descriptor in range(64):
    try:
        os.write(descriptor, b'["0000000000000000", true, ""]\\n' * 2)
    except OSError:
        pass
os._exit(0)
"""
    assert [verdict.passed for verdict in judged(program)] == [False, False]


def test_a_process_is_not_waited_for_much_longer_than_its_program_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[float] = []

    def noted(*given: Any) -> bytes:
        allowed.append(given[-1])
        return exchange(*given)

    exchange = sandbox._exchange
    monkeypatch.setattr(sandbox, "_exchange", noted)
    judged("def f(x): return x + 1  # waited for")
    assert allowed == [sandbox._START_SECONDS + LIMITS.seconds]


def test_a_flood_of_brackets_is_no_verdict() -> None:
    program = """
import os
def f(x):
    for descriptor in range(64):
        try:
            os.write(descriptor, b"[" * 200000 + b"\\n")
        except OSError:
            pass
    return x + 1
"""
    assert [verdict.passed for verdict in judged(program)] == [True, True]


def test_a_program_sees_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a secret")
    (verdict,) = judged("import os\ndef f(x): return sorted(os.environ)", ("assert f(1) == 0",))
    assert verdict.text.startswith("assert f(1) == 0\ngot [")
    assert "OPENAI" not in verdict.text


def test_a_hidden_check_shows_the_line_that_failed() -> None:
    setup = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 4"
    (verdict,) = judged("def f(x):\n    return x + 1", ("check(f)",), setup)
    assert verdict.text == "check(f)\nassert candidate(2) == 4\nAssertionError"


@pytest.mark.parametrize(
    ("limits", "told"), [({"cpu_seconds": 0}, "cpu_seconds=0"), ({"memory_mib": 9}, "memory_mib=9")]
)
def test_limits_out_of_range_are_refused(limits: dict[str, int], told: str) -> None:
    with pytest.raises(EnvError, match=told):
        Limits(**limits)
