"""stepcredit evaluate: measure a checkpoint, a Hugging Face model or an endpoint on held-out tasks."""

from door import open_door

from trainer.config.commands import EvaluateConfig
from trainer.setup.preflight import plan_evaluation

if __name__ == "__main__":
    open_door("evaluate", EvaluateConfig, plan_evaluation, "trainer.commands.evaluate:evaluate")
