"""One rollout under way: the turns it has taken, and the prompt for the next."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from envs.base import Ending, EnvStep
from envs.prompts import Message, Prompter, Reply, Turn
from rollout.collection import Job
from rollout.policy import Exchange
from rollout.types import Step, Trajectory, Truncated


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One way to ask for the next turn."""

    messages: tuple[Message, ...]
    cut: bool
    """Shows fewer past turns or fewer actions than it should."""
    cut_actions: bool
    """Leaves out admissible actions."""


def shorter_prompts(
    prompter: Prompter, *, first: EnvStep, turns: Sequence[Turn], now: EnvStep, history: int
) -> Iterator[Prompt]:
    """The prompt after these turns, whole, and then ever shorter: see `Dialogue.prompts`."""
    least = min(history, prompter.least_history)
    most = min(history, max(least, len(turns)))
    num_listed = len(prompter.listed(now))
    for past, actions in _sizes(most, least, num_listed):
        yield Prompt(
            messages=prompter.render(first=first, turns=turns, now=now, history=past, actions=actions),
            cut=(past, actions) != (most, num_listed),
            cut_actions=actions < num_listed,
        )


class Dialogue:
    """The turns of one rollout so far, and what the world answered last."""

    def __init__(
        self, prompter: Prompter, first: EnvStep, *, truncated: Truncated = "keep", max_idle_turns: int | None = None
    ) -> None:
        """truncated: what happens to a response that was cut at its longest length, see RolloutConfig.

        max_idle_turns: how many idle turns in a row end the rollout; None for no limit.
        """
        self._prompter = prompter
        self._truncated = truncated
        self._max_idle_turns = max_idle_turns
        self._first = first
        self._turns: list[Turn] = []
        self._steps: list[Step] = []
        self.now = first
        """The world's last answer."""
        self.previous: Exchange | None = None
        """The previous turn's prompt and answer; None before the first turn."""
        self._idle_turns = 0
        """Turns in a row, up to now, that left the state as it was; 0 where nothing ends by them."""

    @property
    def over(self) -> bool:
        """Whether the world has ended the episode, or too many idle turns have."""
        return self.now.ending is not None or self._idle_turns == self._max_idle_turns

    def ends_with(self, after: EnvStep) -> bool:
        """Whether the turn that led to `after` is the last one."""
        return after.ending is not None or self._idle_after(after) == self._max_idle_turns

    def _idle_after(self, after: EnvStep) -> int:
        """How many idle turns in a row there are then."""
        idle = self._max_idle_turns is not None and after.state_key == self.now.state_key
        return self._idle_turns + 1 if idle else 0

    @property
    def time(self) -> int:
        """Turns taken."""
        return len(self._steps)

    def prompts(self, history: int) -> Iterator[Prompt]:
        """The next prompt, whole, and then ever shorter: down to the prompter's least history and no listed action.

        history: past turns in the whole prompt.
        """
        return shorter_prompts(self._prompter, first=self._first, turns=self._turns, now=self.now, history=history)

    def parse(self, exchange: Exchange) -> Reply:
        """The action that the policy's answer names."""
        completion = exchange.completion
        reply = self._prompter.parse(completion.text, self.now, truncated=completion.truncated)
        return replace(reply, valid=reply.valid and not (completion.truncated and self._truncated == "invalid"))

    def add(self, exchange: Exchange, reply: Reply, after: EnvStep, *, reward: float) -> None:
        """Append one turn. after: the world's answer to it. reward: the training reward it earned."""
        now = self.now
        step = Step(
            observation=now.observation,
            completion=exchange.completion,
            action=reply.action,
            valid=reply.valid,
            reward=reward,
            state_key=now.state_key,
            milestone=after.milestone,
            idle_turns=self._idle_turns,
        )
        self.add_again(step, after)
        self.previous = exchange

    def add_again(self, step: Step, after: EnvStep) -> None:
        """Append a turn that was taken before. The next prompt is encoded as a whole: the exchange is not known."""
        now = self.now
        self._steps.append(step)
        actions = self._prompter.listed(now)
        self._turns.append(
            Turn(observation=now.observation, response=step.completion.text, action=step.action, listed=actions)
        )
        self._idle_turns = self._idle_after(after)
        self.previous, self.now = None, after

    def show(self, task_text: str) -> None:
        """Put a text in the place of the world's first observation, in all prompts from now on."""
        self._first = replace(self._first, observation=task_text)
        if self._turns:
            self._turns[0] = replace(self._turns[0], observation=task_text)
            self.previous = None  # its prompt began otherwise
        else:
            self.now = self._first

    def trajectory(self, job: Job) -> Trajectory:
        """The finished rollout; STUCK if the world has not ended it."""
        return Trajectory(
            task_id=job.task.task_id,
            sibling=job.sibling,
            seed=job.task.seed,
            steps=tuple(self._steps),
            ending=self.now.ending or Ending.STUCK,
            success=self.now.won,
            score=self.now.score,
        )


def _sizes(most: int, least: int, listed: int) -> Iterable[tuple[int, int]]:
    """(past turns, listed actions) of ever shorter prompts: first fewer turns, then fewer actions, by eighths."""
    fewer_turns = ((turns, listed) for turns in range(most, least - 1, -1))
    fewer_actions = ((least, listed * eighths // 8) for eighths in range(7, -1, -1))
    return dict.fromkeys((*fewer_turns, *fewer_actions))
