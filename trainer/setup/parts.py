"""The parts of a run, put together and taken apart again: Ray, engines, learner, worlds, estimator."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from estimators import needs
from rollout import ray_actors
from rollout.collect import Collector, RolloutConfig
from rollout.engines import EngineConfig, Engines
from rollout.policy import EnginePolicy, Policy
from rollout.pool import EnvPool, PoolConfig
from rollout.waves import WavePolicy
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.settings import ClusterConfig, EnvConfig, ModelConfig
from trainer.data.codec import ChatCodec
from trainer.learner.driver import Learner
from trainer.report.progress import Display
from trainer.setup.preflight import estimator_of
from trainer.setup.resolve import check_prompts, resolve_model
from trainer.setup.world import World, world_reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All that an update touches. weights_folder: where the learner leaves weights for the engines."""

    config: TrainConfig
    world: World
    engines: Engines
    learner: Learner
    collector: Collector
    weights_folder: Path


@contextmanager
def ray_running(config: ClusterConfig) -> Iterator[None]:
    """Ray for as long as the block runs. Raises ConfigError where it lacks what the preset asks for."""
    ray_actors.start(num_cpus=config.cpus, address=config.address, object_store_bytes=config.object_store_bytes)
    try:
        has = ray_actors.resources().get("GPU", 0)
        if has < config.gpus:
            raise ConfigError(
                f"cluster.gpus={config.gpus} but Ray sees {has:.0f}: take a smaller preset, such as "
                f"cluster={'cpu' if has < 1 else f'gpu{has:.0f}'}, or join a larger cluster with cluster.address=..."
            )
        yield
    finally:
        ray_actors.stop()


@contextmanager
def assembled(config: TrainConfig, world: World, display: Display) -> Iterator[Parts]:
    """Start engines, learner and workers side by side; close them in any case."""
    with ray_running(config.cluster):
        display.stage(f"model {config.model.source}")
        model = resolve_model(config.model, world, config.env)
        codec = ChatCodec(model)
        check_prompts(config.model, config.env, world, codec)
        if needs(estimator_of(config)).revisions:
            check_prompts(config.model, config.env, world, codec, revision=config.revise.prompt)
        display.stage("starting the engine, the learner and the worlds")
        with (
            closing(start_engines(config.engine, config.model, model, deterministic=config.deterministic)) as engines,
            closing(Learner.start(config.learner, model)) as learner,
            playing(
                engine_policy(engines, codec, config.model, deterministic=config.deterministic),
                world,
                env=config.env,
                rollout=config.rollout,
                workers=config.cluster.env_workers,
            ) as collector,
            tempfile.TemporaryDirectory(prefix="stepcredit-", dir=_shared_memory()) as folder,
        ):
            engines.wait_ready()
            yield Parts(
                config=config,
                world=world,
                engines=engines,
                learner=learner,
                collector=collector,
                weights_folder=Path(folder),
            )


def start_engines(config: EngineConfig, limits: ModelConfig, model: str, *, deterministic: bool = False) -> Engines:
    # What is in a prefix cache depends on the order of arrival, and with it which numbers are computed together.
    return Engines(model, config, context=limits.context, prefix_caching=not deterministic)


def engine_policy(
    engines: Engines, codec: ChatCodec, limits: ModelConfig, *, deterministic: bool = False
) -> EnginePolicy | WavePolicy:
    """The engines as a policy; a deterministic one asks them in waves."""
    policy = EnginePolicy(engines=engines.remotes, codec=codec, prompt_tokens=limits.prompt_tokens)
    return WavePolicy(policy) if deterministic else policy


@contextmanager
def playing(
    policy: Policy, world: World, *, env: EnvConfig, rollout: RolloutConfig, workers: int
) -> Iterator[Collector]:
    """A collector over a pool of env workers."""
    workers_of = PoolConfig(
        world=world_reference(env), options=env.options, workers=workers, timeout_s=rollout.env_timeout_s
    )
    with closing(EnvPool(workers_of)) as pool:
        yield Collector(policy=policy, pool=pool, prompter=world.prompter, config=rollout)


def _shared_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
