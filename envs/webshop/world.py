"""WebShop: find, configure and buy what an instruction asks for (2207.01206), without a server."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from envs.base import Definition, Ending, EnvError, EnvStep, no_split
from envs.episode import Episode
from envs.webshop import pages
from envs.webshop.expert import next_action
from envs.webshop.files import find_files, shops_folder
from envs.webshop.generate import generated_files
from envs.webshop.goals import Goal, GoalKind
from envs.webshop.milestones import milestone
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
    """A whole episode at one point."""

    session: Session
    """The goal, the open page, and what was searched, opened and chosen."""

    turns: int
    """Actions taken so far."""

    last: EnvStep
    """What the last `reset` or `step` returned."""

    verdict: Verdict | None = None
    """The parts of the score; None before the purchase."""

    @property
    def task_id(self) -> str:
        """The goal's id, such as "goal-17"."""
        return f"goal-{self.session.goal}"


class WebShop(Episode[Snapshot]):
    """WebShop, one episode at a time. The process shares one memory-mapped shop, so an instance is small.

    data: a folder with the official files. products, attributes, human: the files, one by one. Without any of them the
    shop is generated, with `shop_size` products by the seed `shop_seed`.
    nouns: a JSON file of asin -> nouns of the title; None takes the file beside the products, else spaCy computes them.
    goals: "synthetic" or "human". price_seed: seed of the prices and price caps. split: see `splits.split_goals`.
    observation_mode: "text", "text_rich" or "url". max_steps: actions until Ending.LIMIT (the papers: 15).
    anchor: what `state_key` is. "state": page, search, product and chosen options. "observation", as in the public
    GiGPO code: the text, which is equal for states that differ only in the chosen options.
    cache: the folder for what is built, see `envs.cache`.
    Raises EnvError for a missing or broken file, and for options out of range.
    """

    name = "webshop"

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
        self._rule = known_rule(split)
        self._render = _MODES[observation_mode]
        self._anchor = anchor
        self._price_seed = price_seed
        self._max_steps = max_steps

    def tasks(self, split: str) -> Sequence[str]:
        """Goal ids of `train` or `validation`, in a fixed order."""
        splits = split_goals(self._shop, self._rule)  # when it is asked for: who plays an episode needs no list
        if split not in splits:
            raise no_split("webshop", split, splits)
        return splits[split]

    def kind(self, task_id: str) -> str:
        """The category of the goal's product, such as "fashion"."""
        return self.goal(task_id).category

    def goal(self, task_id: str) -> Goal:
        """The goal of a task. Raises EnvError for an unknown task id."""
        return self._shop.goal(self._index(task_id))

    def definition(self, task_id: str) -> Definition:
        """The instruction and what the reward compares with the purchase; the catalogue that it is bought from."""
        goal = asdict(self.goal(task_id))
        del goal["product"], goal["weight"]  # a number in the catalogue; how often the original draws the goal
        facts = {"products": len(self._shop), "catalogue": self._shop.catalogue, "price_seed": self._price_seed}
        return Definition(content=goal, facts=facts)

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Open the search page. A shop is not random once it is built, so the seed has no effect."""
        self.close()
        session = Session(goal=self._index(task_id))
        return self.restore(Snapshot(session=session, turns=0, last=self._result(session, None, 0, limit=False)))

    def step(self, action: str) -> EnvStep:
        """Execute one action. Raises EnvError before `reset` and after the end."""
        now = self.playing()
        session = follow(now.session, self._shop, action)
        verdict = self._judge(session) if session.page is Page.DONE else None
        reached = max(now.last.milestone or 0, milestone(self._shop, session))
        last = self._result(session, verdict, reached, limit=now.turns + 1 >= self._max_steps)
        return self.restore(Snapshot(session=session, turns=now.turns + 1, last=last, verdict=verdict))

    def verdict(self) -> Verdict | None:
        """The parts of the score; None before a purchase."""
        return self.snapshot().verdict

    def expert(self) -> Iterator[str]:
        """Actions that buy what the goal asks for, from the current page."""
        while not self.is_over():
            yield next_action(self._shop, self.snapshot().session)

    def restore(self, snapshot: Snapshot) -> EnvStep:
        """Continue from a snapshot of the same shop, and return its `last`. Raises EnvError for an unknown goal."""
        self._index(snapshot.task_id)
        return super().restore(snapshot)

    def _judge(self, session: Session) -> Verdict:
        bought = self._shop.product(session.product)
        goal = self._shop.goal(session.goal)
        return judge(goal, bought, self._shop.price(session.product), session.options)

    def _result(self, session: Session, verdict: Verdict | None, reached: int, *, limit: bool) -> EnvStep:
        score = 0.0 if verdict is None else verdict.score
        won = verdict is not None and score == 1.0
        ending = Ending.FAILURE if verdict is not None else Ending.LIMIT if limit else None
        observation = self._render(session, self._shop.goal(session.goal), self._shop, score)
        clicks = tuple(f"click[{name}]" for name in clickables(session, self._shop))
        return EnvStep(
            observation=observation,
            state_key=observation if self._anchor == "observation" else state_key(session, self._shop),
            reward=score,
            ending=Ending.SUCCESS if won else ending,
            admissible=(SEARCH_HINT, *clicks) if session.page is Page.SEARCH else clicks,
            won=won,
            score=score,
            milestone=reached,
        )

    def _index(self, task_id: str) -> int:
        number = task_id.removeprefix("goal-")
        if not (number.isdecimal() and f"goal-{int(number)}" == task_id and int(number) < len(self._shop.goals)):
            raise EnvError(f"{task_id!r} is no goal of {self._shop.source}; take a task id from tasks(split)")
        return int(number)


def _check(option: str, value: str, choices: Sequence[str] | dict[str, _Renderer]) -> None:
    if value not in choices:
        raise EnvError(f"webshop has no {option}={value!r}; choose one of {', '.join(map(repr, choices))}")


def _known_kind(goals: str) -> GoalKind:
    match goals:
        case "synthetic" | "human":
            return goals
        case _:
            raise EnvError(f"webshop has no goals={goals!r}; choose 'synthetic' or 'human'")
