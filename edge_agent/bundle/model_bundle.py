"""A bundle's files and its graph, brought together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_agent.bundle.convention import derive_convention
from edge_agent.bundle.files import BundleFiles
from edge_agent.bundle.labels import Labels, fit_labels
from edge_agent.bundle.served_graph import check_served
from edge_agent.errors import BundleError, one_line
from edge_agent.preprocess import InputConvention
from edge_agent.tensors import TensorSpec
from edge_agent.worker.protocol import GraphDescription

Method = Literal["multiclass", "multilabel"]

_METHODS: dict[str, Method] = {
    "ClassificationMultiClass": "multiclass",
    "ClassificationMultiLabel": "multilabel",
}


@dataclass(frozen=True)
class ModelBundle:
    """A bundle whose graph is known. Every derived value comes with its origin in words.

    ``input`` is (1, height, width, 3), ``output`` (1, C) or (C,); ``labels`` are C names.
    ``convention_origins`` has the keys geometry, pixel_format, mean, std; ``warnings`` include those of
    ``files``.
    """

    files: BundleFiles
    input: TensorSpec
    output: TensorSpec
    convention: InputConvention
    convention_origins: Mapping[str, str]
    labels: tuple[str, ...]
    labels_origin: str
    method: Method
    method_origin: str
    warnings: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.files.name

    @property
    def digest(self) -> str:
        """Its identity: 64 hex digits."""
        return self.files.digest

    @property
    def short(self) -> str:
        """The first 12 digits of the digest."""
        return self.files.short

    @property
    def iteration(self) -> str | None:
        """Custom Vision's iteration, where the manifest names it."""
        return self.files.iteration


def complete_bundle(files: BundleFiles, graph: GraphDescription) -> ModelBundle:
    """The bundle with what the graph says.

    Raises UnsupportedModelError for a graph that is not served, LabelsError where labels and output disagree,
    BundleError where bundle.toml does not fit.
    """
    try:
        return _complete(files, graph)
    except BundleError as error:
        raise type(error)(f"{files.path}: {error.what}", error.remedy) from error


def _complete(files: BundleFiles, graph: GraphDescription) -> ModelBundle:
    check_served(graph)
    output = graph.outputs[0]
    custom_vision = files.manifest is not None or files.metadata is not None
    derived = derive_convention(graph, files.metadata, files.settings, custom_vision=custom_vision)
    known = None if files.labels is None else Labels(files.labels, files.labels_origin)
    labels = fit_labels(known, output)
    for golden in files.golden:
        if golden.label not in labels.names:
            raise BundleError(
                f"bundle.toml: golden image {golden.name} names the label {golden.label!r}",
                f"it is not in {labels.origin}",
            )
    method, method_origin, method_warnings = _method(files, classes=output.shape[-1])
    return ModelBundle(
        files=files,
        input=graph.inputs[0],
        output=output,
        convention=derived.convention,
        convention_origins=derived.origins,
        labels=labels.names,
        labels_origin=labels.origin,
        method=method,
        method_origin=method_origin,
        warnings=tuple(
            map(one_line, (*files.warnings, *derived.warnings, *labels.warnings, *method_warnings))
        ),
    )


def _method(files: BundleFiles, classes: int) -> tuple[Method, str, tuple[str, ...]]:
    """How the scores are to be read, why, and what is doubtful. What bundle.toml says wins."""
    stated = None if files.metadata is None else files.metadata.postprocess_method
    exported = None if stated is None else _METHODS.get(stated)
    asked = files.settings.output.method
    if asked is not None:
        against = exported is not None and exported != asked
        warning = f"bundle.toml says {asked}, the metadata says {stated}: bundle.toml wins"
        return asked, "bundle.toml", (warning,) if against else ()
    if exported is not None:
        return exported, f"metadata: Postprocess.Method {stated}", ()
    if classes == 1:
        return "multilabel", "one output alone: a score of its own", ()
    return "multiclass", "nothing says otherwise: one label wins", ()
