"""Measure a policy on held-out tasks: a folder or hub id served by our engines, or an OpenAI-compatible endpoint."""

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
from trainer.data.codec import ChatCodec
from trainer.evaluation import Evaluation, evaluation, play_held_out
from trainer.report.progress import Display
from trainer.setup.parts import engine_policy, playing, ray_running, start_engines
from trainer.setup.preflight import EvaluationPlan
from trainer.setup.resolve import check_prompts, resolve_model


def evaluate(plan: EvaluationPlan, display: Display) -> Evaluation:
    """Play each held-out task once; write `evaluation.json` and the rollouts to `output`.

    Raises ConfigError before any model loads where a prompt does not fit.
    """
    config, world = plan.config, plan.world
    with (
        ray_running(config.cluster),
        _policy(plan, display) as policy,
        playing(policy, world, env=config.env, rollout=config.rollout, workers=config.cluster.env_workers) as collector,
    ):
        collected = play_held_out(
            collector, world, count=config.tasks, sampling=config.sampling, seed=config.seed, display=display
        )
    result = evaluation(collected.groups, world.kind)
    _write(Path(config.output).absolute(), collected, result)
    display.line(f"success {result.overall}   score {result.mean_score:.3f}   steps {result.mean_steps:.1f}")
    for kind, rate in result.by_kind.items():
        display.line(f"  {kind:<16} {rate}")
    return result


@contextmanager
def _policy(plan: EvaluationPlan, display: Display) -> Iterator[Policy]:
    config, world = plan.config, plan.world
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


def _write(output: Path, collected: Collected, result: Evaluation) -> None:
    output.mkdir(parents=True, exist_ok=True)
    write_groups(output / "rollouts.jsonl.zst", collected.groups)
    numbers = {
        "overall": asdict(result.overall),
        "interval": result.overall.interval,
        "by_kind": {kind: asdict(rate) for kind, rate in result.by_kind.items()},
        "score": result.mean_score,
        "steps": result.mean_steps,
        "invalid": result.invalid_share,
        "failures": dict(collected.counts.failures),
        "cut_prompts": collected.counts.cut_prompts,
        "cut_actions": collected.counts.cut_actions,
    }
    (output / "evaluation.json").write_text(json.dumps(numbers, indent=1))
