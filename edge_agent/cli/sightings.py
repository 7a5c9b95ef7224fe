"""Received messages as lines of text. The sender may be anyone, so nothing is taken for granted."""

from __future__ import annotations

import json

from pydantic import ValidationError

from edge_agent.cli.rate import Rate
from edge_agent.clock import Clock
from edge_agent.messages import PredictionMessage
from edge_agent.mqtt import Received

_CAMERAS = 1000
"""Cameras whose rate is kept; a flood of invented names takes no more memory than that."""


class Sightings:
    """Turns messages into lines; keeps the rate of each camera."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rates: dict[str, Rate] = {}

    def line(self, message: Received) -> str | None:
        """One line without control characters; None: not understood."""
        if message.topic.endswith("/availability"):
            text = _text(message.payload)
            return None if text not in ("online", "offline") else f"{_of(message.topic)} is {text}"
        try:
            prediction = PredictionMessage.model_validate_json(message.payload)
        except (ValidationError, RecursionError):
            return None
        return visible(self._prediction_line(prediction, self._rate(message.topic)))

    def _prediction_line(self, seen: PredictionMessage, per_second: float | None) -> str:
        ranking = "  ".join(f"{each.label} {each.score:.2f}" for each in seen.predictions)
        degraded = " (degraded)" if seen.degraded else ""
        rate = "" if per_second is None else f"  {per_second:.1f}/s"
        where = f"{seen.agent}/{seen.camera}"
        return (
            f"{seen.captured_at[11:19]}  {where:<16}  {ranking or '-'}  "
            f"{seen.device}{degraded}  {seen.timing_ms.total:.1f} ms{rate}"
        )

    def _rate(self, topic: str) -> float | None:
        """Messages per second on this topic; None before the second one."""
        if topic not in self._rates and len(self._rates) >= _CAMERAS:
            self._rates.clear()
        rate = self._rates.setdefault(topic, Rate())
        rate.add(self._clock.monotonic_ns())
        return rate.per_second


def object_line(message: Received) -> str | None:
    """The published object as it is, on one line; None: it is no JSON object."""
    text = _text(message.payload)
    try:
        is_object = text is not None and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return None
    # A line end can only stand between tokens: inside a string JSON does not allow it.
    return text.replace("\r", " ").replace("\n", " ") if text is not None and is_object else None


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def _of(topic: str) -> str:
    """Agent, or agent/camera, out of the topic of an availability."""
    levels = topic.split("/")
    if len(levels) > 3 and levels[-3] == "camera":
        return visible(f"{levels[-4]}/{levels[-2]}")
    return visible(levels[-2])


def visible(text: str) -> str:
    """Without what could steer a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
