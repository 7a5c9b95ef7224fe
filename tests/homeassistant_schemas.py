"""The fields of Home Assistant's MQTT entities as its documentation lists them, as JSON Schema.

Written down by hand from the integrations' pages (discovery, sensor, binary_sensor, event, image, update,
switch, number, button); a field that is not documented is refused, so that a misspelt one is found.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
TEMPLATE: Schema = {"type": "string", "pattern": r"\{[{%]"}
TOPIC: Schema = {"type": "string", "pattern": r"^[^\u0000-\u001f#+$][^\u0000-\u001f#+]*$", "maxLength": 65535}
PRECISION: Schema = {"type": "integer", "minimum": 0}

UNITS = {"temperature": ["°C", "°F", "K"], "duration": ["d", "h", "min", "s", "ms"]}


def _closed(fields: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


AVAILABILITY: Schema = {
    "availability_mode": {"enum": ["all", "any", "latest"]},
    "availability": {
        "type": "array",
        "minItems": 1,
        "items": _closed(
            {
                "topic": TOPIC,
                "payload_available": TEXT,
                "payload_not_available": TEXT,
                "value_template": TEMPLATE,
            },
            ["topic"],
        ),
    },
}

COMMON: Schema = {
    **AVAILABILITY,
    "name": TEXT,
    "unique_id": TEXT,
    "qos": {"enum": [0, 1, 2]},
    "icon": {"type": "string", "pattern": "^mdi:[a-z-]+$"},
    "entity_category": {"enum": ["config", "diagnostic"]},
    "json_attributes_topic": TOPIC,
    "json_attributes_template": TEMPLATE,
}
REQUIRED = ["platform", "unique_id", "name"]


def _platform(name: str, fields: Schema, required: list[str]) -> Schema:
    return _closed({"platform": {"const": name}, **COMMON, **fields}, [*REQUIRED, *required])


READ: Schema = {"state_topic": TOPIC, "value_template": TEMPLATE}
COMMAND: Schema = {"command_topic": TOPIC, "command_template": TEMPLATE, "retain": {"const": False}}

SENSOR = _platform(
    "sensor",
    {
        **READ,
        "device_class": {"enum": ["enum", *UNITS]},
        "options": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        "state_class": {"enum": ["measurement", "total", "total_increasing"]},
        "unit_of_measurement": TEXT,
        "suggested_display_precision": PRECISION,
        "expire_after": {"type": "integer", "minimum": 1},
        "force_update": {"type": "boolean"},
    },
    ["state_topic"],
) | {
    "allOf": [
        # A list of options is for the device class enum alone, which has neither unit nor state class.
        {
            "if": {
                "anyOf": [
                    {"required": ["options"]},
                    {"properties": {"device_class": {"const": "enum"}}, "required": ["device_class"]},
                ]
            },
            "then": {
                "required": ["options", "device_class"],
                "properties": {
                    "device_class": {"const": "enum"},
                    "state_class": False,
                    "unit_of_measurement": False,
                },
            },
        },
        *(
            {
                "if": {"properties": {"device_class": {"const": name}}, "required": ["device_class"]},
                "then": {
                    "properties": {"unit_of_measurement": {"enum": units}},
                    "required": ["unit_of_measurement"],
                },
            }
            for name, units in UNITS.items()
        ),
    ]
}
BINARY_SENSOR = _platform(
    "binary_sensor",
    {
        **READ,
        "device_class": {"enum": ["problem", "connectivity"]},
        "payload_on": TEXT,
        "payload_off": TEXT,
        "off_delay": {"type": "integer", "minimum": 1},
    },
    ["state_topic"],
)
EVENT = _platform(
    "event",
    {**READ, "event_types": {"type": "array", "items": TEXT, "minItems": 1}},
    ["state_topic", "event_types"],
)
IMAGE = _platform(
    "image",
    {"image_topic": TOPIC, "content_type": TEXT, "image_encoding": {"enum": ["b64", "raw"]}},
    ["image_topic"],
)
UPDATE = _platform(
    "update",
    {**READ, "command_topic": TOPIC, "payload_install": TEXT, "device_class": {"const": "firmware"}},
    ["state_topic"],
) | {"dependentRequired": {"command_topic": ["payload_install"], "payload_install": ["command_topic"]}}
SWITCH = _platform(
    "switch",
    {**READ, **COMMAND, "payload_on": TEXT, "payload_off": TEXT, "state_on": TEXT, "state_off": TEXT},
    ["command_topic"],
)
NUMBER = _platform(
    "number",
    {
        **READ,
        **COMMAND,
        "min": {"type": "number"},
        "max": {"type": "number"},
        "step": {"type": "number", "minimum": 0.001},
        "mode": {"enum": ["auto", "box", "slider"]},
        "unit_of_measurement": TEXT,
    },
    ["command_topic"],
)
BUTTON = _platform(
    "button",
    {**COMMAND, "payload_press": TEXT, "device_class": {"enum": ["restart", "identify"]}},
    ["command_topic"],
)

PLATFORMS = {
    schema["properties"]["platform"]["const"]: schema
    for schema in (SENSOR, BINARY_SENSOR, EVENT, IMAGE, UPDATE, SWITCH, NUMBER, BUTTON)
}

GONE = _closed({"platform": {"enum": list(PLATFORMS)}}, ["platform"])
"""An entity that is to be removed."""

DEVICE = _closed(
    {
        "device": _closed(
            {
                "identifiers": {"type": "array", "items": TEXT, "minItems": 1},
                **dict.fromkeys(
                    ("name", "manufacturer", "model", "model_id", "sw_version", "hw_version"), TEXT
                ),
            },
            ["identifiers", "name"],
        ),
        "origin": _closed({"name": TEXT, "sw_version": TEXT, "support_url": TEXT}, ["name"]),
        **AVAILABILITY,
        # A space in a key would keep Home Assistant from finding the entity again.
        "components": {
            "type": "object",
            "propertyNames": {"pattern": "^[^ ]+$"},
            "additionalProperties": {
                "if": {"required": ["unique_id"]},
                "then": {
                    "properties": {"platform": {"enum": list(PLATFORMS)}},
                    "allOf": [
                        {"if": {"properties": {"platform": {"const": name}}}, "then": schema}
                        for name, schema in PLATFORMS.items()
                    ],
                },
                "else": GONE,
            },
        },
    },
    ["device", "origin", "components"],
)
