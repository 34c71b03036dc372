"""stepcredit evaluate: measure a checkpoint, a Hugging Face model or an endpoint on held-out tasks."""

from door import open_door

from trainer.config import EvaluateConfig
from trainer.preflight import plan_evaluation

if __name__ == "__main__":
    open_door("evaluate", EvaluateConfig, plan_evaluation, "trainer.measure:evaluate")
