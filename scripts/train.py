"""stepcredit train: train a policy by reinforcement learning."""

from door import open_door

from trainer.config.commands import TrainConfig
from trainer.setup.preflight import plan_training

if __name__ == "__main__":
    open_door("train", TrainConfig, plan_training, "trainer.run:train")
