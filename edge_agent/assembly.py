"""The configuration's values as the rooms take them: no other room knows the config object."""

from __future__ import annotations

import logging
import secrets
from typing import Literal, cast

from edge_agent.admission import Admission
from edge_agent.cameras import CameraSettings
from edge_agent.classifier import RankingRule
from edge_agent.clock import Clock
from edge_agent.config import CameraConfig, Config, InferenceConfig, ModelConfig, MqttConfig, UpdatesConfig
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import RepositoryBusyError, RepositoryError
from edge_agent.messages import Topics
from edge_agent.mqtt import BrokerSettings, TlsFiles
from edge_agent.probation import ProbationRules
from edge_agent.recovery import Ladder
from edge_agent.repository import Repository
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


def ranking_rule(model: ModelConfig) -> RankingRule:
    """How a slot's scores become a ranking."""
    return RankingRule(top_k=model.top_k, threshold=model.threshold)


def camera_settings(name: str, camera: CameraConfig) -> CameraSettings:
    """One camera."""
    return CameraSettings(
        name=name,
        source=camera.source,
        fps=camera.fps,
        loop=camera.loop,
        rotate=camera.rotate,
        region=camera.region,
    )


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
        tls=TlsFiles(tls.ca_file, tls.cert_file, tls.key_file) if tls else None,
    )


def new_session() -> str:
    """Eight hex digits, new at each start."""
    return secrets.token_hex(4)
