"""What the processes of the learner's ranks are started with."""

from rollout.actor_spec import ActorSpec, Limit
from trainer.config.learner import LearnerConfig

# Without these settings glibc returns freed activations to the kernel and fetches them again: a third of a CPU step.
MALLOC_ENV = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}


def rank_specs(config: LearnerConfig) -> list[ActorSpec]:
    """What the processes of the ranks are started with."""
    return [_actor(config, rank) for rank in range(config.world_size)]


def _actor(config: LearnerConfig, rank: int) -> ActorSpec:
    """What a rank takes of the cluster, a whole GPU where there are some, and the environment of its process.

    Ray shows it only its own GPU, as number 0.
    """
    env = {
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(config.world_size),
        "LOCAL_WORLD_SIZE": str(config.world_size),
        "LOCAL_SIZE": str(config.world_size),
        "DS_ACCELERATOR": config.device,
        "OMP_NUM_THREADS": str(config.threads),
        "GOMP_SPINCOUNT": "1000",  # a thread that spins keeps a core busy which another process needs
        "HF_HUB_OFFLINE": "1",
        **MALLOC_ENV,
    }
    gpus, limit = int(config.device == "cuda"), Limit(seconds=config.timeout_s, setting="learner.timeout_s")
    start = ("address", "join")
    return ActorSpec(name=f"learner rank {rank}", num_gpus=gpus, env=env, limit=limit, start=start, spread=gpus == 0)
