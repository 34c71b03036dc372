"""stepcredit demos: write expert demonstrations."""

from door import open_door

from trainer.warmstart import DemosConfig, write_demos

if __name__ == "__main__":
    open_door("demos", DemosConfig, write_demos)
