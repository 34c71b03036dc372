"""WebShop: find, configure and buy what an instruction asks for (2207.01206), without a server."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.base import Ending, EnvError, EnvStep
from envs.webshop import pages
from envs.webshop.expert import next_action
from envs.webshop.files import find_files, shops_folder
from envs.webshop.generate import generated_files
from envs.webshop.goals import Goal, GoalKind
from envs.webshop.reward import Verdict, judge
from envs.webshop.session import Page, Session, address, clickables, follow, state_key
from envs.webshop.shop import Shop, open_shop
from envs.webshop.splits import known_rule, split_goals

SEARCH_HINT = "search[<query>]"
_Renderer = Callable[[Session, Goal, Shop, float], str]
_MODES: dict[str, _Renderer] = {
    "text": pages.text,
    "text_rich": pages.text_rich,
    "url": lambda session, goal, shop, score: address(session, shop),
}
_ANCHORS = ("state", "observation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole episode at one point. turns: how many actions were taken. last: what they led to."""

    session: Session
    turns: int
    last: EnvStep
    verdict: Verdict | None = None


class WebShop:
    """One episode at a time of WebShop. The shop is shared by a process and mapped, so an instance is small.

    data: a folder with the official files; or products, attributes, human: the files themselves. Without any, a
    generated shop of `shop_size` products (seed `shop_seed`). nouns: a JSON file, asin -> nouns of the title; found
    beside the products, else computed by spaCy.
    goals: "synthetic" or "human". price_seed: of the draw of prices and caps. split: see `splits.split_goals`.
    observation_mode: "text", "text_rich" or "url". max_steps: actions until Ending.LIMIT (the papers: 15).
    anchor: "state" (page, search, product, chosen options) or "observation", the public GiGPO code's, which takes
    states for equal that differ in the options chosen.
    cache: where what is built is kept, instead of where `envs.cache` says.
    Raises EnvError for files that are missing or broken, and for options out of range.
    """

    def __init__(
        self,
        *,
        data: str | Path | None = None,
        products: str | Path | None = None,
        attributes: str | Path | None = None,
        human: str | Path | None = None,
        nouns: str | Path | None = None,
        goals: str = "synthetic",
        price_seed: int = 0,
        split: str = "by_goal",
        observation_mode: str = "text",
        max_steps: int = 15,
        anchor: str = "state",
        shop_size: int = 400,
        shop_seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        _check("observation_mode", observation_mode, _MODES)
        _check("anchor", anchor, _ANCHORS)
        if max_steps < 1:
            raise EnvError(f"webshop cannot run with max_steps={max_steps}; give 1 or more")
        folder = shops_folder(cache)
        files = find_files(data=data, products=products, attributes=attributes, human=human, nouns=nouns)
        self._shop = open_shop(
            files or generated_files(folder, shop_size, shop_seed), folder, _known_kind(goals), price_seed
        )
        self._splits = split_goals(self._shop, known_rule(split))
        self._render = _MODES[observation_mode]
        self._anchor = anchor
        self._max_steps = max_steps
        self._now: Snapshot | None = None

    def tasks(self, split: str) -> Sequence[str]:
        """Goal ids of `train` or `validation`, in a fixed order."""
        if split not in self._splits:
            raise EnvError(f"webshop has no split {split!r}; choose one of {', '.join(self._splits)}")
        return self._splits[split]

    def kind(self, task_id: str) -> str:
        """The category of the product asked for, such as "fashion"."""
        return self.goal(task_id).category

    def goal(self, task_id: str) -> Goal:
        """What a task asks for. Raises EnvError for an unknown task id."""
        return self._shop.goal(self._index(task_id))

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Open the search page. Nothing in a shop is random once it is built, so the seed changes nothing."""
        self.close()
        session = Session(goal=self._index(task_id))
        return self.restore(Snapshot(session=session, turns=0, last=self._seen(session, None, limit=False)))

    def step(self, action: str) -> EnvStep:
        """Carry out one action. Raises EnvError before `reset` and after the end."""
        now = self.snapshot()
        if now.last.ending is not None:
            raise EnvError(f"the episode of goal-{now.session.goal} ended ({now.last.ending}); reset before the next")
        session = follow(now.session, self._shop, action)
        verdict = self._judged(session) if session.page is Page.DONE else None
        last = self._seen(session, verdict, limit=now.turns + 1 >= self._max_steps)
        return self.restore(Snapshot(session=session, turns=now.turns + 1, last=last, verdict=verdict))

    def verdict(self) -> Verdict | None:
        """The parts of the score; None before a purchase."""
        return self.snapshot().verdict

    def expert(self) -> Iterator[str]:
        """Actions that buy what is asked for, from where the episode stands."""
        while (now := self.snapshot()).last.ending is None:
            yield next_action(self._shop, now.session)

    def snapshot(self) -> Snapshot:
        """The episode as it stands. Raises EnvError before `reset`."""
        if self._now is None:
            raise EnvError("no episode is under way; reset webshop with a task id first")
        return self._now

    def restore(self, snapshot: Snapshot) -> EnvStep:
        """Go on from a snapshot of the same shop; gives the step it was taken after."""
        self._index(f"goal-{snapshot.session.goal}")
        self._now = snapshot
        return snapshot.last

    def close(self) -> None:
        """Forget the episode; the shop stays for the others of this process."""
        self._now = None

    def _judged(self, session: Session) -> Verdict:
        bought = self._shop.product(session.product)
        goal = self._shop.goal(session.goal)
        return judge(goal, bought, self._shop.price(session.product), session.options)

    def _seen(self, session: Session, verdict: Verdict | None, *, limit: bool) -> EnvStep:
        score = 0.0 if verdict is None else verdict.score
        won = verdict is not None and score == 1.0
        ended = Ending.FAILURE if verdict is not None else Ending.LIMIT if limit else None
        observation = self._render(session, self._shop.goal(session.goal), self._shop, score)
        clicks = tuple(f"click[{name}]" for name in clickables(session, self._shop))
        return EnvStep(
            observation=observation,
            state_key=observation if self._anchor == "observation" else state_key(session, self._shop),
            reward=score,
            ending=Ending.SUCCESS if won else ended,
            admissible=(SEARCH_HINT, *clicks) if session.page is Page.SEARCH else clicks,
            won=won,
            score=score,
        )

    def _index(self, task_id: str) -> int:
        number = task_id.removeprefix("goal-")
        if not (number.isdecimal() and f"goal-{int(number)}" == task_id and int(number) < len(self._shop.goals)):
            raise EnvError(f"{task_id!r} is no goal of {self._shop.source}; take a task id from tasks(split)")
        return int(number)


def _check(option: str, value: str, known: Sequence[str] | dict[str, _Renderer]) -> None:
    if value not in known:
        raise EnvError(f"webshop has no {option}={value!r}; choose one of {', '.join(map(repr, known))}")


def _known_kind(goals: str) -> GoalKind:
    match goals:
        case "synthetic" | "human":
            return goals
        case _:
            raise EnvError(f"webshop has no goals={goals!r}; choose 'synthetic' or 'human'")
