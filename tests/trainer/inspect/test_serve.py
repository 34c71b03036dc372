"""The page of a run that is still going: what the server answers, and how the page follows the run."""

import html
import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from tests.trainer.inspect.conftest import recorded
from tests.trainer.inspect.test_browser import BROWSER, HEADLESS
from trainer.config.build import ConfigError
from trainer.inspect.config import InspectConfig
from trainer.inspect.plan import InspectPlan, plan_inspect
from trainer.inspect.run import inspect, pages_of
from trainer.inspect.serve import Pages, PageServer
from trainer.report.progress import Display


def plan_of(run: Path) -> InspectPlan:
    page = str(run.parent / "page.html")
    return plan_inspect(InspectConfig(run=str(run), output=page, estimators=("gigpo", "grpo"), serve=True))


@contextmanager
def serving(pages: Pages) -> Iterator[PageServer]:
    with PageServer(pages, 0) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(run: Path) -> Iterator[PageServer]:
    with serving(pages_of(plan_of(run), Display(Console(file=io.StringIO())))) as server:
        yield server


def asked(server: PageServer, path: str, host: str | None = None) -> tuple[int, str]:
    connection = HTTPConnection(*server.server_address[:2])  # pyright: ignore[reportArgumentType]
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    said = answer.status, answer.read().decode()
    connection.close()
    return said


def shown(page: str) -> list[str]:
    """The updates whose groups a page holds."""
    return sorted(set(re.findall(r'id="group-(\d+)-\d+"', page)))


def test_the_newest_update_is_served_and_a_newer_one_when_the_run_has_recorded_it(
    server: PageServer, run: Path
) -> None:
    code, page = asked(server, "/")
    assert (code, shown(page)) == (200, ["3"])
    assert asked(server, "/newest") == (200, '{"update": 3}')
    recorded(run, 12)
    assert asked(server, "/newest") == (200, '{"update": 12}')
    assert shown(asked(server, "/")[1]) == ["12"]
    assert shown((run.parent / "page.html").read_text()) == ["12"]


def test_an_update_that_is_being_recorded_is_not_there_yet(server: PageServer, run: Path) -> None:
    newer = recorded(run.parent / "other", 4) / "rollouts"
    for path in newer.glob("*.npy"):  # the rollouts themselves come last
        path.rename(run / "rollouts" / path.name)
    assert asked(server, "/newest") == (200, '{"update": 3}')


def test_it_listens_on_this_machine_alone_and_answers_no_page_of_another_name(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    for name in ("localhost", "localhost:80"):  # a browser leaves port 80 out
        assert asked(server, "/", host=name)[0] == 200
    assert asked(server, "/", host="rebound.example:80") == (403, f"ask for {server.address}\n")
    assert asked(server, "/newest", host=f"localhost:{server.server_address[1]}")[0] == 200
    assert asked(server, "/../etc/passwd")[0] == 404


def test_a_recording_that_is_not_whole_is_told_in_a_line_and_the_server_goes_on(server: PageServer, run: Path) -> None:
    recorded(run, 4)
    broken = run / "rollouts" / "update-000004.jsonl.zst"
    broken.write_bytes(broken.read_bytes()[:50])
    code, line = asked(server, "/")
    assert (code, line.count("\n")) == (503, 1)
    assert "update-000004.jsonl.zst is no whole recording" in line
    broken.unlink()
    assert shown(asked(server, "/")[1]) == ["3"]


def test_a_port_that_is_taken_is_refused_with_the_remedy(server: PageServer) -> None:
    port = server.server_address[1]
    with pytest.raises(ConfigError, match=rf"port={port} of 127\.0\.0\.1 cannot be had \(.*\): give another, or 0"):
        PageServer(server.pages, port)


def test_the_command_serves_until_ctrl_c_and_ends_in_one_line(run: Path) -> None:
    command = [sys.executable, "-c", "from trainer.commands.main import main; main()", "inspect", str(run), "--serve"]
    page = run.parent / "served.html"
    with subprocess.Popen(
        [*command, "port=0", f"output={page}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's job ignores it
    ) as process:
        assert process.stdout is not None
        said = re.search(r"update 3 of .*: http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert said is not None
        connection = HTTPConnection("127.0.0.1", int(said[1]))
        connection.request("GET", "/")
        assert shown(connection.getresponse().read().decode()) == ["3"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "stepcredit: ended by Ctrl-C; start it again\n")
    assert shown(page.read_text()) == ["3"]


def test_the_run_that_is_served_is_named_with_its_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, printed = recorded(tmp_path / "seed=[1,b]" / "[/run]", 3), io.StringIO()
    monkeypatch.setattr(PageServer, "serve_forever", lambda _: None)
    plan = plan_of(run)
    inspect(replace(plan, config=replace(plan.config, port=0)), Display(Console(file=printed, soft_wrap=True)))
    assert printed.getvalue().startswith(f"update 3 of {run}: http://127.0.0.1:")


class Growing(Pages):
    """The run records update 12 when its page has been given once; the page is left with a reader that asks for it."""

    def page(self) -> bytes:
        page = super().page()
        recorded(self._run, 12)
        reader = b"""<script>new MutationObserver(() => {
            document.querySelector('#follow button')?.click();
        }).observe(document.getElementById('follow'), {childList: true});</script></body>"""
        return page.replace(b"</body>", reader) if self.clicks else page

    clicks = False


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize(("clicks", "said"), [(False, "update 3, newer: 12"), (True, "update 12, the newest")])
def test_a_page_says_that_there_is_a_newer_update_and_shows_it_when_asked(run: Path, clicks: bool, said: str) -> None:
    growing = Growing(run, pages_of(plan_of(run), Display(Console(file=io.StringIO())))._write)
    growing.clicks = clicks
    with serving(growing) as server:
        command = [
            *(str(BROWSER), *HEADLESS, f"--user-data-dir={run.parent / 'profile'}"),
            *("--virtual-time-budget=4000", "--dump-dom", f"{server.address}#group=2&rollout=2&turn=2"),
        ]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    place = re.search(r'<span id="follow"[^>]*>(.*?)</span>', dom, re.S)
    assert place is not None
    assert html.unescape(re.sub(r"<[^>]+>", "", place[1])) == said
    assert re.search(r'class="turn chosen".*?</li>', dom, re.S)
