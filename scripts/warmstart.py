"""stepcredit warmstart: fine-tune a policy on demonstrations."""

from door import open_door

from trainer.config.commands import WarmstartConfig
from trainer.setup.preflight import plan_warmstart

if __name__ == "__main__":
    open_door("warmstart", WarmstartConfig, plan_warmstart, "trainer.commands.warmstart:warmstart")
