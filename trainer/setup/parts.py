"""Start and stop the parts of a run: Ray, engines, the learner, the worlds."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from estimators import needs
from rollout import ray_actors
from rollout.collect import Collector, RolloutConfig
from rollout.engines import EngineConfig, Engines
from rollout.placement import Place
from rollout.policy import EnginePolicy, Policy
from rollout.pool import EnvPool, PoolConfig
from rollout.waves import WavePolicy
from rollout.weights import SHARED_MEMORY, sweep
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.settings import ClusterConfig, EnvConfig, ModelConfig
from trainer.data.codec import ChatCodec
from trainer.learner.driver import Learner
from trainer.report.progress import Display
from trainer.setup.exchange import weights_route
from trainer.setup.kv_cache import with_kv_cache
from trainer.setup.nodes import check_nodes
from trainer.setup.packing import with_packing
from trainer.setup.preflight import estimator_of
from trainer.setup.resolve import check_prompts, resolve_model
from trainer.setup.world import World, world_reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that an update uses."""

    config: TrainConfig
    """The settings of the run."""

    world: World
    """The driver's copy of the world."""

    engines: Engines
    """The vLLM engines that sample."""

    learner: Learner
    """The ranks that train."""

    collector: Collector
    """Plays rollouts with the engines in the env workers."""


@contextmanager
def ray_running(config: ClusterConfig) -> Iterator[None]:
    """Run Ray for the length of the block. Raises ConfigError where it has fewer GPUs than the settings ask for.

    What killed runs left in shared memory goes first: Ray counts what is free there.
    """
    sweep(SHARED_MEMORY)
    ray_actors.start(num_cpus=config.cpus, address=config.address, object_store_bytes=config.object_store_bytes)
    try:
        gpus = ray_actors.resources().get("GPU", 0)
        if gpus < config.gpus:
            raise ConfigError(
                f"cluster.gpus={config.gpus} but Ray sees {gpus:.0f}: take a smaller preset, such as "
                f"cluster={'cpu' if gpus < 1 else f'gpu{gpus:.0f}'}, or join a larger cluster with cluster.address=..."
            )
        yield
    finally:
        ray_actors.stop()


@contextmanager
def assembled(config: TrainConfig, world: World, display: Display) -> Iterator[Parts]:
    """Start engines, learner and env workers; close them at the end, also after an error."""
    with ray_running(config.cluster):
        display.stage(f"model {config.model.source}")
        model = resolve_model(config.model, world, config.env)
        codec = ChatCodec(model)
        check_prompts(config.model, config.env, world, codec)
        output = Path(config.output).absolute()
        check_nodes(config.cluster, config.model, model, display, env=config.env, output=output)
        wants = needs(estimator_of(config))
        if wants.revisions:
            check_prompts(config.model, config.env, world, codec, revision=config.revise.prompt)
        packed = with_packing(config.learner, model)
        display.stage("starting the engine, the learner and the worlds")
        with (
            weights_route(
                config.cluster, model, display, nodes_share=output if len(ray_actors.nodes()) > 1 else None
            ) as route,
            closing(Learner.reserve(packed, model, timeout_s=config.cluster.start_timeout_s)) as learner,
            closing(
                start_engines(
                    config.engine,
                    config.model,
                    model,
                    deterministic=config.deterministic,
                    places=learner.places if config.cluster.shares_gpus else (),
                )
            ) as engines,
            playing(
                engine_policy(engines, codec, config.model, deterministic=config.deterministic),
                world,
                env=config.env,
                rollout=config.rollout,
                workers=config.cluster.env_workers,
            ) as collector,
        ):
            learner.route = route
            start_models(engines, learner, config.cluster, layer=wants.layer)
            yield Parts(
                config=config,
                world=world,
                engines=engines,
                learner=learner,
                collector=collector,
            )


def start_models(engines: Engines, learner: Learner, cluster: ClusterConfig, *, layer: int | None) -> None:
    """Return once the engines can serve and the learner has its models.

    On GPUs that both share they start in turns, since each measures the memory that is free: the engines first, which
    then go to sleep if they sleep at all. The first publish wakes them.
    """
    limit = cluster.start_timeout_s
    if cluster.shares_gpus:
        engines.wait_ready(limit)
        engines.sleep()
        learner.join(layer=layer, timeout_s=limit)
    else:
        learner.join(layer=layer, timeout_s=limit)
        engines.wait_ready(limit)
    if cluster.way == "nccl":
        meet(engines, learner, limit)


def meet(engines: Engines, learner: Learner, timeout_s: float) -> None:
    """Connect the learner's first rank and all engines for broadcasts. Raises ActorTimeout where not all come."""
    meeting = learner.meeting(size=1 + engines.num_workers, timeout_s=timeout_s)
    coming = engines.connect(meeting)
    learner.connect(meeting)
    ray_actors.gather(coming, timeout_s)


def start_engines(
    config: EngineConfig,
    limits: ModelConfig,
    model: str,
    *,
    deterministic: bool = False,
    places: Sequence[Place] = (),
) -> Engines:
    """Start the engines; returns at once. places: the GPUs of the learner's ranks, if the engines share them."""
    # The prefix cache depends on the order in which requests arrive, and changes which rows are computed together.
    sized = with_kv_cache(config, model, context=limits.context)
    return Engines(model, sized, context=limits.context, prefix_caching=not deterministic, places=places)


def engine_policy(
    engines: Engines, codec: ChatCodec, limits: ModelConfig, *, deterministic: bool = False
) -> EnginePolicy | WavePolicy:
    """The engines as a policy; a deterministic one asks them in waves."""
    policy = EnginePolicy(engines=engines.seats, codec=codec, prompt_tokens=limits.prompt_tokens)
    return WavePolicy(policy) if deterministic else policy


@contextmanager
def playing(
    policy: Policy, world: World, *, env: EnvConfig, rollout: RolloutConfig, workers: int
) -> Iterator[Collector]:
    """Yield a collector with a pool of env workers; close the pool at the end."""
    pool_config = PoolConfig(
        world=world_reference(env), options=env.options, workers=workers, timeout_s=rollout.env_timeout_s
    )
    with closing(EnvPool(pool_config)) as pool:
        yield Collector(policy=policy, pool=pool, prompter=world.prompter, config=rollout)
