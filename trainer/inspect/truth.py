"""`stepcredit truth`: the true advantages of recorded turns, estimated by an engine that plays on from each."""

import io

import numpy as np

from rollout.collection import PlayOptions
from rollout.record import read_groups
from trainer.data.codec import ChatCodec
from trainer.data.recording import Recording, truth_file
from trainer.durable import write_whole
from trainer.inspect.continued import Continued, continued
from trainer.inspect.truth_plan import MonteCarloPlan
from trainer.report.progress import Display
from trainer.report.rate import Z
from trainer.setup.parts import engine_policy, playing, ray_running, started
from trainer.setup.resolve import resolve_model


def measure_truth(plan: MonteCarloPlan, display: Display) -> None:
    """Write the advantages beside the rollouts of each update, where `stepcredit inspect` finds them."""
    run, config = plan.run, plan.config
    options = PlayOptions(sampling=run.sampling, seed=config.seed, max_idle_turns=run.max_idle_turns)
    with ray_running(run.cluster):
        model = resolve_model(run.model, plan.world, run.env)
        display.stage(f"starting the engine for {run.model.source}")
        with started(run.engine, run.model, model) as engines:
            engines.wait_ready(run.cluster.start_timeout_s)
            policy = engine_policy(engines, ChatCodec(model), run.model)
            workers = run.cluster.env_workers
            with playing(policy, plan.world, env=run.env, rollout=run.rollout, workers=workers) as collector:
                for recording in plan.recordings:
                    groups = list(read_groups(recording.groups))
                    with display.doing(f"update {recording.update}"):
                        truth = continued(groups, collector, options, count=config.continuations)
                    write_truth(recording, truth, count=config.continuations)
                    display.line(f"update {recording.update}: {_words(truth)}")


def write_truth(recording: Recording, truth: Continued, *, count: int) -> None:
    """Keep the estimate of an update beside its rollouts."""
    file = io.BytesIO()
    np.savez(file, advantage=truth.advantage, error=truth.error, continuations=count)
    write_whole(truth_file(recording.groups), file.getvalue())


def _words(truth: Continued) -> str:
    certain = np.abs(truth.advantage) > Z * truth.error
    return (
        f"{len(truth.advantage)} turns, advantage {np.sqrt(np.square(truth.advantage).mean()):.3g} in the mean square, "
        f"standard error {truth.error.mean():.3g}; {certain.mean():.0%} differ from 0 (95 %)"
    )
