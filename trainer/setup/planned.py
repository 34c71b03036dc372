"""A training run that follows the plan for its GPUs: who sleeps, what the ranks split, how large the KV cache is."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig, WarmstartConfig
from trainer.config.learner import LearnerConfig
from trainer.config.settings import ClusterConfig
from trainer.config.shape import ModelShape
from trainer.scorers import trains_twin
from trainer.setup import gpu_memory
from trainer.setup.credit import scorer_of
from trainer.setup.findings import Gpu, gpus
from trainer.setup.gpu_memory import GIB, Serving, Training
from trainer.setup.gpu_plan import GpuPlan, GpuRequest, Placement, plan_gpus
from trainer.setup.shapes import find_shape

CARD_GIB = 79.6
"""What a card of 80 GB shows: the card that is planned for where none is here."""
TRIED_GPUS = (1, 2, 4, 8, 16, 32, 64)
ADAPTER_RANK = 32
"""Rank of the adapter of learner=lora and lora_finetune, which a refusal proposes."""


def planned(config: TrainConfig, *, stage: int | None = None) -> TrainConfig:
    """The run with what its plan chose: cluster.sleep, learner.zero_stage and engine.kv_cache_bytes. On CPUs, as it is.

    A run in float32, and one whose model's shape is not known on this machine, is not planned: its engines sleep.
    stage: the one ZeRO stage that may be chosen, which is that of the checkpoint of a run that goes on; None for any.
    Raises ConfigError where nothing fits, with the number of GPUs that would do.
    """
    if config.cluster.device == "cpu":
        return config
    if config.cluster.dtype != "bfloat16" or (shape := find_shape(config.model)) is None:
        return _with_sleep(config, config.cluster.sleep is not False and config.cluster.placement == "colocated")
    card = card_bytes(config.cluster)
    plan = plan_gpus(request_of(config, shape, config.cluster.gpus, card=card, stage=stage))
    if not plan.fits:
        raise does_not_fit(config, shape, plan, card=card, stage=stage)
    config = replace(config, learner=replace(config.learner, zero_stage=plan.zero_stage))
    cache = _cache_bytes(config, shape, config.cluster.gpus)
    config = replace(config, engine=replace(config.engine, kv_cache_bytes=cache))
    return _with_sleep(config, plan.placement == "sleeping")


def planned_warmstart(config: WarmstartConfig) -> WarmstartConfig:
    """The warm start with the ZeRO stage that its ranks need, which have their GPUs alone. On CPUs, as it is.

    Raises ConfigError where nothing fits.
    """
    if config.cluster.device == "cpu" or (shape := find_shape(config.model)) is None:
        return config
    request = GpuRequest(
        shape=shape,
        training=_training(config.learner, ranks=config.cluster.ranks, reference=False),
        serving=None,
        gpu_bytes=card_bytes(config.cluster),
        placements=("split",),
        stages=_stages(config.learner),
    )
    plan = plan_gpus(request)
    if not plan.fits:
        adapter = "train a LoRA adapter with learner=lora_finetune, " if _fits_with_adapter(request) else ""
        raise ConfigError(
            f"model.source={config.model.source!r} {plan.why}: raise cluster.gpus, {adapter}or take a smaller model"
        )
    return replace(config, learner=replace(config.learner, zero_stage=plan.zero_stage))


def request_of(
    config: TrainConfig, shape: ModelShape, count: int, *, card: int, stage: int | None = None
) -> GpuRequest:
    """What `count` GPUs of `card` bytes would have to hold, with as many ranks and engines a GPU as the run has.

    stage: the one ZeRO stage that may be chosen; None for any.
    """
    return GpuRequest(
        shape=shape,
        training=_training(
            config.learner,
            ranks=_of(config.cluster.ranks, config, count),
            reference=config.learner.loss.kl_coef > 0,
            twin=trains_twin(scorer_of(config)),
        ),
        serving=Serving(
            tensor_parallel=config.engine.tensor_parallel, kv_cache_bytes=_cache_bytes(config, shape, count)
        ),
        gpu_bytes=card,
        placements=_placements(config.cluster),
        stages=_stages(config.learner) if stage is None else (stage,),
    )


def does_not_fit(
    config: TrainConfig, shape: ModelShape, plan: GpuPlan, *, card: int, stage: int | None = None
) -> ConfigError:
    """The refusal of a run whose plan does not fit: what is missing, and how many GPUs would do."""
    requested = partial(request_of, config, shape, card=card, stage=stage)
    more = (count for count in TRIED_GPUS if count > config.cluster.gpus)
    enough = next((count for count in more if plan_gpus(requested(count)).fits), None)
    remedies = ["lower learner.token_budget" if enough is None else f"take cluster.gpus={enough}, where it fits"]
    request = requested(config.cluster.gpus)
    if _fits_with_adapter(request):
        remedies.append("train a LoRA adapter with learner=lora")
    if request.training.twin and plan_gpus(replace(request, training=replace(request.training, twin=False))).fits:
        remedies.append("leave out the scorer, whose copy of the policy takes as much memory as the policy")
    return ConfigError(
        f"model.source={config.model.source!r} {plan.why}: {', '.join(remedies)}, or take a smaller model"
    )


def _fits_with_adapter(request: GpuRequest) -> bool:
    """Whether a run that trains all weights would fit if it trained an adapter."""
    training = replace(request.training, adapter_rank=ADAPTER_RANK)
    return request.training.adapter_rank is None and plan_gpus(replace(request, training=training)).fits


def card_bytes(cluster: ClusterConfig, here: Sequence[Gpu] | None = None) -> int:
    """Memory of one GPU: cluster.gpu_memory_gib, else that of the smallest card here, else that of a card of 80 GB.

    here: the GPUs of this machine; None asks its driver.
    """
    if cluster.gpu_memory_gib is not None:
        return int(cluster.gpu_memory_gib * GIB)
    cards = gpus() if here is None else here
    return min((gpu.memory_bytes for gpu in cards), default=int(CARD_GIB * GIB))


def _training(learner: LearnerConfig, *, ranks: int, reference: bool, twin: bool = False) -> Training:
    return Training(
        ranks=ranks,
        zero_stage=learner.zero_stage,
        token_budget=learner.token_budget,
        checkpointing=learner.gradient_checkpointing,
        reference=reference,
        adapter_rank=learner.lora.rank,
        twin=twin,
    )


def _cache_bytes(config: TrainConfig, shape: ModelShape, count: int) -> int:
    """The KV cache on each GPU of an engine: as asked for, else room for the engine's share of the rollouts."""
    if config.engine.kv_cache_bytes is not None:
        return config.engine.kv_cache_bytes
    engines = _of(config.cluster.engines, config, count)
    requests = min(config.engine.max_num_seqs, -(-config.groups_per_update * config.group_size // engines))
    return gpu_memory.kv_cache_bytes(
        shape, requests=requests, context=config.model.context, tensor_parallel=config.engine.tensor_parallel
    )


def _of(parts: int, config: TrainConfig, count: int) -> int:
    """How many of these parts of the run `count` GPUs would have, where cluster.gpus have `parts`."""
    return max(1, parts * count // max(1, config.cluster.gpus))


def _placements(cluster: ClusterConfig) -> tuple[Placement, ...]:
    if cluster.placement == "split":
        return ("split",)
    both: dict[bool | None, tuple[Placement, ...]] = {
        None: ("side by side", "sleeping"),
        True: ("sleeping",),
        False: ("side by side",),
    }
    return both[cluster.sleep]


def _stages(learner: LearnerConfig) -> tuple[int, ...]:
    """The ZeRO stages that may be chosen: compiled layers leave out the third (`LearnerConfig.compile`)."""
    most = 2 if learner.compile == "layers" else 3
    return tuple(stage for stage in (1, 2, 3) if learner.zero_stage <= stage <= most)


def _with_sleep(config: TrainConfig, sleep: bool) -> TrainConfig:
    return replace(config, cluster=replace(config.cluster, sleep=sleep), engine=replace(config.engine, sleep=sleep))
