"""GPU-hours of a cell before it runs: one published time, scaled by the arithmetic that a cell asks for.

BiPACE (2606.25556 section 4.4) takes 361.27 s for an update of ALFWorld on Qwen2.5-7B with 4 H100, of which 40.70 s are
its own. Time is taken to grow with operations at the same utilisation: those of a token (as `setup.mfu` counts them:
weights, head and attention) times the tokens of all rollouts, each as long as its limits allow.
"""

from trainer.config.commands import EvaluateConfig, TrainConfig
from trainer.config.shape import ModelShape

STEP_S, BIPACE_S, CARDS = 361.27, 40.70, 4
SHAPE = ModelShape(hidden=3584, layers=28, heads=28, kv_heads=4, mlp=18944, vocabulary=152064, qkv_bias=True)
ROLLOUTS, STEPS, CONTEXT = 128, 50, 2048 + 512
FORWARD = 0.25
"""Of an update's operations those of playing alone: 2 of the 8 a weight and token."""
STEPS_UNKNOWN = 1  # turns of a world without a step limit
HOW = (
    "from 361 s an update of ALFWorld 7B on 4 H100 (2606.25556), by operations a token and tokens at the limits; "
    "a critic and revisions are not counted"
)


def gpu_hours(config: TrainConfig | EvaluateConfig, shape: ModelShape | None, *, validations_of: int) -> float | None:
    """Hours of one H100 of a cell with its validations; None on CPUs and for an unknown shape.

    validations_of: held-out tasks of one validation, or of the evaluation.
    """
    if config.cluster.device == "cpu" or shape is None:
        return None
    turns = int(config.env.options.get("max_steps") or STEPS_UNKNOWN)
    context = config.model.context
    scale = turns * _flops(shape, context) * context / (STEPS * _flops(SHAPE, CONTEXT) * CONTEXT) / ROLLOUTS
    rollout_s = (STEP_S - BIPACE_S) * scale  # one rollout, played and trained on
    if isinstance(config, EvaluateConfig):
        seconds = validations_of * rollout_s * FORWARD
    else:
        rollouts = config.groups_per_update * config.group_size
        own = STEP_S / (STEP_S - BIPACE_S) if config.estimator["name"] == "bipace" else 1.0
        every = config.validation.every
        played = 0 if every is None else 1 + config.updates // every
        seconds = config.updates * rollouts * rollout_s * own + played * validations_of * rollout_s * FORWARD
    return seconds * CARDS / 3600


def _flops(shape: ModelShape, context: int) -> float:
    """Operations a token of one forward pass at half the context, up to a factor that all shapes share."""
    weights = shape.layers * shape.block_parameters + shape.vocabulary * shape.hidden
    return weights + shape.layers * shape.heads * shape.head_size * context
