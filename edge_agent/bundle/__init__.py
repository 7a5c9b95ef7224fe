"""A bundle: a model with all that must be known to serve it.

:func:`read_bundle` reads the files, :func:`complete_bundle` adds what only the graph tells. Between the
two somebody has to open the model with a runtime; this room never does.
"""

from edge_agent.bundle.compiled import runtime_needed
from edge_agent.bundle.files import BundleFiles, GoldenImage, read_bundle
from edge_agent.bundle.manifest import Manifest
from edge_agent.bundle.metadata import Metadata
from edge_agent.bundle.model_bundle import ModelBundle, complete_bundle
from edge_agent.bundle.parts import Part
from edge_agent.bundle.settings import BundleSettings

__all__ = [
    "BundleFiles",
    "BundleSettings",
    "GoldenImage",
    "Manifest",
    "Metadata",
    "ModelBundle",
    "Part",
    "complete_bundle",
    "read_bundle",
    "runtime_needed",
]
