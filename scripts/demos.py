"""stepcredit demos: write expert demonstrations."""

from door import open_door

from trainer.config.commands import DemosConfig
from trainer.setup.preflight import plan_demos

if __name__ == "__main__":
    open_door("demos", DemosConfig, plan_demos, "trainer.commands.warmstart:write_demos")
