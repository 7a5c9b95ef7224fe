"""What agents have published so far, kept for the screen. The sender may be anyone: nothing is granted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from edge_agent.cli.rate import Rate
from edge_agent.clock import Clock
from edge_agent.messages import CameraStatusMessage, HealthMessage, Message, ModelMessage, PredictionMessage
from edge_agent.mqtt import Received

MAX_AGENTS = 100
MAX_CAMERAS = 100
"""Per agent, and as many slots: a flood of invented names takes no more memory than that."""

_TEXT_LIMIT = 500
"""Characters of a label that are kept."""

M = TypeVar("M", bound=Message)


@dataclass
class CameraSeen:
    """One camera; None for what was not heard yet."""

    name: str
    availability: str | None = None
    label: str | None = None
    status: CameraStatusMessage | None = None
    prediction: PredictionMessage | None = None
    rate: Rate = field(default_factory=Rate)


@dataclass
class AgentSeen:
    """One agent, its cameras and slots by name."""

    name: str
    availability: str | None = None
    health: HealthMessage | None = None
    cameras: dict[str, CameraSeen] = field(default_factory=dict)
    models: dict[str, ModelMessage] = field(default_factory=dict)


class Board:
    """Everything heard below ``base``, by agent."""

    def __init__(self, base: str, clock: Clock) -> None:
        self._prefix = f"{base}/"
        self._clock = clock
        self._agents: dict[str, AgentSeen] = {}

    def agents(self) -> list[AgentSeen]:
        """By name."""
        return [self._agents[name] for name in sorted(self._agents)]

    def now_ns(self) -> int:
        """The clock that arrivals are kept by."""
        return self._clock.monotonic_ns()

    def hear(self, message: Received) -> None:
        """Take one message in; what is not understood changes nothing."""
        if not message.topic.startswith(self._prefix):
            return
        name, *levels = message.topic.removeprefix(self._prefix).split("/")
        agent = self._agents.get(name)
        if agent is None:
            if len(self._agents) >= MAX_AGENTS or not message.payload:
                return
            agent = self._agents[name] = AgentSeen(name)
        match levels:
            case ["availability"]:
                agent.availability = _word(message.payload)
            case ["health"]:
                agent.health = _read(HealthMessage, message.payload) or agent.health
            case ["model", slot]:
                self._hear_model(agent, slot, message.payload)
            case ["camera", camera, kind]:
                self._hear_camera(agent, camera, kind, message.payload)

    def _hear_model(self, agent: AgentSeen, slot: str, payload: bytes) -> None:
        if not payload:
            agent.models.pop(slot, None)
        elif (slot in agent.models or len(agent.models) < MAX_CAMERAS) and (
            model := _read(ModelMessage, payload)
        ):
            agent.models[slot] = model

    def _hear_camera(self, agent: AgentSeen, name: str, kind: str, payload: bytes) -> None:
        if not payload:
            if kind == "status":  # it was taken out of the configuration
                agent.cameras.pop(name, None)
            return
        if name not in agent.cameras and len(agent.cameras) >= MAX_CAMERAS:
            return
        camera = agent.cameras.setdefault(name, CameraSeen(name))
        match kind:
            case "availability":
                camera.availability = _word(payload)
            case "label":
                camera.label = payload.decode("utf-8", "replace")[:_TEXT_LIMIT]
            case "status":
                camera.status = _read(CameraStatusMessage, payload) or camera.status
            case "prediction" if prediction := _read(PredictionMessage, payload):
                camera.prediction = prediction
                camera.rate.add(self._clock.monotonic_ns())


def _word(payload: bytes) -> str | None:
    return {b"online": "online", b"offline": "offline"}.get(payload)


def _read(kind: type[M], payload: bytes) -> M | None:
    try:
        return kind.model_validate_json(payload)
    except (ValidationError, RecursionError):
        return None
