"""Measure a policy on held-out tasks: a folder or hub id served by our engines, or an OpenAI-compatible endpoint."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rollout.collect import Collected, Collector, RolloutsFailed
from rollout.endpoint_usage import EndpointUsage
from rollout.openai_endpoint import EndpointPolicy
from rollout.policy import Policy
from rollout.record import write_groups
from trainer.config.commands import EvaluateConfig
from trainer.data.codec import ChatCodec
from trainer.durable import write_whole
from trainer.evaluation import Evaluation, evaluation, play_held_out
from trainer.report.progress import Display
from trainer.report.rate import Rate
from trainer.setup.conditions import conditions, conditions_lines
from trainer.setup.endpoint_key import endpoint_key
from trainer.setup.held_out import RESULT, ROLLOUTS, HeldOutFolder
from trainer.setup.nodes import check_nodes
from trainer.setup.parts import engine_policy, playing, ray_running, started
from trainer.setup.preflight import EvaluationPlan
from trainer.setup.resolve import check_prompts, resolve_model


def evaluate(plan: EvaluationPlan, display: Display) -> Evaluation:
    """Play each held-out task, once or several times; write `evaluation.json` and the rollouts to `output`.

    Each rollout is on disk as soon as it is finished, and an evaluation with resume=auto plays only what is missing.
    Raises ConfigError before any model loads where a prompt does not fit.
    """
    config, world = plan.config, plan.world
    with (
        ray_running(config.cluster),
        _policy(plan, display) as policy,
        playing(policy, world, env=config.env, rollout=config.rollout, workers=config.cluster.env_workers) as collector,
    ):
        result = _measured(plan, collector, display)
    display.line(f"success {result}   score {result.mean_score:.3f}   steps {result.mean_steps:.1f}")
    if config.samples > 1:
        for k in result.overall.ks:
            display.line(f"  pass@{k:<11} {result.overall.pass_at(k)}")
    for kind in result.by_kind:
        display.line(f"  {kind:<16} {result.kind_words(kind)}")
    return result


def _measured(plan: EvaluationPlan, collector: Collector, display: Display) -> Evaluation:
    """Play the rollouts that the output folder lacks, and write the results there."""
    config, world = plan.config, plan.world
    policy = collector.policy
    usage = (lambda: policy.used) if isinstance(policy, EndpointPolicy) else None
    folder = HeldOutFolder(config, plan.panel, plan.finished, usage)
    record = conditions(config, world, plan.panel, config.sampling.temperature)
    for line in conditions_lines(record):
        display.line(line)
    if plan.finished:
        display.stage(f"{folder.num_rollouts} rollouts are there, the others are played")
    try:
        collected = play_held_out(
            collector,
            world,
            count=config.tasks,
            samples=config.samples,
            sampling=config.sampling,
            seed=config.seed,
            display=display,
            finished=plan.finished,
            on_done=folder.keep,
        )
    except RolloutsFailed as error:
        if not folder.num_rollouts:
            raise
        raise RolloutsFailed(
            f"{error}; {folder.num_rollouts} finished rollouts are kept: go on with resume=auto output={config.output}"
        ) from error
    finally:  # for any end, Ctrl-C and SIGTERM too: the next start counts what this one used
        folder.keep_usage()
    result = evaluation(collected, world.kind)
    stated = folder.counts(collected.counts) | record | {"usage": _usage(folder.usage, config, result)}
    folder.state()
    _write(folder.path, collected, result, stated)
    if folder.usage is not None:
        display.line(folder.usage.words(config.endpoint_prices))
    folder.close()
    return result


@contextmanager
def _policy(plan: EvaluationPlan, display: Display) -> Iterator[Policy]:
    config, world = plan.config, plan.world
    if config.endpoint is not None:
        yield EndpointPolicy(
            url=config.endpoint,
            model=config.model.source,
            concurrency=config.endpoint_concurrency,
            api_key=endpoint_key(),
            options=config.endpoint_options,
            patience_s=config.endpoint_patience_s,
            timeout_s=config.endpoint_timeout_s,
        )
        return
    model = resolve_model(config.model, world, config.env)
    codec = ChatCodec(model)
    check_prompts(config.model, config.env, world, codec)
    check_nodes(config.cluster, config.model, model, display, env=replace(config.env, overlap=True))
    display.stage(f"starting the engine for {config.model.source}")
    with started(config.engine, config.model, model) as engines:
        engines.wait_ready(config.cluster.start_timeout_s)
        yield engine_policy(engines, codec, config.model)


def _write(output: Path, collected: Collected, result: Evaluation, stated: dict[str, Any]) -> None:
    write_groups(output / ROLLOUTS, collected.groups)
    numbers = {
        "overall": _counts(result.overall),
        "interval": result.overall.interval,
        "samples": result.overall.samples,
        "pass_at": _pass_at(result.overall),
        "not_played": dict(result.not_played),
        "by_kind": {
            kind: _counts(rate)
            | {"pass_at": _pass_at(rate), "not_played": dict(result.not_played_by_kind.get(kind, {}))}
            for kind, rate in result.by_kind.items()
        },
        "tasks": [asdict(task) for task in result.tasks],
        "score": result.mean_score,
        "steps": result.mean_steps,
        "invalid": result.invalid_share,
        **stated,
    }
    write_whole(output / RESULT, json.dumps(numbers, indent=1))


def _counts(rate: Rate) -> dict[str, int]:
    return {"wins": rate.wins, "total": rate.total}


def _pass_at(rate: Rate) -> dict[int, dict[str, float]]:
    """pass@k with its interval, by k; empty where each task is played once."""
    return {k: asdict(rate.pass_at(k)) for k in rate.ks} if rate.by_task else {}


def _usage(used: EndpointUsage | None, config: EvaluateConfig, result: Evaluation) -> dict[str, Any]:
    """What the evaluation used: endpoints by their own account, our engines alone by the rollouts that were played."""
    if used is not None:
        return asdict(used) | {"cost_usd": used.cost(config.endpoint_prices)}
    completions = [step.completion for rollout in result.trajectories for step in rollout.steps]
    return {
        "requests": len(completions),
        "input_tokens": sum(len(completion.prompt_ids) for completion in completions),
        "output_tokens": sum(len(completion.token_ids) for completion in completions),
    }
