"""Measure a policy on held-out tasks: our engines over a folder or hub id, or somebody's endpoint."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from rollout.collect import Collected
from rollout.openai_endpoint import EndpointPolicy
from rollout.policy import Policy
from rollout.record import write_groups
from trainer.config.commands import EvaluateConfig
from trainer.data.codec import ChatCodec
from trainer.evaluation import Evaluation, evaluation, play_held_out
from trainer.report.progress import Display
from trainer.setup.parts import engine_policy, playing, ray_running, start_engines
from trainer.setup.preflight import plan_evaluation
from trainer.setup.resolve import check_prompts, resolve_model
from trainer.setup.world import World


def evaluate(config: EvaluateConfig, display: Display) -> Evaluation:
    """One rollout of each task; writes evaluation.json and the rollouts. Raises ConfigError before any model loads."""
    world = plan_evaluation(config)
    with (
        ray_running(config.cluster),
        _policy(config, world, display) as policy,
        playing(policy, world, env=config.env, rollout=config.rollout, workers=config.cluster.env_workers) as collector,
    ):
        collected = play_held_out(
            collector, world, count=config.tasks, sampling=config.sampling, seed=config.seed, display=display
        )
    found = evaluation(collected.groups, world.kind)
    _write(Path(config.output).absolute(), collected, found)
    display.line(f"success {found.overall}   score {found.mean_score:.3f}   steps {found.mean_steps:.1f}")
    for kind, rate in found.by_kind.items():
        display.line(f"  {kind:<16} {rate}")
    return found


@contextmanager
def _policy(config: EvaluateConfig, world: World, display: Display) -> Iterator[Policy]:
    if config.endpoint is not None:
        key = os.environ.get("OPENAI_API_KEY", "none")
        limit = config.endpoint_concurrency
        yield EndpointPolicy(url=config.endpoint, model=config.model.source, concurrency=limit, api_key=key)
        return
    model = resolve_model(config.model, world, config.env)
    codec = ChatCodec(model)
    check_prompts(config.model, config.env, world, codec)
    display.stage(f"starting the engine for {config.model.source}")
    with closing(start_engines(config.engine, config.model, model)) as engines:
        engines.wait_ready()
        yield engine_policy(engines, codec, config.model)


def _write(output: Path, collected: Collected, found: Evaluation) -> None:
    output.mkdir(parents=True, exist_ok=True)
    write_groups(output / "rollouts.jsonl.zst", collected.groups)
    numbers = {
        "overall": asdict(found.overall),
        "interval": found.overall.interval,
        "by_kind": {kind: asdict(rate) for kind, rate in found.by_kind.items()},
        "score": found.mean_score,
        "steps": found.mean_steps,
        "invalid": found.invalid_share,
        "failures": dict(collected.counts.failures),
        "cut_prompts": collected.counts.cut_prompts,
        "cut_actions": collected.counts.cut_actions,
    }
    (output / "evaluation.json").write_text(json.dumps(numbers, indent=1))
