"""Start and stop the parts of a run: Ray, engines, the learner, the worlds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

from estimators import Unit, needs
from rollout import ray_actors, ray_cluster
from rollout.collect import Collector, RolloutConfig
from rollout.engines import EngineConfig, Engines
from rollout.placement import Place
from rollout.policy import EnginePolicy, Policy
from rollout.pool import EnvPool, PoolConfig, worker_env
from rollout.waves import WavePolicy
from rollout.weights import SHARED_MEMORY, sweep
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.learner import LearnerConfig
from trainer.config.settings import ClusterConfig, EnvConfig, ModelConfig
from trainer.data.codec import ChatCodec
from trainer.learner.driver import Learner
from trainer.learner.ranks import rank_specs
from trainer.report.progress import Display
from trainer.scorers import Scorer, layer_read
from trainer.setup.credit import estimator_of, scorer_of, tries_again, twin_config_of
from trainer.setup.exchange import weights_route
from trainer.setup.kept import Recipe, lent
from trainer.setup.kv_cache import with_kv_cache
from trainer.setup.nodes import check_nodes
from trainer.setup.packing import with_packing
from trainer.setup.positions import check_positions
from trainer.setup.resolve import check_prompts, resolve_model
from trainer.setup.world import World, world_reference

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")
"""Endings of the files of a Hugging Face folder that hold weights."""


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

    scorer: Scorer | None = None
    """Rewards steps besides the world; None where nobody does."""


@contextmanager
def ray_running(config: ClusterConfig) -> Iterator[None]:
    """Run Ray for the length of the block. Raises ConfigError where it has fewer GPUs than the settings ask for.

    What killed runs left in shared memory goes first: Ray counts what is free there.
    """
    sweep(SHARED_MEMORY)
    settings = {"num_cpus": config.cpus, "address": config.address, "object_store_bytes": config.object_store_bytes}
    recipe: Recipe[None] = Recipe(
        name="Ray",
        settings=settings,
        start=partial(ray_cluster.start, **settings),
        renew=lambda _: ray_cluster.check_running(),
        close=lambda _: ray_cluster.stop(),
        carries=True,
    )
    with lent(recipe):
        gpus = ray_cluster.resources().get("GPU", 0)
        if gpus < config.gpus:
            raise ConfigError(
                f"cluster.gpus={config.gpus} but Ray sees {gpus:.0f}: take a smaller preset, such as "
                f"cluster={'cpu' if gpus < 1 else f'gpu{gpus:.0f}'}, or join a larger cluster with cluster.address=..."
            )
        yield


@contextmanager
def assembled(config: TrainConfig, world: World, display: Display) -> Iterator[Parts]:
    """Start engines, learner and env workers; close them at the end, also after an error."""
    with ray_running(config.cluster):
        display.stage(f"model {config.model.source}")
        model = resolve_model(config.model, world, config.env)
        check_positions(replace(config.model, source=model))
        codec = ChatCodec(model)
        check_prompts(config.model, config.env, world, codec)
        output = Path(config.output).absolute()
        check_nodes(config.cluster, config.model, model, display, env=config.env, output=output)
        wants, scorer = needs(estimator_of(config)), scorer_of(config)
        if tries_again(config, wants):
            check_prompts(config.model, config.env, world, codec, revision=config.revise.prompt)
        packed = with_packing(config.learner, model)
        display.stage("starting the engine, the learner and the worlds")
        with (
            weights_route(
                config.cluster, model, display, nodes_share=output if len(ray_cluster.nodes()) > 1 else None
            ) as route,
            reserved(
                packed, model, twin=twin_config_of(scorer, packed), timeout_s=config.cluster.start_timeout_s
            ) as learner,
            started(
                config.engine,
                config.model,
                model,
                deterministic=config.deterministic,
                places=learner.places if config.cluster.shares_gpus else (),
                publishes=True,
                stays=config.cluster.way != "nccl",
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
            start_models(engines, learner, config.cluster, layer=layer_read(wants, scorer), critic=wants.critic)
            yield Parts(
                config=config,
                world=world,
                engines=engines,
                learner=learner,
                collector=collector,
                scorer=scorer,
            )


def start_models(
    engines: Engines, learner: Learner, cluster: ClusterConfig, *, layer: int | None, critic: Unit | None
) -> None:
    """Return once the engines can serve and the learner has its models.

    On GPUs that both share they start in turns, since each measures the memory that is free: the engines first, which
    then go to sleep if they sleep at all. The first publish wakes them.
    """
    limit = cluster.start_timeout_s
    if cluster.shares_gpus:
        engines.wait_ready(limit)
        engines.sleep()
        learner.join(layer=layer, critic=critic, timeout_s=limit)
    else:
        learner.join(layer=layer, critic=critic, timeout_s=limit)
        engines.wait_ready(limit)
    if cluster.way == "nccl":
        meet(engines, learner, limit)


def meet(engines: Engines, learner: Learner, timeout_s: float) -> None:
    """Connect the learner's first rank and all engines for broadcasts. Raises ActorTimeout where not all come."""
    meeting = learner.meeting(size=1 + engines.num_workers, timeout_s=timeout_s)
    coming = engines.connect(meeting)
    learner.connect(meeting)
    ray_actors.gather(coming, timeout_s)


def reserved(
    config: LearnerConfig, model: str, *, twin: LearnerConfig | None = None, timeout_s: float
) -> AbstractContextManager[Learner]:
    """A learner whose ranks have their places, in processes of the run before where these fit. Closed at the end.

    twin: how the ranks also train a copy of the policy for a scorer; None: there is none. On GPUs the ranks are started
    anew for each run: there memory that a process once took stays with it.
    """
    recipe = Recipe(
        name="learner",
        settings=(rank_specs(config), twin is not None),
        start=partial(Learner.reserve, config, model, twin=twin, timeout_s=timeout_s),
        renew=lambda learner: learner.renewed(config, model, twin),
        close=Learner.close,
        stays=config.device == "cpu",
    )
    return lent(recipe)


def started(
    config: EngineConfig,
    limits: ModelConfig,
    model: str,
    *,
    deterministic: bool = False,
    places: Sequence[Place] = (),
    publishes: bool = False,
    stays: bool = True,
) -> AbstractContextManager[Engines]:
    """Engines that are starting, or those of the run before where these fit. Closed at the end.

    places: the GPUs of the learner's ranks, if the engines share them. publishes: whether the weights are published
    before anything is asked; else they are those of `model`. stays: whether another run can take them over.
    """
    # The prefix cache depends on the order in which requests arrive, and changes which rows are computed together.
    memory = min(node.memory for node in ray_cluster.nodes())
    sized = with_kv_cache(config, model, context=limits.context, memory=memory)
    options = {"context": limits.context, "prefix_caching": not deterministic, "places": tuple(places)}
    recipe = Recipe(
        name="engines",
        settings=(sized, options, files_of(model), None if publishes else weights_of(model)),
        start=partial(Engines, model, sized, **options),
        renew=lambda engines: engines.renewed(model),
        close=Engines.close,
        stays=stays,
    )
    return lent(recipe)


def files_of(model: str) -> Mapping[str, str]:
    """The digest of each file of a Hugging Face folder but its weights: what engines of one shape have in common."""
    paths = [path for path in Path(model).iterdir() if path.is_file() and not path.name.endswith(WEIGHTS)]
    return {path.name: blake2b(path.read_bytes()).hexdigest() for path in paths}


def weights_of(model: str) -> Mapping[str, tuple[int, int]]:
    """Size and time of each file of weights: they change when it is written again."""
    paths = [path for path in Path(model).absolute().iterdir() if path.name.endswith(WEIGHTS)]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


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
    """Yield a collector with a pool of env workers, that of the run before where it fits; it is closed at the end."""
    pool_config = PoolConfig(
        world=world_reference(env), options=env.options, workers=workers, timeout_s=rollout.env_timeout_s
    )
    recipe = Recipe(
        name="pool",
        settings=(pool_config, worker_env()),
        start=partial(EnvPool, pool_config),
        renew=EnvPool.renewed,
        close=EnvPool.close,
    )
    with lent(recipe) as pool:
        yield Collector(policy=policy, pool=pool, prompter=world.prompter, config=rollout)
