"""DeepSpeed's configuration, as the learner's settings say."""

from datetime import timedelta
from typing import Any

from torch import nn

from trainer.config.learner import LearnerConfig

MAX_BUCKET = 500_000_000  # parameters per communication bucket; DeepSpeed's default


def meeting_config(config: LearnerConfig) -> dict[str, Any]:
    """How the ranks of a learner meet, and how long they wait for each other, as for one that converts a checkpoint."""
    return {
        "dist_backend": "nccl" if config.device == "cuda" else "gloo",
        "auto_mpi_discovery": False,
        "timeout": timedelta(seconds=config.timeout_s),  # DeepSpeed's own limit is ten minutes
        "verbose": False,
    }


def engine_config(config: LearnerConfig, policy: nn.Module) -> dict[str, Any]:
    """DeepSpeed's configuration. Its micro-batch counts are nominal: `_optimizer_step` sets the boundary itself."""
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    bucket = min(MAX_BUCKET, sum(parameter.numel() for parameter in trained or policy.parameters()))
    half = config.dtype == "bfloat16"
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.grad_clip,
        # Each gradient joins the float32 sum during the backward pass and is freed: 2 bytes a parameter less.
        "bf16": {"enabled": half, "immediate_grad_update": half},
        # In bfloat16, sums over micro-batches and ranks would be rounded and so depend on packing and world size.
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_optimization": {
            "stage": config.zero_stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
    }
