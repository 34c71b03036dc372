"""stepcredit demos: write expert demonstrations."""

from door import open_door

from trainer.config import DemosConfig
from trainer.preflight import plan_demos

if __name__ == "__main__":
    open_door("demos", DemosConfig, plan_demos, "trainer.warmstart:write_demos")
