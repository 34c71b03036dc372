"""One update, then ten more, with everything heavy left out: python examples/one_update.py

The steps and the records are a real run's (`trainer/step.py`). The rollouts of one task form a group, every agent turn
is a row, an estimator turns rows into advantages, the policy learns from them. Left out: the engine (the policy is a
table), tokens (an action is one token), worker processes (the world is called directly) and the clipped loss (this is
plain policy gradient).
"""

import numpy as np

from envs import Ending, EnvStep
from estimators import build
from rollout.types import Completion, RolloutGroup, Step, Trajectory
from trainer.data.columns import step_batch
from trainer.data.rows import RowTable

ACTIONS = ("left", "right")
END, TURNS, ROLLOUTS = 3, 6, 8
RANDOM = np.random.default_rng(0)


class Corridor:
    """Four doors in a row. The agent starts at door 0 and has six turns to reach door 3."""

    def reset(self) -> EnvStep:
        self.door, self.turns = 0, 0
        return EnvStep(observation="You stand at door 0. Go to door 3.", state_key="0")

    def step(self, action: str) -> EnvStep:
        self.turns += 1
        self.door = max(self.door + (1 if action == "right" else -1), 0)
        won = self.door == END
        ending = Ending.SUCCESS if won else Ending.LIMIT if self.turns == TURNS else None
        text = f"You stand at door {self.door}."
        return EnvStep(observation=text, state_key=str(self.door), ending=ending, won=won, score=float(won))


class TablePolicy:
    """A softmax over the two actions at each door: the smallest policy that can learn."""

    def __init__(self) -> None:
        self.logits = np.zeros((END, len(ACTIONS)))

    def chances(self, door: int) -> np.ndarray:
        weight = np.exp(self.logits[door])
        return weight / weight.sum()

    def complete(self, door: int) -> Completion:
        """What an engine returns: ids of prompt and response, the log-prob of each sampled id, and the text."""
        action = int(RANDOM.choice(len(ACTIONS), p=self.chances(door)))
        return Completion(
            prompt_ids=np.array([door], np.int32),
            token_ids=np.array([action], np.int32),
            logprobs=np.log(self.chances(door)[[action]]).astype(np.float32),
            text=ACTIONS[action],
            finish_reason="stop",
            policy_version=0,
        )

    def learn(self, completions: list[Completion], advantages: np.ndarray, rate: float = 2.0) -> None:
        """One step up the mean over rows of: advantage times the gradient of the sampled action's log-prob."""
        gradient = np.zeros_like(self.logits)
        for completion, advantage in zip(completions, advantages, strict=True):
            door, action = int(completion.prompt_ids[0]), int(completion.token_ids[0])
            gradient[door] += advantage * (np.eye(len(ACTIONS))[action] - self.chances(door))
        self.logits += rate * gradient / len(completions)


def rollout(policy: TablePolicy, sibling: int) -> Trajectory:
    """Ask and act until the world ends the episode. A solved task pays 10, on its last step."""
    world, steps = Corridor(), list[Step]()
    now = world.reset()
    while now.ending is None:
        completion = policy.complete(int(now.state_key))
        after = world.step(completion.text)
        facts = {"observation": now.observation, "state_key": now.state_key, "valid": True}
        reward = 10.0 if after.won else 0.0
        steps.append(Step(**facts, completion=completion, action=completion.text, reward=reward))
        now = after
    outcome = {"ending": now.ending, "success": now.won, "score": now.score}
    return Trajectory(task_id="door-3", sibling=sibling, seed=0, steps=tuple(steps), **outcome)


def update(policy: TablePolicy) -> tuple[RolloutGroup, np.ndarray]:
    """Collect, credit, learn. Returns what was played and the advantage of each row."""
    trajectories = tuple(rollout(policy, sibling) for sibling in range(ROLLOUTS))
    group = RolloutGroup(task_id="door-3", seed=0, trajectories=trajectories)
    batch = step_batch(RowTable([group]), embedding=None)  # columns, one entry per turn
    advantages = build("gigpo")(batch).value
    policy.learn([step.completion for trajectory in trajectories for step in trajectory.steps], advantages)
    return group, advantages


def main() -> None:
    policy = TablePolicy()
    group, advantages = update(policy)
    print("rollout  turn  door  action  advantage")
    rows = [(played.sibling, *row) for played in group.trajectories for row in enumerate(played.steps)]
    for (sibling, turn, step), advantage in zip(rows, advantages, strict=True):
        print(f"{sibling:7}  {turn:4}  {step.state_key:>4}  {step.action:<6}  {advantage:+9.2f}")
    for number in range(1, 12):
        print(f"update {number:2}: {sum(played.success for played in group.trajectories)} of {ROLLOUTS} solved")
        group, advantages = update(policy)


if __name__ == "__main__":
    main()
