"""stepcredit quickstart: warm start, training and report on TextCraft in minutes."""

from door import open_door

from trainer.config.commands import QuickstartConfig
from trainer.setup.preflight import plan_quickstart

if __name__ == "__main__":
    open_door("quickstart", QuickstartConfig, plan_quickstart, "trainer.commands.quickstart:quickstart")
