"""What the agent tells the world: predictions, labels, cameras, models, health.

Predictions are told by the lanes as they are made; everything that is retained is looked at in turns
by the main loop and told when it changed.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from edge_agent import __version__
from edge_agent.camera_facts import CameraFacts, CameraRules
from edge_agent.choice import Coming
from edge_agent.clock import Clock
from edge_agent.cross_check import CrossCheckStatus
from edge_agent.errors import EdgeAgentError
from edge_agent.messages import (
    TIMING_DECIMALS,
    CameraHealth,
    CameraStatusMessage,
    ClockState,
    CrossCheckHealth,
    EdgeTpuHealth,
    GapHealth,
    HealthEventMessage,
    HealthMessage,
    KnownModel,
    ModelMessage,
    OutboxHealth,
    PowerHealth,
    RejectedModel,
    ServingModel,
    Topics,
    timestamp,
    to_json,
)
from edge_agent.outbox import Gap, OutboxStatus
from edge_agent.power import Power
from edge_agent.predictions import Prediction
from edge_agent.publishing import Publishing
from edge_agent.recovery import Rung
from edge_agent.reports import CameraReport, Report, SlotReport
from edge_agent.repository import Version
from edge_agent.soc import temperature_c
from edge_agent.stick_status import StickStatus
from edge_agent.told import ToldFile

logger = logging.getLogger(__name__)

EVERY_S = 10.0
"""How often figures that always move (rates, counts, temperatures) are told again."""


class Reporter:
    """Turns what happens into messages. ``prediction`` and ``failed`` belong to the camera's lane, the rest
    to the main thread.
    """

    def __init__(
        self,
        publisher: Publishing,
        topics: Topics,
        session: str,
        clock: Clock,
        told: ToldFile | None = None,
    ) -> None:
        """``told`` is where it is kept what a kill would leave on the broker."""
        self._publisher = publisher
        self._topics = topics
        self._session = session
        self._clock = clock
        self._begun_ns = clock.monotonic_ns()
        self._told = told
        self._before = dict(told.read() or {}) if told else {}
        self._cameras: dict[str, CameraFacts] = {}
        self._failures: dict[str, Counter[str]] = {}
        self._inference_ms: dict[str, float] = {}
        self._retained: dict[str, object] = {}
        self._due_ns = 0

    def prediction(self, camera: str, prediction: Prediction, *, live: bool) -> bool:
        """Tell one prediction, and the facts that it changes; whether a label began with it."""
        self._inference_ms[camera] = prediction.inference_ms
        return self._camera_facts(camera).prediction(prediction, self._clock_state, live=live)

    def failed(self, camera: str, frame: int, error: EdgeAgentError) -> None:
        """A frame could not be looked at: the log says so, the first time aloud."""
        failures = self._failures.setdefault(camera, Counter())
        kind = type(error).__name__
        level = logging.DEBUG if failures[kind] else logging.WARNING
        failures[kind] += 1
        logger.log(level, "camera %s: frame %d could not be looked at: %s", camera, frame, error)

    def tell(self, report: Report) -> None:
        """Tell what changed since the last time, and every ten seconds the figures too."""
        now_ns = self._clock.monotonic_ns()
        due = now_ns >= self._due_ns
        if due:
            self._due_ns = now_ns + int(EVERY_S * 1e9)
        for camera in report.cameras:
            self._tell_camera(camera, due)
        self._take_back(report)
        for slot in report.slots:
            message = self._model(slot)
            self._retain(self._topics.model(slot.slot), message, to_json(message))
        health = self._health(report, now_ns)
        states = tuple((name, camera.state, camera.paused) for name, camera in health.cameras.items())
        device = report.device
        stick = device.stick.state if device.stick else None
        counts = (health.losses, health.recoveries)
        salient = (device.device, device.degraded, device.trouble, stick, counts, health.faults, states)
        if self._retain(self._topics.health, salient, to_json(health), due):
            self._publisher.publish(self._topics.health_event, self._health_event(health))

    def snapshot(self, report: Report) -> tuple[HealthMessage, list[ModelMessage], list[CameraStatusMessage]]:
        """The messages as they stand now, for whoever asks."""
        models = [self._model(slot) for slot in report.slots]
        cameras = [self._camera(camera) for camera in report.cameras]
        return self._health(report, self._clock.monotonic_ns()), models, cameras

    def expect(self, cameras: Mapping[str, CameraRules]) -> None:
        """These cameras are configured; one that was removed before goes on with its sequence."""
        for camera, rules in cameras.items():
            self._camera_facts(camera).obey(rules)

    def forget(self, camera: str) -> None:
        """A camera was removed from the configuration: its retained topics are cleared."""
        self._camera_facts(camera).forget(self._clock_state)
        for topic in (self._topics.camera_availability(camera), self._topics.status(camera)):
            self._retained.pop(topic, None)
            self._publisher.publish(topic, b"", retain=True)

    def withdraw(self) -> None:
        """The end: nothing is settled, no camera is online. What else is retained stands until the start."""
        for facts in self._cameras.values():
            facts.withdraw(self._clock_state)
        for topic in [topic for topic in self._retained if topic.endswith("/availability")]:
            self._publisher.publish(topic, b"offline", retain=True)

    @property
    def _clock_state(self) -> ClockState:
        return "synced" if self._clock.is_synced() else "unsynced"

    def _camera_facts(self, camera: str) -> CameraFacts:
        known = self._cameras.get(camera)
        if known is not None:
            return known
        told = self._before.pop(camera, None)
        made = CameraFacts(camera, self._publisher, self._topics, self._session, self._clock, told)
        return self._cameras.setdefault(camera, made)

    def _take_back(self, report: Report) -> None:
        """What an earlier run told of cameras that are there no more; and keep what is told now."""
        for camera in list(self._before):
            self.forget(camera)
        if self._told is not None and report.connected:
            self._told.keep({each.name: self._camera_facts(each.name).told for each in report.cameras})

    def _tell_camera(self, camera: CameraReport, due: bool) -> None:
        status = camera.status
        self._camera_facts(camera.name).stand(camera.blind, self._clock_state)
        available = b"online" if status.state == "online" and not camera.paused else b"offline"
        self._retain(self._topics.camera_availability(camera.name), available, available)
        salient = (status.state, camera.paused, camera.threshold, status.fault)
        self._retain(self._topics.status(camera.name), salient, to_json(self._camera(camera)), due)

    def _camera(self, camera: CameraReport) -> CameraStatusMessage:
        status, failures = camera.status, self._failures.get(camera.name)
        return CameraStatusMessage(
            camera=camera.name,
            state=status.state,
            paused=camera.paused,
            threshold=camera.threshold,
            fps=round(status.fps, 2),
            dropped=status.dropped,
            failed=failures.total() if failures else 0,
            fault=status.fault,
            inference_ms=_rounded(self._inference_ms.get(camera.name)),
            frame_age_s=status.frame_age_s,
        )

    def _retain(self, topic: str, salient: object, payload: bytes, due: bool = False) -> bool:
        """Tell it where something salient changed, or it is due; whether something did."""
        changed = self._retained.get(topic) != salient
        if changed or due:
            self._retained[topic] = salient
            self._publisher.publish(topic, payload, retain=True)
        return changed

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
            available=_known_version(succession.available),
        )

    def _mean_inference_ms(self, cameras: Sequence[CameraReport]) -> float | None:
        """Of the latest prediction of each camera that is looked at."""
        looking = [self._inference_ms.get(camera.name) for camera in cameras if camera.blind is None]
        known = [each for each in looking if each is not None]
        return sum(known) / len(known) if known else None

    def _health_event(self, health: HealthMessage) -> bytes:
        """Waits for the broker, with all that was told before it and comes after."""
        return to_json(
            HealthEventMessage(
                id=str(uuid.uuid4()),
                at=timestamp(self._clock.wall_ns()),
                agent=self._topics.agent,
                session=self._session,
                clock=self._clock_state,
                health=health,
            )
        )

    def _health(self, report: Report, now_ns: int) -> HealthMessage:
        device, stick = report.device, report.device.stick
        return HealthMessage(
            version=__version__,
            uptime_s=(now_ns - self._begun_ns) // 1_000_000_000,
            device=device.device,
            aspired=device.aspired,
            degraded=device.degraded,
            reason=device.reason,
            losses=report.losses,
            recoveries=report.recoveries,
            degraded_s=int(device.degraded_s),
            cameras=_camera_health(report.cameras),
            outbox=_outbox_health(report.outbox, report.dropped),
            edgetpu=_edgetpu_health(stick, report.cross_checks) if stick else None,
            soc_c=temperature_c(),
            throttled=report.power.slowed if report.power else None,
            faults=tuple(report.faults),
            session=self._session,
            power=_power_health(report.power) if report.power else None,
            fps=round(sum(camera.status.fps for camera in report.cameras), 2),
            inference_ms=_rounded(self._mean_inference_ms(report.cameras)),
            stuck=tuple(report.stuck),
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


def _power_health(power: Power) -> PowerHealth:
    return PowerHealth(now=power.now, since_boot=power.since_boot)


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, TIMING_DECIMALS)


def _outbox_health(outbox: OutboxStatus, dropped: int) -> OutboxHealth:
    gap = None if outbox.gap is None else _gap_health(outbox.gap)
    return OutboxHealth(rows=outbox.rows, dropped=dropped, on_disk=outbox.on_disk, gap=gap)


def _gap_health(gap: Gap) -> GapHealth:
    return GapHealth(dropped=gap.count, first_at=timestamp(gap.first_ns), last_at=timestamp(gap.last_ns))


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
            state=each.status.state,
            fps=round(each.status.fps, 2),
            dropped=each.status.dropped,
            paused=each.paused,
        )
        for each in cameras
    }
