"""What an evaluation leaves in its folder while it plays, and how another one goes on with it."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from envs.panel import Panel
from rollout.collection import PlayCounts
from rollout.endpoint_usage import EndpointUsage
from rollout.record import GroupLog, read_groups, read_log
from rollout.types import RolloutGroup, Trajectory
from trainer.config.build import ConfigError
from trainer.config.commands import EvaluateConfig
from trainer.config.continuing import check_same_settings, differences, plain
from trainer.durable import write_whole
from trainer.setup.panels import write_panel

RESULT = "evaluation.json"
ROLLOUTS = "rollouts.jsonl.zst"
"""The rollouts of an evaluation that has come to its end."""
FINISHED = "rollouts.jsonl"
"""The rollouts that are finished so far."""
SETTINGS = "config.json"
FREE_SETTINGS = frozenset(
    {
        *("output", "resume", "protocol", "model.cache", "model.shape", "model.tuning"),
        *("rollout.retries", "rollout.max_failure_share", "rollout.env_timeout_s", "rollout.success_reward"),
        *("endpoint", "endpoint_concurrency", "endpoint_patience_s", "endpoint_timeout_s"),
        *("endpoint_prices", "samples"),
    }
)
"""Settings and groups that may differ between an evaluation and its continuation: none changes what is measured."""
USAGE = "usage.json"
"""What an endpoint's replies used so far."""
NO_COUNTS: Mapping[str, Any] = MappingProxyType({"failures": MappingProxyType({}), "cut_prompts": 0, "cut_actions": 0})
"""What an evaluation counts of what goes wrong, before anything has."""
MACHINE_SETTINGS = {"cluster": ("dtype",), "engine": ("extra",)}
"""Groups that say where the policy is served, and which of their settings change what it answers: only those bind."""


class HeldOutFolder:
    """Keeps each rollout of an evaluation as it finishes, with the settings that it was played with."""

    def __init__(
        self,
        config: EvaluateConfig,
        panel: Panel,
        finished: tuple[RolloutGroup, ...],
        usage: Callable[[], EndpointUsage] | None = None,
    ) -> None:
        """panel: the tasks. finished: the rollouts that an earlier evaluation left in the folder.

        usage: tells what the endpoint's replies used since this start; None without an endpoint.
        """
        self.path = Path(config.output).absolute()
        self._config, self._panel = config, panel
        self.path.mkdir(parents=True, exist_ok=True)
        self._log = GroupLog(self.path / FINISHED, finished)
        self.num_rollouts = num_rollouts(finished)
        """Rollouts that are kept."""
        self._usage = usage
        self._used_before = EndpointUsage() if config.resume == "never" else _used_in(self.path)
        self._counts_before = _counts_in(self.path)

    @property
    def usage(self) -> EndpointUsage | None:
        """What endpoints' replies used, those of earlier starts included; None where no endpoint was asked in any."""
        if self._usage is not None:
            return self._used_before + self._usage()
        return None if self._used_before == EndpointUsage() else self._used_before

    def counts(self, of_this_start: PlayCounts) -> dict[str, Any]:
        """What went wrong on the way, in this start and in the earlier ones that came to their end.

        A start that was cut short has left no account.
        """
        before, now = self._counts_before, of_this_start
        return {
            "failures": dict(Counter(before["failures"]) + Counter(now.failures)),
            "cut_prompts": before["cut_prompts"] + now.cut_prompts,
            "cut_actions": before["cut_actions"] + now.cut_actions,
        }

    def state(self) -> None:
        """Write the settings, those of this start: it may ask for more samples than the one before."""
        write_whole(self.path / SETTINGS, json.dumps(asdict(self._config), indent=1, default=str))

    def keep(self, rollout: Trajectory) -> None:
        """Write one finished rollout. It is on disk when this returns."""
        if not (self.path / SETTINGS).exists():
            write_panel(self.path, self._panel)
            self.state()
        group = RolloutGroup(task_id=rollout.task_id, seed=rollout.seed, trajectories=(rollout,))
        self._log.add(group)
        self.keep_usage()
        self.num_rollouts += 1

    def keep_usage(self) -> None:
        """Write what the endpoint's replies used so far, if anything."""
        if (usage := self.usage) is not None and usage != EndpointUsage():
            write_whole(self.path / USAGE, json.dumps(asdict(usage)))

    def close(self) -> None:
        """Drop what is of use only until the evaluation has written its own files."""
        for name in (FINISHED, USAGE):
            (self.path / name).unlink(missing_ok=True)


def _used_in(output: Path) -> EndpointUsage:
    """What an earlier evaluation in the folder used, finished or not."""
    if (output / USAGE).is_file():
        try:
            return EndpointUsage(**json.loads((output / USAGE).read_text()))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{output / USAGE} is damaged ({error}): delete it, and the cost of the earlier start is not counted"
            ) from error
    if not (output / RESULT).is_file():
        return EndpointUsage()
    usage = json.loads((output / RESULT).read_text()).get("usage") or {}
    names = {field.name for field in fields(EndpointUsage)}
    of_endpoint = names <= usage.keys()  # our engines' account is shorter, and costs nothing
    return EndpointUsage(**{name: usage[name] for name in names}) if of_endpoint else EndpointUsage()


def _counts_in(output: Path) -> dict[str, Any]:
    """What went wrong in the earlier starts that came to their end."""
    result = json.loads((output / RESULT).read_text()) if (output / RESULT).is_file() else {}
    return {name: result.get(name, nothing) for name, nothing in NO_COUNTS.items()}


def num_rollouts(groups: Sequence[RolloutGroup]) -> int:
    """How many rollouts the groups have together."""
    return sum(len(group.trajectories) for group in groups)


def finished_rollouts(config: EvaluateConfig) -> tuple[RolloutGroup, ...]:
    """The rollouts in the output folder, if the evaluation is to go on with them.

    Raises ConfigError for rollouts that were played with other settings, for a folder of something else and for files
    that are damaged.
    """
    output = Path(config.output).absolute()
    if config.resume == "auto":
        _drop_broken_result(output / RESULT)
    if config.resume == "never" or not (output / SETTINGS).is_file():
        return ()
    before = _settings_in(output)
    now = plain(config)
    served_here = before["endpoint"] is None and now["endpoint"] is None  # else the endpoint's own precision counts
    fixed_before, fixed_now = (fixed_settings(settings, served_here=served_here) for settings in (before, now))
    different = differences(EvaluateConfig, fixed_before, fixed_now)
    check_same_settings(different, f"the evaluation in {output}", "start anew in another output folder")
    finished = _rollouts_in(output)
    last = max((rollout.sibling for group in finished for rollout in group.trajectories), default=0)
    if last >= config.samples:
        raise ConfigError(
            f"samples={config.samples}, and the evaluation in {output} has played sample number {last + 1} of a task: "
            "ask for as many or more, or start anew in another output folder"
        )
    return finished


def _settings_in(output: Path) -> dict[str, Any]:
    """The settings of the evaluation in the folder."""
    try:
        settings = json.loads((output / SETTINGS).read_text())
    except ValueError as error:
        raise ConfigError(f"{output / SETTINGS} is broken ({error}): choose another output folder") from error
    if not (isinstance(settings, dict) and "endpoint" in settings):  # which no other command's settings have
        raise ConfigError(f"{output} holds no evaluation (see its {SETTINGS}): choose another output folder")
    return settings


def _rollouts_in(output: Path) -> tuple[RolloutGroup, ...]:
    """The rollouts of the evaluation in the folder."""
    name, read = (FINISHED, read_log) if (output / FINISHED).is_file() else (ROLLOUTS, read_groups)
    try:
        return tuple(read(output / name)) if (output / name).is_file() else ()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{output / name} is damaged ({error!r}): delete it, so that its tasks are played anew, or choose another "
            "output folder"
        ) from error


def _drop_broken_result(result: Path) -> None:
    """Remove a result that was cut short, as on a full disk: it tells nothing, and the rollouts beside it tell all."""
    with suppress(FileNotFoundError):
        try:
            whole = isinstance(json.loads(result.read_bytes()), dict)
        except ValueError:
            whole = False
        if not whole:
            result.unlink()


def fixed_settings(settings: Mapping[str, Any], *, served_here: bool) -> dict[str, Any]:
    """The settings in which an evaluation and its continuation must agree.

    served_here: our engines answer in both, so the precision and the options that they serve with count too.
    """
    groups = {group: settings[group] for group in MACHINE_SETTINGS if group in settings}  # earlier versions lack some
    machine = {
        group: {name: values[name] for name in MACHINE_SETTINGS[group] if served_here and name in values}
        for group, values in groups.items()
    }
    return _without_free({**settings, **machine})


def _without_free(settings: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    return {
        name: _without_free(value, f"{group}{name}.") if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if f"{group}{name}" not in FREE_SETTINGS
    }
