"""The published messages: their JSON, their topics, and the names in those topics.

The models below are the one definition of the schema: what is published is built from them, what is
received is checked by them, and the JSON Schema comes from them. The contract only grows, so a
reader takes keys that it does not know for granted and leaves them out.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.facts import EndReason
from edge_agent.predictions import Prediction
from edge_agent.topics import Topics, slug, slugs

__all__ = [
    "CameraHealth",
    "CameraStatusMessage",
    "ClockState",
    "CrossCheckHealth",
    "Device",
    "EdgeTpuHealth",
    "EventMessage",
    "GapHealth",
    "HealthEventMessage",
    "HealthMessage",
    "KnownModel",
    "Message",
    "ModelMessage",
    "OutboxHealth",
    "PowerHealth",
    "PredictedBy",
    "PredictionMessage",
    "RankedLabel",
    "RejectedModel",
    "ServingModel",
    "Timing",
    "Topics",
    "is_unsynced",
    "prediction_message",
    "restamped",
    "slug",
    "slugs",
    "timestamp",
    "to_json",
]

ClockState = Literal["synced", "unsynced"]
"""Whether the system clock could be trusted when the timestamp was taken."""

Device = Literal["edgetpu", "cpu"]

Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
"""UTC with microseconds: "2026-11-20T12:00:00.123456Z"."""

Real = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]

SCORE_DECIMALS = 6
"""A float32 between 0 and 1 holds about seven digits; more only show its binary tail."""

TIMING_DECIMALS = 3
"""Milliseconds to the microsecond."""


class Message(BaseModel):
    """What every message and every part of one has in common."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class RankedLabel(Message):
    """One label of a ranking; ``index`` is its place in the model's output."""

    label: str
    index: Count
    score: Real


class PredictedBy(Message):
    """The model behind a prediction; ``digest`` has 12 hex digits."""

    slot: str
    name: str
    digest: str
    iteration: str | None


class Timing(Message):
    """Milliseconds; ``total`` runs from the capture to the ranked labels."""

    preprocess: Real
    inference: Real
    total: Real


class PredictionMessage(Message):
    """One inference. An empty ``predictions`` says that nothing reached the threshold."""

    schema_: Literal["edge-agent/prediction/1"] = Field(default="edge-agent/prediction/1", alias="schema")
    agent: str
    camera: str
    session: str
    sequence: Annotated[int, Field(ge=1)]
    frame: Count
    captured_at: Timestamp
    clock: ClockState
    model: PredictedBy
    device: Device
    degraded: bool
    predictions: tuple[RankedLabel, ...]
    timing_ms: Timing


class EventMessage(Message):
    """A label began or ended on a camera, both under one ``id``, which is made once, so that a repeat can be
    told; ``reason`` is why it ended.
    """

    schema_: Literal["edge-agent/event/1"] = Field(default="edge-agent/event/1", alias="schema")
    id: str
    event_type: Literal["began", "ended"]
    label: str
    score: Real
    peak: Real
    began_at: Timestamp
    ended_at: Timestamp | None
    duration_s: Real | None
    agent: str
    camera: str
    session: str
    clock: ClockState
    reason: EndReason | None = None


class KnownModel(Message):
    """An installed bundle; ``labels`` is how many it has."""

    name: str
    digest: str
    iteration: str | None
    labels: Count | None


class ServingModel(KnownModel):
    """The bundle that serves, since when and on what."""

    since: Timestamp
    device: Device


class RejectedModel(Message):
    """A bundle that may not serve, and why; one that could not even be read has no digest."""

    digest: str | None
    at: Timestamp
    reason: str


class ModelMessage(Message):
    """What a slot serves and what is to be said of it, what came before, what is coming, what was refused;
    ``available`` is the newest that is installed, where it is newer than what serves and was not refused.
    """

    schema_: Literal["edge-agent/model/1"] = Field(default="edge-agent/model/1", alias="schema")
    slot: str
    state: Literal["serving", "vetting", "swapping", "probation"]
    serving: ServingModel | None
    previous: KnownModel | None
    candidate: KnownModel | None
    rejected: tuple[RejectedModel, ...]
    warnings: tuple[str, ...] = ()
    available: KnownModel | None = None


class CameraStatusMessage(Message):
    """One camera: what it was told and how it fares; ``fps`` is measured; ``dropped`` frames made room for
    newer ones, ``failed`` ones could not be looked at; ``inference_ms`` is that of the latest prediction,
    ``frame_age_s`` how old the latest frame was when this was told.
    """

    schema_: Literal["edge-agent/camera/1"] = Field(default="edge-agent/camera/1", alias="schema")
    camera: str
    state: Literal["connecting", "online", "offline", "ended"]
    paused: bool
    threshold: Real
    fps: Real
    dropped: Count
    failed: Count
    fault: str | None
    inference_ms: Real | None = None
    frame_age_s: Real | None = None


class CameraHealth(Message):
    """A camera as ``health`` shows it."""

    state: Literal["connecting", "online", "offline", "ended"]
    fps: Real
    dropped: Count
    paused: bool = False


class GapHealth(Message):
    """Messages that were dropped while they waited: how many, and when the first and the last were made."""

    dropped: Count
    first_at: Timestamp
    last_at: Timestamp


class OutboxHealth(Message):
    """What waits for the broker, ``on_disk`` of it stored, and what was given up; ``gap`` is the last hole in
    what must not be lost.
    """

    rows: Count
    dropped: Count
    on_disk: Count = 0
    gap: GapHealth | None = None


class CrossCheckHealth(Message):
    """Frames that the CPU was asked about too; ``agreement`` is the last one's, ``least`` the lowest so far:
    1 is the same answer to the last code.
    """

    checks: Count
    disagreements: Count
    agreement: Real | None
    least: Real | None


class EdgeTpuHealth(Message):
    """The Edge TPU: which, where it stands, and what was done to get it back; ``cross_check`` by slot."""

    device: str | None
    state: Literal["absent", "found", "starting", "proving", "serving", "backoff", "recovering"]
    library: str | None
    runtime: str | None
    losses: Count
    recoveries: Count
    respawns: Count
    usb_resets: Count
    power_cycles: Count
    cross_check: dict[str, CrossCheckHealth]


class PowerHealth(Message):
    """What the board's firmware says of its supply and its heat, in its words: "under-voltage", "frequency
    capped", "throttled", "soft temperature limit"; ``since_boot`` has those of ``now``, too.
    """

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


class HealthMessage(Message):
    """The agent as a whole; ``reason`` says why ``device`` is not the ``aspired`` one; ``edgetpu`` is None
    where the configuration wants none; ``session`` is that of the predictions; ``throttled``: the board runs
    slower than it could now; it and ``power`` are None where the board does not tell. ``fps`` are the frames
    of all cameras, ``inference_ms`` the mean of each one's latest prediction; ``stuck`` are those of the
    ``faults`` that only a restart of the agent heals.
    """

    schema_: Literal["edge-agent/health/1"] = Field(default="edge-agent/health/1", alias="schema")
    version: str
    uptime_s: Count
    device: Device | None
    aspired: Device
    degraded: bool
    reason: str | None
    losses: Count
    recoveries: Count
    degraded_s: Count
    cameras: dict[str, CameraHealth]
    outbox: OutboxHealth
    soc_c: Real | None
    throttled: bool | None
    faults: tuple[str, ...]
    edgetpu: EdgeTpuHealth | None = None
    session: str | None = None
    power: PowerHealth | None = None
    fps: Real = 0.0
    inference_ms: Real | None = None
    stuck: tuple[str, ...] = ()


class HealthEventMessage(Message):
    """The agent's ``health`` as it was when it changed, under an ``id`` of its own: these wait for the
    broker, where the topic ``health`` tells the newest only.
    """

    schema_: Literal["edge-agent/health-event/1"] = Field(default="edge-agent/health-event/1", alias="schema")
    id: str
    at: Timestamp
    agent: str
    session: str
    clock: ClockState
    health: HealthMessage


def to_json(message: Message) -> bytes:
    """Compact JSON in UTF-8; labels stay readable in every script."""
    return message.model_dump_json(by_alias=True).encode()


def timestamp(unix_ns: int) -> str:
    """Unix time in nanoseconds as "2026-11-20T12:00:00.123456Z"; what is below a microsecond is cut off."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='seconds')}.{rest_ns // 1000:06d}Z"


_TIMES = ("captured_at", "began_at", "ended_at", "at")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_unsynced(payload: bytes) -> bool:
    """Whether a published message says that its times are those of a clock that was not set."""
    return b'"clock":"unsynced"' in payload


def restamped(payload: bytes, by_ns: int) -> bytes:
    """An unsynced message with its times moved by so many nanoseconds, and synced; as it is where it cannot
    be read.
    """
    try:
        message = json.loads(payload)
        for key in _TIMES:
            if isinstance(message.get(key), str):
                since = datetime.fromisoformat(message[key]) - _EPOCH
                message[key] = timestamp(since // timedelta(microseconds=1) * 1000 + by_ns)
    except (ValueError, AttributeError, TypeError, OverflowError):
        return payload
    return json.dumps({**message, "clock": "synced"}, ensure_ascii=False, separators=(",", ":")).encode()


def prediction_message(
    prediction: Prediction,
    *,
    agent: str,
    camera: str,
    session: str,
    sequence: int,
    clock: ClockState,
    captured_at_ns: int,
) -> bytes:
    """The JSON of one prediction; ``sequence`` counts from 1 per session and camera, ``captured_at_ns`` is
    the Unix time of its frame by the clock that ``clock`` speaks of.
    """
    frame, model = prediction.frame, prediction.model
    return to_json(
        PredictionMessage(
            agent=agent,
            camera=camera,
            session=session,
            sequence=sequence,
            frame=frame.number,
            captured_at=timestamp(captured_at_ns),
            clock=clock,
            model=PredictedBy(
                slot=model.slot, name=model.name, digest=model.digest, iteration=model.iteration
            ),
            device=prediction.device,
            degraded=prediction.degraded,
            predictions=tuple(
                RankedLabel(label=each.label, index=each.index, score=round(each.score, SCORE_DECIMALS))
                for each in prediction.ranking
            ),
            timing_ms=Timing(
                preprocess=round(prediction.preprocess_ms, TIMING_DECIMALS),
                inference=round(prediction.inference_ms, TIMING_DECIMALS),
                total=round(prediction.total_ms, TIMING_DECIMALS),
            ),
        )
    )
