"""The page in a real browser, without a network: what it shows, its keys, and a narrow window."""

import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.trainer.inspect.test_inspect import with_critic
from trainer.inspect.config import InspectConfig
from trainer.inspect.plan import plan_inspect
from trainer.inspect.run import inspect
from trainer.report.progress import Display

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEADLESS = ("--headless=new", "--no-sandbox", "--disable-gpu")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")


@pytest.fixture
def page(run: Path) -> Path:
    config = InspectConfig(run=str(run), output=str(run.parent / "page.html"), estimators=("gigpo", "bipace", "grpo"))
    return inspect(plan_inspect(config), Display(Console(file=io.StringIO())))


def in_browser(page: Path, script: str, *, words: str = "", width: int = 1280) -> Any:
    """What `script`, an expression, is on the page that was opened with `words` behind its address."""
    tried = page.with_name("tried.html")
    probe = f"<script>document.body.dataset.said = JSON.stringify({script});</script></body>"
    tried.write_text(page.read_text().replace("</body>", probe))
    command = [
        *(str(BROWSER), *HEADLESS, f"--user-data-dir={page.parent / 'profile'}"),
        *(f"--window-size={width},900", "--dump-dom", f"file://{tried}#{words}"),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    found = re.search(r'data-said="([^"]*)"', dom)
    assert found is not None, dom[-2000:]
    return json.loads(html.unescape(found[1]))


def press(*keys: str) -> str:
    """JavaScript that presses keys, and then says where the page is."""
    pressed = "".join(
        f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}}));"
        for key in keys
    )
    place = "[view.update, view.group, view.rollout, view.turn, view.estimator, view.panel]"
    return f"(() => {{ {pressed} return {place}; }})()"


def test_a_turn_is_explained_and_only_its_group_is_read(page: Path) -> None:
    text, number, read = in_browser(
        page,
        "[document.querySelector('#panel').textContent, document.querySelector('.headline strong').textContent, "
        "[...parsed.keys()]]",
        words="group=2&rollout=1&turn=1&estimator=gigpo",
    )
    group = re.search(r'id="group-1-1">(.*?)</script>', page.read_text(), re.S)
    assert group is not None
    value = json.loads(group[1])["credit"]["gigpo"]["value"][0]
    assert number == f"+{value:.2f}"
    assert "This rollout solved the task, as 1 of 3 did." in text
    assert "The 4 visits to this state got" in text
    assert read == ["group-1-1"]


def test_keys_choose_turn_rollout_group_update_estimator_and_panel(page: Path) -> None:
    assert in_browser(page, press("ArrowRight", "ArrowRight", "ArrowRight")) == [0, 0, 0, 1, 0, "why"]
    keys = ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "]", "ArrowDown", "e", "2")
    assert in_browser(page, press(*keys)) == [0, 1, 1, 0, 1, "graph"]
    assert in_browser(page, press("}", "]", "[", "5", "{", "}")) == [1, 0, 0, 0, 0, "compare"]


def test_every_panel_draws_and_help_names_every_key(page: Path) -> None:
    panels = in_browser(
        page, "PANELS.map((panel) => (show({panel}), document.querySelector('#panel .body').textContent))"
    )
    why, graph, hidden, tokens, compare = panels
    assert "All visits to this state" in why
    assert "Paths" in graph
    assert "Nearest" in hidden
    assert "Each token of this turn has the advantage" in tokens
    assert "1.3e−1 nats" in tokens
    assert "They agree on the sign of" in compare
    helped, opened = in_browser(
        page, f"({press('?')}, [document.querySelector('dialog').textContent, document.querySelector('dialog').open])"
    )
    assert opened
    assert "next turn, turn before" in helped


def test_nothing_of_the_page_is_wider_than_a_narrow_window(page: Path) -> None:
    for panel in ("why", "graph", "compare"):
        wide, window = in_browser(
            page, "[document.documentElement.scrollWidth, window.innerWidth]", words=f"panel={panel}", width=600
        )
        assert wide <= window == 600


def test_tokens_with_advantages_of_their_own_have_them_in_words_and_in_the_table(run: Path) -> None:
    with_critic(run, [1.0, 2.0, 3.0, *21 * [0.0]], gae="token")
    config = InspectConfig(run=str(run), output=str(run.parent / "page.html"), updates=(3,))
    page = inspect(plan_inspect(config), Display(Console(file=io.StringIO())))
    body, why, tints = in_browser(
        page,
        "(show({panel: 'tokens'}), [document.querySelector('#panel .body').innerText, (show({panel: 'why'}), "
        "document.querySelector('.sentence').textContent), (show({panel: 'tokens'}), new Set([...document."
        "querySelectorAll('.piece')].map((piece) => getComputedStyle(piece).backgroundColor)).size)])",
        words="group=1&rollout=1&turn=1&estimator=ppo+whiten%3DFalse+gae%3Dtoken",
    )
    group = re.search(r'id="group-3-0">(.*?)</script>', page.read_text(), re.S)
    assert group is not None
    first, second = json.loads(group[1])["credit"]["ppo"]["token_value"][0]
    assert first != second
    for part in ("has an advantage of its own", "critic before it", f"+{first:.2f}", f"+{second:.2f}"):
        assert part in body
    assert "The critic expected 1 from this turn on. The turn brought 0, and after it the critic expected 3." in why
    assert tints == 2


def test_the_page_asks_nothing_of_a_network(page: Path) -> None:
    addresses = set(re.findall(r"\b(?:https?:)?//[\w.-]+\.\w+", page.read_text()))
    assert addresses == {"http://www.w3.org"}  # the name of SVG, which nobody fetches
    assert "src=" not in re.sub(r"<script type=.*?</script>", "", page.read_text(), flags=re.S)


def test_a_text_of_a_rollout_is_shown_and_never_run(page: Path) -> None:
    bold, text = in_browser(
        page,
        "[document.querySelectorAll('#episode b').length, document.querySelector('#episode .did code').textContent]",
        words="rollout=3",
    )
    assert (bold, text) == (0, "</script><b>")


def test_where_the_truth_is_known_it_stands_beside_the_credit(tmp_path: Path) -> None:
    config = InspectConfig(world="maze", output=str(tmp_path / "page.html"), estimators=("gigpo", "grpo"), groups=2)
    page = inspect(plan_inspect(config), Display(Console(file=io.StringIO())))
    panels = in_browser(
        page, "['why', 'compare'].map((panel) => (show({panel}), document.querySelector('#panel .truth').textContent))"
    )
    assert "True advantage" in panels[0]
    assert re.search(r"gigpo has the right sign in \d+ % and grpo in \d+ % of \d+ turns", panels[1])
