"""Home Assistant as far as a payload goes: it knows the documented rules and what it reads, and no more."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.agents import Listener
from tests.brokers import publish

SHARED = ("availability", "availability_mode", "state_topic", "command_topic")
"""What the device says for those of its entities that say nothing else."""

NOTHING = "None"
"""The value of which Home Assistant makes the state "unknown"."""

JPEG = b"\xff\xd8\xff"

_JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined)


def rendered(template: str | None, payload: bytes) -> str:
    """A payload as the template shows it; without one, as it is."""
    text = payload.decode()
    if template is None:
        return text
    values: dict[str, object] = {"value": text}
    with contextlib.suppress(ValueError):
        values["value_json"] = json.loads(text)
    return _JINJA.from_string(template).render(values).strip()


class Entity:
    """One entity, as the payload describes it."""

    def __init__(self, key: str, fields: dict[str, Any], home: Listener) -> None:
        self.key = key
        self.fields = fields
        self.platform: str = fields["platform"]
        self._home = home

    def state(self) -> str | None:
        """What its topic said last, as its template shows it; None where nothing came."""
        payload = self._last(self.fields["state_topic"])
        return None if not payload else rendered(self.fields.get("value_template"), payload)

    def available(self) -> bool:
        """Whether every level says so. Raises AssertionError where one says neither yes nor no."""
        levels = []
        for level in self.fields["availability"]:
            payload = self._last(level["topic"])
            levels.append(payload and rendered(level.get("value_template"), payload))
        assert set(levels) <= {"online", "offline"}, (self.key, levels)
        assert "all" == self.fields["availability_mode"]
        return set(levels) == {"online"}

    def comes_to(self, condition: Callable[[Entity], bool]) -> bool:
        """Wait until it fulfils the condition; it is looked at after each message."""
        return self._home.until(lambda: condition(self))

    def keeps_its_promise(self) -> bool:
        """Whether its topics carry what Home Assistant takes for its platform."""
        attributes = self.fields.get("json_attributes_topic")
        if attributes is not None:
            payload = self._last(attributes)
            template = self.fields.get("json_attributes_template")
            if payload is None or not isinstance(json.loads(rendered(template, payload)), dict):
                return False
        return _PROMISES[self.platform](self)

    def command(self, payload: str) -> None:
        """Publish to its command topic."""
        publish(self._home.port, self.fields["command_topic"], payload.encode())

    def set(self, value: float) -> None:
        """Of a number."""
        self.command(_JINJA.from_string(self.fields["command_template"]).render(value=value))

    def picture(self) -> bytes | None:
        """Of an image."""
        return self._last(self.fields["image_topic"])

    def update(self) -> dict[str, Any]:
        """The state of an update entity."""
        told: dict[str, Any] = json.loads(self.state() or "{}")
        return told

    def _last(self, topic: str) -> bytes | None:
        payloads = self._home.payloads(topic)
        return payloads[-1] if payloads else None


def entities(payload: bytes, home: Listener) -> dict[str, Entity]:
    """Every entity of a discovery payload by its key."""
    content = json.loads(payload)
    shared = {field: content[field] for field in SHARED if field in content}
    return {key: Entity(key, {**shared, **fields}, home) for key, fields in content["components"].items()}


def _is_number(text: str, low: float, high: float) -> bool:
    try:
        return low <= float(text) <= high
    except ValueError:
        return False


def _sensor(entity: Entity) -> bool:
    state = entity.state()
    if state is None:
        return False
    if entity.fields.get("device_class") == "enum":
        return state in entity.fields["options"] or state == NOTHING
    if "unit_of_measurement" in entity.fields:
        high = 100 if entity.fields["unit_of_measurement"] == "%" else float("inf")
        return state == NOTHING or _is_number(state, 0, high)
    return 0 < len(state) <= 255


def _update(entity: Entity) -> bool:
    told = entity.update()
    texts = [told.get(each) for each in ("installed_version", "latest_version", "release_summary")]
    return (
        all(isinstance(each, str) and len(each) <= 255 for each in texts)
        and isinstance(told["in_progress"], bool)
        and told.keys() == {"installed_version", "latest_version", "release_summary", "in_progress"}
    )


def _event(entity: Entity) -> bool:
    state = entity.state()
    return state is not None and json.loads(state).get("event_type") in entity.fields["event_types"]


_PROMISES: dict[str, Callable[[Entity], bool]] = {
    "sensor": _sensor,
    "binary_sensor": lambda each: (
        each.state() in (each.fields.get("payload_on", "ON"), each.fields.get("payload_off", "OFF"))
    ),
    "switch": lambda each: each.state() in (each.fields["state_on"], each.fields["state_off"]),
    "number": lambda each: _is_number(each.state() or "", each.fields["min"], each.fields["max"]),
    "update": _update,
    "event": _event,
    "image": lambda each: (each.picture() or b"").startswith(JPEG),
    "button": lambda each: "payload_press" in each.fields,
}
