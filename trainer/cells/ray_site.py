"""Cells on the nodes of a Ray cluster: an actor for each reserves its cores and GPUs and starts it there.

All nodes must share the folder of the cells.
"""

import os
from collections.abc import Mapping, Sequence

from rollout import ray_cluster
from rollout.actor_spec import ActorSpec
from rollout.held import StartFailed
from rollout.ray_actors import ActorDied, Call, answered, gather, spawn
from trainer.cells.cell import Cell, Outcome, State, outcome_of, write_outcome
from trainer.cells.child import PROGRAM, Child
from trainer.cells.site import LOOK_S, Running, end_each
from trainer.config.build import ConfigError

PREFIX = "RAY_"
"""Of the variables by which Ray's workers know their cluster. A cell starts a Ray of its own beside it."""


PASSED = ("WANDB_", "HF_", "OPENAI_", "WEBSHOP_", "TEXTCRAFT_", "ALFWORLD_")
"""Of the command's variables that its cells get: keys, and the folders of data that settings name. They are an
argument of the actor's, for Ray logs the variables that an actor is made with."""
KEY = "scorer.key_variable="
"""A setting that names one more."""


class Runner:
    """The inside of the actor."""

    def run(self, cell: Cell, program: tuple[str, ...], variables: Mapping[str, str]) -> Outcome:
        """Run a cell with these variables in its environment, and wait for it."""
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            del os.environ[name]
        os.environ.update(variables)
        return Child(cell, program=program).wait()


class RayRunning:
    """A cell in an actor."""

    def __init__(self, cell: Cell, call: Call) -> None:
        self.cell = cell
        self._call = call
        self._spent = outcome_of(cell).seconds  # of its earlier starts; how long this one ran, only its actor knows
        self._ordered: Outcome | None = None

    def outcome(self) -> Outcome | None:
        if self._ordered is not None:
            return self._ordered
        if not answered(self._call):
            return None
        try:
            (outcome,) = gather([self._call])
        except (ActorDied, StartFailed, OSError) as error:  # OSError: of a node that lacks the program or the folder
            outcome = Outcome(cell=self.cell, state=State.FAILED, line=str(error), seconds=self._spent)
            write_outcome(outcome)
            return outcome
        finally:
            self._call.actor.kill()
        if not self.cell.log.exists():
            line = f"its node does not share {self.cell.folder.parent}: choose a folder that all nodes share"
            return Outcome(cell=self.cell, state=State.FAILED, line=line)
        return outcome

    def end(self, state: State, line: str = "") -> None:
        """The command follows its actor, and ends in order when that is killed."""
        if answered(self._call):
            return  # it has ended by itself
        self._call.actor.kill()
        self._ordered = Outcome(cell=self.cell, state=state, line=line, seconds=self._spent)
        write_outcome(self._ordered)


class RaySite:
    """A Ray cluster, whose own queue decides which cell waits."""

    look_s = LOOK_S

    def __init__(self, address: str, parallel: int | None, *, program: tuple[str, ...] = PROGRAM) -> None:
        """Raises NoCluster where none answers at the address."""
        self.parallel = parallel
        self._program = program
        ray_cluster.start(address=address)
        self._nodes = ray_cluster.nodes()

    def check(self, cell: Cell) -> None:
        if cell.gpus > (most := max(node.gpus for node in self._nodes)):
            raise ConfigError(
                f"a cell takes cluster.gpus={cell.gpus} and no node of the Ray cluster has more than {most}: "
                "lower it, or start each run by itself with cluster.address=..."
            )
        if cell.cpus is None:
            raise ConfigError(
                "a cell takes all cores (cluster.cpus=null), and Ray must know how many: set cluster.cpus=N"
            )
        if cell.cpus > (most := max(node.cpus for node in self._nodes if node.gpus >= cell.gpus)):
            raise ConfigError(
                f"a cell takes cluster.cpus={cell.cpus}, and no node of the Ray cluster that has its GPUs has more "
                f"than {most:g}: Ray would wait for ever, so lower it"
            )

    def start(self, cell: Cell) -> RayRunning:
        spec = ActorSpec(
            name=f"cell {cell.digest}",
            num_cpus=cell.cpus or 0,
            num_gpus=cell.gpus,
            limit=None,  # a run takes its time, and its own parts have limits
            spread=True,
            folder=os.getcwd(),
        )
        runner = spawn(Runner, spec=spec)
        return RayRunning(cell, runner.submit("run", cell, self._program, _variables(cell)))

    def end_all(self, running: Sequence[Running]) -> None:
        end_each(running)

    def close(self) -> None:
        ray_cluster.stop()


def _variables(cell: Cell) -> dict[str, str]:
    named = {word.removeprefix(KEY) for word in cell.words if word.startswith(KEY)}
    return {name: value for name, value in os.environ.items() if name.startswith(PASSED) or name in named}
