"""cvexport.manifest: what Custom Vision says of an export."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.bundle.entries import relative_name
from edge_agent.bundle.json_files import json_object, shown
from edge_agent.errors import BundleError, ManifestError

MAX_TEXT = 256


@dataclass(frozen=True)
class Manifest:
    """cvexport.manifest. File names are relative to it; None where it names none."""

    domain_type: str
    platform: str
    flavor: str | None
    exporter_version: str
    schema_version: str
    iteration: str | None
    model_file: str
    label_file: str | None
    metadata_file: str | None
    model_sha1: str | None

    @property
    def detects(self) -> bool:
        """Whether the model finds objects rather than classifies."""
        return self.domain_type == "ObjectDetection"

    @property
    def export(self) -> str:
        """Platform and flavour in words: ``TensorFlow TensorFlowJs``."""
        return self.platform if self.flavor is None else f"{self.platform} {self.flavor}"


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest from its bytes.

    Unknown keys and greater minor versions are passed over, as Microsoft's own runtime does; a greater major
    version (SchemaVersion 2, ExporterVersion 3) is refused. Raises ManifestError, beginning with ``where``.
    """
    raw = json_object(content, where, ManifestError)
    manifest = _ManifestReader(raw, where)
    domain_type = manifest.required("DomainType")
    if domain_type not in ("Classification", "ObjectDetection"):
        raise ManifestError(
            f"{where}: DomainType {domain_type!r} is unknown", "only classification is served"
        )
    return Manifest(
        domain_type=domain_type,
        platform=manifest.required("Platform"),
        flavor=manifest.optional("Flavor"),
        exporter_version=manifest.version("ExporterVersion", newest_major=2),
        schema_version=manifest.version("SchemaVersion", newest_major=1),
        iteration=manifest.optional("IterationId"),
        model_file=manifest.file("ModelFileName") or manifest.required("ModelFileName"),
        label_file=manifest.file("LabelFileName"),
        metadata_file=manifest.file("MetadataPropsFileName"),
        model_sha1=manifest.optional("ModelFileSHA1"),
    )


class _ManifestReader:
    """Values of the manifest by key; each is text or null."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self._raw = raw
        self._where = where

    def optional(self, key: str) -> str | None:
        value = self._raw.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
            raise ManifestError(f"{self._where}: {key} = {shown(value)} is no name")
        return value

    def required(self, key: str) -> str:
        value = self.optional(key)
        if value is None:
            raise ManifestError(f"{self._where}: {key} is missing", "export the model again")
        return value

    def file(self, key: str) -> str | None:
        value = self.optional(key)
        if value is None:
            return None
        try:
            return relative_name(value, f"{self._where}: {key}")
        except BundleError as error:
            raise ManifestError(error.what, error.remedy) from error

    def version(self, key: str, newest_major: int) -> str:
        value = self.required(key)
        match = re.fullmatch(r"([0-9]{1,4})(\.[0-9]{1,4}){0,3}", value)
        if match is None:
            raise ManifestError(f"{self._where}: {key} = {value!r} is no version")
        if int(match[1]) > newest_major:
            raise ManifestError(
                f"{self._where}: {key} {value} is newer than {newest_major}.x",
                "a newer edge-agent may know it",
            )
        return value
