"""What the agent tells the world: predictions, labels, cameras, models, health.

Predictions are told by the lanes as they are made; everything that is retained is looked at in turns
by the main loop and told when it changed.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol

from edge_agent import __version__
from edge_agent.cameras import CameraStatus
from edge_agent.choice import Coming
from edge_agent.clock import Clock, is_synchronized
from edge_agent.cross_check import CrossCheckStatus
from edge_agent.errors import EdgeAgentError
from edge_agent.messages import (
    CameraHealth,
    CameraStatusMessage,
    ClockState,
    CrossCheckHealth,
    EdgeTpuHealth,
    HealthMessage,
    KnownModel,
    ModelMessage,
    OutboxHealth,
    RejectedModel,
    ServingModel,
    Topics,
    prediction_message,
    timestamp,
    to_json,
)
from edge_agent.predictions import Prediction
from edge_agent.recovery import Rung
from edge_agent.repository import Version
from edge_agent.slot import SlotStatus
from edge_agent.soc import temperature_c
from edge_agent.standing import DeviceStatus
from edge_agent.states import State
from edge_agent.stick_status import StickStatus
from edge_agent.succession import SuccessionReport

logger = logging.getLogger(__name__)

EVERY_S = 10.0
"""How often figures that always move (rates, counts, temperatures) are told again."""

UNKNOWN = "unknown"
"""The settled label while nothing reaches the threshold."""


class Publishing(Protocol):
    """What the reporter needs of :class:`edge_agent.mqtt.Publisher`."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, live: bool = False) -> None:
        """Hand over one message; never blocks."""
        ...


@dataclass(frozen=True)
class SlotReport:
    """A slot as ``model/<slot>`` tells it; ``status`` is None before anything could serve."""

    slot: str
    status: SlotStatus | None
    succession: SuccessionReport

    @property
    def state(self) -> Literal["serving", "vetting", "swapping", "probation"]:
        """Of its model message: vetting also while what was vetted waits for a worker."""
        status = self.status
        waits = status is not None and status.classifier is None and not status.is_down
        return "vetting" if waits else self.succession.state

    @property
    def fault(self) -> str | None:
        """Why it does not serve, if it will not without help, or could not for long: nothing stands by."""
        status = self.status
        if status is not None and status.reason:
            if status.classifier is None:
                next_step = "" if status.state is State.FATAL else "; a new worker is on its way"
                return f"slot {self.slot}: {status.reason}{next_step}"
            if status.state is State.FATAL:
                return f"slot {self.slot}: the CPU does not stand by: {status.reason}"
        refusals = self.succession.refusals
        return f"slot {self.slot}: {refusals[0].reason}" if refusals and status is None else None


@dataclass(frozen=True)
class CameraReport:
    """A camera as its topics tell it."""

    name: str
    threshold: float
    status: CameraStatus


@dataclass(frozen=True)
class Report:
    """The agent as it stands."""

    device: DeviceStatus
    slots: Sequence[SlotReport]
    cameras: Sequence[CameraReport]
    cross_checks: Mapping[str, CrossCheckStatus]
    faults: Sequence[str]
    dropped: int


@dataclass
class _Told:
    """What was last told about a camera by its lane; ``removed``: the configuration has it no more."""

    sequence: int = 0
    removed: bool = False
    label: str | None = None
    failures: Counter[str] = field(default_factory=Counter)


class Reporter:
    """Turns what happens into messages. ``prediction`` and ``failed`` belong to the camera's lane, the rest
    to the main thread.
    """

    def __init__(self, publisher: Publishing, topics: Topics, session: str, clock: Clock) -> None:
        self._publisher = publisher
        self._topics = topics
        self._session = session
        self._clock = clock
        self._begun_ns = clock.monotonic_ns()
        self._cameras: dict[str, _Told] = {}
        self._labels = threading.Lock()
        self._retained: dict[str, object] = {}
        self._due_ns = 0
        self._clock_state: ClockState = "unsynced"

    def prediction(self, camera: str, prediction: Prediction, *, live: bool) -> None:
        """Tell one prediction, and the label where it changed."""
        with self._labels:  # a camera that changes its slot is on two lanes for a moment
            told = self._cameras.setdefault(camera, _Told())
            told.sequence += 1
            sequence = told.sequence
        payload = prediction_message(
            prediction,
            agent=self._topics.agent,
            camera=camera,
            session=self._session,
            sequence=sequence,
            clock=self._clock_state,
        )
        self._publisher.publish(self._topics.prediction(camera), payload, live=live)
        if prediction.model.multilabel:
            return  # several labels may be true at once: none of them is the settled one
        label = prediction.ranking[0].label if prediction.ranking else UNKNOWN
        with self._labels:
            if label != told.label and not told.removed:
                told.label = label
                self._publisher.publish(self._topics.label(camera), label.encode(), retain=True)

    def failed(self, camera: str, frame: int, error: EdgeAgentError) -> None:
        """A frame could not be looked at: the log says so, the first time aloud."""
        told = self._cameras.setdefault(camera, _Told())
        kind = type(error).__name__
        level = logging.DEBUG if told.failures[kind] else logging.WARNING
        told.failures[kind] += 1
        logger.log(level, "camera %s: frame %d could not be looked at: %s", camera, frame, error)

    def tell(self, report: Report) -> None:
        """Tell what changed since the last time, and every ten seconds the figures too."""
        now_ns = self._clock.monotonic_ns()
        due = now_ns >= self._due_ns
        if due:
            self._due_ns = now_ns + int(EVERY_S * 1e9)
            self._clock_state = "synced" if is_synchronized() else "unsynced"
        for camera in report.cameras:
            self._tell_camera(camera, due)
        for slot in report.slots:
            message = self._model(slot)
            self._retain(self._topics.model(slot.slot), message, to_json(message))
        health = self._health(report, now_ns)
        states = tuple((name, camera.state) for name, camera in health.cameras.items())
        device = report.device
        stick = device.stick.state if device.stick else None
        counts = (health.losses, health.recoveries)
        salient = (device.device, device.degraded, device.trouble, stick, counts, health.faults, states)
        self._retain(self._topics.health, salient, to_json(health), due)

    def snapshot(self, report: Report) -> tuple[HealthMessage, list[ModelMessage], list[CameraStatusMessage]]:
        """The messages as they stand now, for whoever asks."""
        models = [self._model(slot) for slot in report.slots]
        cameras = [self._camera(camera) for camera in report.cameras]
        return self._health(report, self._clock.monotonic_ns()), models, cameras

    def expect(self, cameras: Iterable[str]) -> None:
        """These cameras are configured from now on; one that was removed before goes on with its sequence."""
        for camera in cameras:
            self._cameras.setdefault(camera, _Told()).removed = False

    def forget(self, camera: str) -> None:
        """A camera was removed from the configuration: its retained topics are cleared.

        Its last frames may still be answered; they set no label any more.
        """
        told = self._cameras.setdefault(camera, _Told())
        with self._labels:
            told.removed, told.label = True, None
            self._publisher.publish(self._topics.label(camera), b"", retain=True)
        for topic in (self._topics.camera_availability(camera), self._topics.status(camera)):
            self._retained.pop(topic, None)
            self._publisher.publish(topic, b"", retain=True)

    def withdraw(self) -> None:
        """The end: no camera is online any more. What else is retained stands until the next start."""
        for topic in [topic for topic in self._retained if topic.endswith("/availability")]:
            self._publisher.publish(topic, b"offline", retain=True)

    def _tell_camera(self, camera: CameraReport, due: bool) -> None:
        status = camera.status
        available = b"online" if status.state == "online" else b"offline"
        self._retain(self._topics.camera_availability(camera.name), available, available)
        salient = (status.state, camera.threshold, status.fault)
        self._retain(self._topics.status(camera.name), salient, to_json(self._camera(camera)), due)

    def _camera(self, camera: CameraReport) -> CameraStatusMessage:
        status, told = camera.status, self._cameras.get(camera.name)
        return CameraStatusMessage(
            camera=camera.name,
            state=status.state,
            paused=False,
            threshold=camera.threshold,
            fps=round(status.fps, 2),
            dropped=status.dropped,
            failed=told.failures.total() if told else 0,
            fault=status.fault,
        )

    def _retain(self, topic: str, salient: object, payload: bytes, due: bool = False) -> None:
        if due or self._retained.get(topic) != salient:
            self._retained[topic] = salient
            self._publisher.publish(topic, payload, retain=True)

    def _model(self, slot: SlotReport) -> ModelMessage:
        serving = None
        classifier = slot.status.classifier if slot.status else None
        if slot.status is not None and classifier is not None:
            serving = ServingModel(
                name=classifier.identity.name,
                digest=classifier.identity.digest,
                iteration=classifier.identity.iteration,
                labels=len(classifier.vetted.bundle.labels),
                since=timestamp(slot.status.since_ns),
                device=classifier.device,
            )
        succession = slot.succession
        return ModelMessage(
            slot=slot.slot,
            state=slot.state,
            serving=serving,
            previous=_known_version(succession.previous),
            candidate=_coming(succession.candidate),
            rejected=tuple(
                RejectedModel(digest=each.digest, at=timestamp(each.at_ns), reason=each.reason)
                for each in succession.refusals
            ),
            warnings=succession.warnings,
        )

    def _health(self, report: Report, now_ns: int) -> HealthMessage:
        statuses = [slot.status for slot in report.slots if slot.status is not None]
        device, stick = report.device, report.device.stick
        return HealthMessage(
            version=__version__,
            uptime_s=(now_ns - self._begun_ns) // 1_000_000_000,
            device=device.device,
            aspired=device.aspired,
            degraded=device.degraded,
            reason=device.reason,
            losses=sum(status.losses for status in statuses) + (stick.losses if stick else 0),
            recoveries=sum(status.recoveries for status in statuses) + (stick.recoveries if stick else 0),
            degraded_s=int(device.degraded_s),
            cameras=_camera_health(report.cameras),
            outbox=OutboxHealth(rows=0, dropped=report.dropped),
            edgetpu=_edgetpu_health(stick, report.cross_checks) if stick else None,
            soc_c=temperature_c(),
            throttled=None,
            faults=tuple(report.faults),
        )


def _edgetpu_health(stick: StickStatus, checks: Mapping[str, CrossCheckStatus]) -> EdgeTpuHealth:
    return EdgeTpuHealth(
        device=stick.device,
        state=stick.state.value,
        library=stick.library,
        runtime=stick.runtime,
        losses=stick.losses,
        recoveries=stick.recoveries,
        respawns=stick.rungs.get(Rung.RESPAWN, 0),
        usb_resets=stick.rungs.get(Rung.USB_RESET, 0),
        power_cycles=stick.rungs.get(Rung.POWER_CYCLE, 0),
        cross_check={slot: CrossCheckHealth(**asdict(check)) for slot, check in checks.items()},
    )


def _known_version(version: Version | None) -> KnownModel | None:
    if version is None:
        return None
    return KnownModel(
        name=version.name, digest=version.short, iteration=version.iteration, labels=version.labels
    )


def _coming(candidate: Coming | None) -> KnownModel | None:
    if candidate is None:
        return None
    return KnownModel(
        name=candidate.name, digest=candidate.short, iteration=candidate.iteration, labels=candidate.labels
    )


def _camera_health(cameras: Sequence[CameraReport]) -> dict[str, CameraHealth]:
    return {
        each.name: CameraHealth(
            state=each.status.state, fps=round(each.status.fps, 2), dropped=each.status.dropped
        )
        for each in cameras
    }
