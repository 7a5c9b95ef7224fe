"""The tables of the configuration by their path, for whoever reads, shows or explains keys."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edge_agent.config.models import Config


def fields_of_table(keys: Sequence[str]) -> Mapping[str, FieldInfo]:
    """The fields that the table at this path may hold; {} where it is unknown, or any name will do."""
    fields: Mapping[str, FieldInfo] = Config.model_fields
    rest = list(keys)
    while rest:
        field = fields.get(rest.pop(0))
        table = table_of(field) if field is not None else None
        if field is None or table is None:
            return {}
        if holds_names(field):
            if not rest:
                return {}
            rest.pop(0)
        fields = table.model_fields
    return fields


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind a field that holds a table or tables by name; None for a plain value."""
    for part in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def holds_names(field: FieldInfo) -> bool:
    """Whether its keys are names of the user's choice, each with a table of its own."""
    return typing.get_origin(field.annotation) is Mapping
