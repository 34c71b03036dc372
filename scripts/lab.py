"""stepcredit lab: estimators against each other on recorded rollouts, and against the truth on generated worlds."""

from door import open_door

from trainer.lab.config import LabConfig
from trainer.lab.plan import plan_lab

if __name__ == "__main__":
    open_door("lab", LabConfig, plan_lab, "trainer.lab.run:lab", planned=True)
