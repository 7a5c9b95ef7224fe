"""The entities of one camera."""

from __future__ import annotations

from edge_agent.homeassistant.entities import SERVES, Entity, available, request
from edge_agent.homeassistant.profile import AgentProfile, CameraProfile
from edge_agent.topics import UNKNOWN, slugs

MAX_LABELS = 500
"""As many tags as a Custom Vision project may have. A list of options and an entity per label are of no use
to anybody where there are more, as in ImageNet's thousand.
"""

CONFIDENCE = "{{ (value_json.predictions[0].score * 100) | round | int if value_json.predictions else 0 }}"


def camera_entities(agent: AgentProfile, camera: CameraProfile) -> dict[str, Entity]:
    """By the last part of their keys."""
    return {
        **_seen(agent, camera),
        **_labels(agent, camera),
        **_happened(agent, camera),
        **_diagnostic(agent, camera),
        **(_control(agent, camera) if agent.control else {}),
    }


def _seen(agent: AgentProfile, camera: CameraProfile) -> dict[str, Entity]:
    """What the one label is, and how sure the model was of the last frame."""
    if camera.multilabel:
        return {}
    topics, name = agent.topics, camera.name
    label: dict[str, object] = {
        "platform": "sensor",
        "name": f"{name} label",
        "icon": "mdi:tag",
        "state_topic": topics.label(name),
        **_while_it_looks(agent, camera),
    }
    if camera.labels is not None and len(camera.labels) <= MAX_LABELS:
        options = list(dict.fromkeys([*camera.labels, UNKNOWN]))
        label |= {"device_class": "enum", "options": options}
    confidence = {
        "platform": "sensor",
        "name": f"{name} confidence",
        "icon": "mdi:percent",
        "state_topic": topics.prediction(name),
        "value_template": CONFIDENCE,
        "unit_of_measurement": "%",
        "state_class": "measurement",
        **_while_it_looks(agent, camera),
    }
    return {"label": label, "confidence": confidence}


def _labels(agent: AgentProfile, camera: CameraProfile) -> dict[str, Entity]:
    """Whether each label is true."""
    if not camera.per_label or camera.labels is None or len(camera.labels) > MAX_LABELS:
        return {}
    return {
        f"labels.{slug}": {
            "platform": "binary_sensor",
            "name": f"{camera.name} {label}",
            "icon": "mdi:tag-check",
            "state_topic": agent.topics.label_state(camera.name, slug),
            "payload_on": "ON",
            "payload_off": "OFF",
            **_while_it_looks(agent, camera),
        }
        for label, slug in zip(camera.labels, slugs(camera.labels), strict=True)
    }


def _happened(agent: AgentProfile, camera: CameraProfile) -> dict[str, Entity]:
    """Events stay available with the agent: that a label ended is told when its camera is gone."""
    topics, name = agent.topics, camera.name
    return {
        "event": {
            "platform": "event",
            "name": f"{name} event",
            "icon": "mdi:eye-check",
            "event_types": ["began", "ended"],
            "state_topic": topics.event(name),
        },
        "image": {
            "platform": "image",
            "name": f"{name} image",
            "image_topic": topics.image(name),
            "content_type": "image/jpeg",
        },
    }


def _diagnostic(agent: AgentProfile, camera: CameraProfile) -> dict[str, Entity]:
    topics, name = agent.topics, camera.name
    figure = {
        "platform": "sensor",
        "state_topic": topics.status(name),
        "state_class": "measurement",
        "entity_category": "diagnostic",
        **available(topics.availability, topics.camera_availability(name)),
    }
    return {
        "connected": {
            "platform": "binary_sensor",
            "name": f"{name} connected",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": topics.camera_availability(name),
            "payload_on": "online",
            "payload_off": "offline",
            "json_attributes_topic": topics.status(name),
        },
        "fps": {
            **figure,
            "name": f"{name} frame rate",
            "icon": "mdi:speedometer",
            "value_template": "{{ value_json.fps }}",
            "unit_of_measurement": "fps",
            "suggested_display_precision": 1,
        },
        "inference": {
            **figure,
            "name": f"{name} inference time",
            "value_template": "{{ value_json.inference_ms }}",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "suggested_display_precision": 1,
        },
    }


def _control(agent: AgentProfile, camera: CameraProfile) -> dict[str, Entity]:
    """They stay available with the agent: who paused a camera must be able to let it go on."""
    topics, name = agent.topics, camera.name
    return {
        "pause": {
            "platform": "switch",
            "name": f"{name} pause",
            "icon": "mdi:pause-circle",
            "entity_category": "config",
            "state_topic": topics.status(name),
            "value_template": "{{ 'ON' if value_json.paused else 'OFF' }}",
            "state_on": "ON",
            "state_off": "OFF",
            "command_topic": topics.request("pause"),
            "payload_on": request(camera=name, paused=True),
            "payload_off": request(camera=name, paused=False),
        },
        "threshold": {
            "platform": "number",
            "name": f"{name} threshold",
            "icon": "mdi:tune-variant",
            "entity_category": "config",
            "state_topic": topics.status(name),
            "value_template": "{{ value_json.threshold }}",
            "command_topic": topics.request("threshold/set"),
            "command_template": f'{{"camera": "{name}", "threshold": {{{{ value }}}}}}',
            "min": 0,
            "max": 1,
            "step": 0.01,
            "mode": "slider",
        },
        "snapshot": {
            "platform": "button",
            "name": f"{name} snapshot",
            "icon": "mdi:camera",
            "command_topic": topics.request("snapshot"),
            "payload_press": request(camera=name),
            **available(topics.availability, topics.camera_availability(name)),
        },
    }


def _while_it_looks(agent: AgentProfile, camera: CameraProfile) -> dict[str, object]:
    """Available while agent and camera are there and the model serves: a label that nobody looks after any
    more must not stand there as true.
    """
    topics = agent.topics
    return available(
        topics.availability,
        topics.camera_availability(camera.name),
        templates={topics.model(camera.slot): SERVES},
    )
