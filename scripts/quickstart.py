"""stepcredit quickstart: warm start, training and report on TextCraft in minutes."""

from door import open_door

from trainer.quickstart import QuickstartConfig, quickstart

if __name__ == "__main__":
    open_door("quickstart", QuickstartConfig, quickstart)
