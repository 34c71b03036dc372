"""stepcredit warmstart: fine-tune a policy on demonstrations."""

from door import open_door

from trainer.warmstart import WarmstartConfig, warmstart

if __name__ == "__main__":
    open_door("warmstart", WarmstartConfig, warmstart)
