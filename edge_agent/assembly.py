"""The configuration's values as the rooms take them: no other room knows the config object."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from typing import Literal, cast

from edge_agent.admission import Admission
from edge_agent.camera_facts import CameraRules
from edge_agent.cameras import CameraSettings
from edge_agent.canary import CanaryRule
from edge_agent.classifier import RankingRule
from edge_agent.clock import Clock
from edge_agent.config import CameraConfig, Config, FactsConfig, InferenceConfig, MqttConfig, UpdatesConfig
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import RepositoryBusyError, RepositoryError
from edge_agent.facts import FactRules, LabelRule
from edge_agent.kernel_files import boot_id
from edge_agent.messages import Topics
from edge_agent.metrics import Metrics, MetricsSettings
from edge_agent.mqtt import BrokerSettings, TlsSettings
from edge_agent.outbox import OutboxSettings
from edge_agent.probation import ProbationRules
from edge_agent.publish_pace import PublishRule
from edge_agent.recovery import Ladder
from edge_agent.repository import Repository
from edge_agent.shutter import SnapshotRule
from edge_agent.snapshots import SnapshotStyle
from edge_agent.worker_process import WorkerSettings

logger = logging.getLogger(__name__)


def worker_settings(inference: InferenceConfig) -> WorkerSettings:
    """How the workers on the CPU are started."""
    return WorkerSettings(runtime=inference.runtime, threads=inference.threads)


def edgetpu_settings(inference: InferenceConfig) -> EdgeTpuSettings | None:
    """How the Edge TPU is used; None where only the CPU is wanted."""
    if inference.device == "cpu":
        return None
    return EdgeTpuSettings(
        wanted=inference.device,
        library=inference.library,
        performance=inference.performance,
        look_every_s=inference.look_every_s,
        recovery=Ladder(**inference.recovery.model_dump()),
        cross_check_every=inference.cross_check_every,
        cross_check_agreement=inference.cross_check_agreement,
        runtime=inference.runtime,
        python=None if inference.python is None else str(inference.python),
        threads=inference.threads,
    )


def repository(config: Config, slot: str, clock: Clock) -> Repository | None:
    """Where the slot's models are kept; None, with a warning, where nothing can be kept. What was installed
    once can be served though nothing may be written there any more.

    Raises RepositoryBusyError where another agent has them.
    """
    try:
        return Repository(config.agent.state_dir, slot, config.updates.keep, clock)
    except RepositoryBusyError:
        raise
    except RepositoryError as error:
        installed = _readable(config, slot, clock)
        if installed is not None:
            logger.warning(
                "slot %s: nothing can be written down, and no other model be installed: %s", slot, error
            )
            return installed
        logger.warning("slot %s: models are not kept, and none can be rolled back to: %s", slot, error)
        return None


def _readable(config: Config, slot: str, clock: Clock) -> Repository | None:
    """The repository to read from, where a model is to serve. Raises RepositoryBusyError."""
    try:
        kept = Repository(config.agent.state_dir, slot, config.updates.keep, clock, to_read=True)
        if kept.current is not None:
            return kept
        kept.close()
    except RepositoryBusyError:
        raise
    except RepositoryError:
        pass
    return None


def admission(config: Config, slot: str, kept: Repository | None, clock: Clock) -> Admission:
    """A slot's door."""
    return Admission(
        slot,
        kept,
        worker_settings(config.inference),
        clock,
        public_key=config.updates.public_key,
        budget_ms=config.models[slot].budget_ms if slot in config.models else 0.0,
        cpu_only=config.inference.device == "cpu",
    )


def probation_rules(updates: UpdatesConfig) -> ProbationRules:
    """When a new model is trusted."""
    return ProbationRules(updates.probation_frames, updates.probation_s)


def canary_rule(config: Config, slot: str) -> CanaryRule | None:
    """How a slot's model is asked whether it still sees; None where it is not."""
    model = config.models[slot]
    if not model.canary_every_s:
        return None
    return CanaryRule(model.canary_every_s, model.canary, model.canary_label or "")


def ranking_rule(config: Config, slot: str) -> RankingRule:
    """How a slot's scores become a ranking, on each of its cameras."""
    model = config.models[slot]
    own = {
        name: camera.threshold
        for name, camera in config.cameras.items()
        if camera.model == slot and camera.threshold is not None
    }
    return RankingRule(top_k=model.top_k, threshold=model.threshold, cameras=own)


def threshold_of(config: Config, camera: str) -> float:
    """What a label must score there: the camera's own, else its slot's."""
    wanted = config.cameras[camera]
    return config.models[wanted.model].threshold if wanted.threshold is None else wanted.threshold


def snapshot_rules(config: Config) -> dict[str, SnapshotRule]:
    """When pictures are taken, of each camera that is not paused."""
    return {
        name: SnapshotRule(
            camera.snapshots.on_event,
            camera.snapshots.every_s,
            SnapshotStyle(
                camera.snapshots.kind,
                camera.snapshots.caption,
                camera.snapshots.max_size,
                camera.snapshots.quality,
            ),
        )
        for name, camera in config.cameras.items()
        if not camera.paused
    }


def camera_settings(name: str, camera: CameraConfig) -> CameraSettings:
    """One camera."""
    return CameraSettings(
        name=name,
        source=camera.source,
        fps=camera.fps,
        loop=camera.loop,
        rotate=camera.rotate,
        region=camera.region,
        mask=camera.mask,
        frozen_after_s=camera.frozen_after_s,
    )


def camera_rules(config: Config) -> dict[str, CameraRules]:
    """How each camera is told."""
    return {
        name: CameraRules(
            facts=fact_rules(camera.facts, threshold_of(config, name)),
            publish=PublishRule(camera.publish == "change", camera.publish_every_s),
            keep=camera.keep_predictions,
            per_label=camera.facts.per_label,
        )
        for name, camera in config.cameras.items()
    }


def fact_rules(facts: FactsConfig, threshold: float) -> FactRules:
    """When labels begin and end; what a label leaves out is its camera's, what that leaves out is the
    ``threshold`` in force there.
    """
    pair = _thresholds(facts.enter, facts.leave, (threshold, threshold))
    rule = LabelRule(*pair, facts.min_duration_s, facts.at_least, facts.cool_down_s)
    labels = {}
    for label, own in facts.labels.items():
        enter, leave = _thresholds(own.enter, own.leave, pair)
        others = own.model_dump(exclude={"enter", "leave"}, exclude_none=True)
        labels[label] = dataclasses.replace(rule, enter=enter, leave=leave, **others)
    return FactRules(rule, labels, facts.smoothing_s)


def _thresholds(
    enter: float | None, leave: float | None, inherited: tuple[float, float]
) -> tuple[float, float]:
    """Enter and leave, the first never below the second: what was set moves what was inherited."""
    if enter is None:
        return inherited if leave is None else (max(inherited[0], leave), leave)
    return enter, min(inherited[1], enter) if leave is None else leave


def topics(config: Config) -> Topics:
    """Where everything is published. Raises ConfigError."""
    return Topics(config.mqtt.base_topic, config.agent.name)


def broker_settings(mqtt: MqttConfig) -> BrokerSettings:
    """The agent's own connection."""
    tls = mqtt.tls
    return BrokerSettings(
        host=mqtt.host,
        port=mqtt.port,
        username=mqtt.username,
        password=mqtt.password.get_secret_value() if mqtt.password else None,
        protocol=mqtt.protocol,
        qos=cast("Literal[0, 1, 2]", mqtt.qos),
        tls=TlsSettings(tls.ca_file, tls.cert_file, tls.key_file, tls.alpn) if tls else None,
        will_delay_s=mqtt.will_delay_s,
        live_expiry_s=mqtt.prediction_expiry_s,
    )


def metrics(config: Config, clock: Clock) -> Metrics | None:
    """For Prometheus; None where that is off. Raises ConfigError."""
    wanted = config.metrics
    return Metrics(MetricsSettings(wanted.host, wanted.port), clock) if wanted.port else None


def outbox_settings(config: Config) -> OutboxSettings:
    """What waits for the broker."""
    outbox = config.outbox
    return OutboxSettings(
        folder=config.agent.state_dir if outbox.daily_write_mb else None,
        boot=boot_id(),
        max_rows=outbox.max_rows,
        max_bytes=outbox.max_bytes,
        max_age_s=outbox.max_age_s,
        daily_write_bytes=outbox.daily_write_mb * 1_000_000,
        replay_per_s=outbox.replay_per_s,
    )


def new_session() -> str:
    """Eight hex digits, new at each start."""
    return secrets.token_hex(4)
