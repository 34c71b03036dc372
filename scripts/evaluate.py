"""stepcredit evaluate: measure a checkpoint, a Hugging Face model or an endpoint on held-out tasks."""

from door import open_door

from trainer.measure import EvaluateConfig, evaluate

if __name__ == "__main__":
    open_door("evaluate", EvaluateConfig, evaluate)
