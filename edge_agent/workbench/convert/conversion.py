"""The whole way: read the source, make it plain, look at pictures, quantise, prove, put it in its place."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from edge_agent.bundle import GoldenImage
from edge_agent.bundle.entries import read_regular
from edge_agent.bundle.labels import MAX_LABELS_BYTES
from edge_agent.bundle.layout import SETTINGS_NAME, TWIN_ENDING
from edge_agent.bundle.settings import MAX_GOLDEN, MAX_SETTINGS_BYTES, BundleSettings, CalibrationSettings
from edge_agent.clock import Clock
from edge_agent.errors import BundleError, ConversionError, UsageError
from edge_agent.preprocess import code_table
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.workbench.convert import pictures
from edge_agent.workbench.convert.bundle_toml import settings_text
from edge_agent.workbench.convert.output import Output, write_files
from edge_agent.workbench.convert.pictures import Seen
from edge_agent.workbench.convert.recipe import Recipe, golden_of, origin, pins, settings_of
from edge_agent.workbench.convert.sight import Album, Sight, Told
from edge_agent.workbench.convert.source import Source, read_source
from edge_agent.workbench.convert.stages import Versions, float_model, quantised
from edge_agent.workbench.edgetpu_compiler import Compiled, compile_model, find_compiler
from edge_agent.workbench.edgetpu_mapping import Mapping as EdgeTpuMapping
from edge_agent.workbench.edgetpu_mapping import predict
from edge_agent.workbench.graph import read_graph
from edge_agent.worker_process import WorkerSettings


@dataclass(frozen=True)
class Converted:
    """What came out.

    ``sizes`` are bytes of the float32 and of the new model; ``agreed`` of ``compared`` pictures have the same
    label with both; ``unreadable`` are pictures and what is wrong with them; ``mapping`` is the compiler's
    where ``compiler`` names its version, else a prediction.
    """

    vetted: VettedBundle
    model_name: str
    sizes: tuple[int, int]
    agreed: int
    compared: int
    unreadable: Mapping[str, str]
    mapping: EdgeTpuMapping
    compiler: str | None
    warnings: tuple[str, ...]


def convert(recipe: Recipe, clock: Clock, told: Told) -> Converted:
    """Make the bundle. Nothing is left where it fails.

    Raises UsageError, ConversionError, BundleError for a source that is none, WorkerError.
    """
    if recipe.scheme == "int8" and recipe.pictures is None:
        raise UsageError("int8 needs pictures to measure the ranges on", "name a folder: --calibrate FOLDER")
    output = Output(recipe.output, force=recipe.force)
    source = _source(recipe)
    chosen = None if recipe.pictures is None else pictures.choose(recipe.pictures, recipe.count, recipe.seed)
    with tempfile.TemporaryDirectory(prefix="edge-agent-convert-") as work, output.staged() as staging:
        made = _Job(recipe, clock, told, source, Album(chosen), Path(work), staging).run()
        output.put(staging)
    return made


def _source(recipe: Recipe) -> Source:
    source = read_source(recipe.source)
    if recipe.labels is not None:
        source = source.with_labels(read_regular(recipe.labels, MAX_LABELS_BYTES))
    if recipe.settings is not None:
        source = source.with_settings(read_regular(recipe.settings, MAX_SETTINGS_BYTES), str(recipe.settings))
    return source


@dataclass
class _Job:
    """One conversion, step by step; ``work`` and ``staging`` are empty folders."""

    recipe: Recipe
    clock: Clock
    told: Told
    source: Source
    album: Album
    work: Path
    staging: Path
    seen: list[Seen] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)

    def run(self) -> Converted:
        """Fill ``staging`` with the bundle."""
        self.told("converting to float32", 0, 0)
        content, packages = float_model(self.source, self.work)
        original = self._original(content)
        model, versions = self._quantised(original, content)
        compiled, trouble = self._compiled(model)
        made = self._staged(original, self._models(model, compiled), {**packages, **versions})
        doubts = pictures.doubts(self.seen, original.bundle.labels) if self.seen else []
        return Converted(
            vetted=made,
            model_name=self.source.model_name,
            sizes=(len(content), len(model)),
            agreed=self._agreed(made),
            compared=len(self.seen),
            unreadable=self.album.unreadable,
            mapping=predict(read_graph(model)) if compiled is None else compiled.mapping,
            compiler=None if compiled is None else compiled.version,
            warnings=(*trouble, *doubts, *made.bundle.warnings),
        )

    def _original(self, content: bytes) -> VettedBundle:
        """The float model as a bundle, proven: its convention is the one to be kept."""
        folder = self.work / "float" / self.source.path.absolute().stem
        kept = BundleSettings(
            name=self.source.settings.name,
            input=self.source.settings.input,
            output=self.source.settings.output,
        )
        toml = {SETTINGS_NAME: settings_text(kept).encode()}
        write_files(folder, {**self.source.companions, self.source.model_name: content, **toml})
        try:
            return vet_bundle(folder, WorkerSettings(), self.clock)
        except BundleError as error:
            raise type(error)(error.what.replace(str(folder), str(self.source.path)), error.remedy) from error

    def _quantised(self, original: VettedBundle, content: bytes) -> tuple[bytes, Versions]:
        """The model of the scheme; the pictures are looked at on the way."""
        table = code_table(original.bundle.convention, original.bundle.input)
        span = (float(table.min()), float(table.max()))
        self.told("quantising", 0, 0)
        with Sight(original, self.clock) as sight:
            tensors = self._look(sight)
            return quantised(content, self.recipe.scheme, self.recipe.ends, tensors, span, self.work)

    def _look(self, sight: Sight) -> Iterator[bytes]:
        """The input tensor of each picture; what the float model says of it is kept."""
        for number, (name, encoded, pixels) in enumerate(self.album.pixels(), start=1):
            self.seen.append(sight.see(name, pixels))
            self.digests.append(hashlib.sha256(encoded).digest())
            self.told("looking at the pictures", number, len(self.album))
            yield sight.tensor(pixels).tobytes()

    def _compiled(self, model: bytes) -> tuple[Compiled | None, list[str]]:
        """For the Edge TPU, where its compiler is installed; a failure is a warning."""
        program = find_compiler()
        if program is None or self.recipe.scheme != "int8":
            return None, []
        self.told("compiling for the Edge TPU", 0, 0)
        path = self.work / self.source.model_name
        path.write_bytes(model)
        try:
            return compile_model(program, path, self.work), []
        except ConversionError as error:
            return None, [str(error)]

    def _models(self, model: bytes, compiled: Compiled | None) -> dict[str, bytes]:
        """Names to contents."""
        name = self.source.model_name
        twin = {} if compiled is None else {PurePosixPath(name).stem + TWIN_ENDING: compiled.content}
        return {name: model, **twin}

    def _staged(
        self, original: VettedBundle, models: Mapping[str, bytes], packages: Versions
    ) -> VettedBundle:
        """The whole bundle, written and proven, its pictures prepared like the source's."""
        golden = self._golden(original.bundle.labels)
        told = origin(self.recipe, self.source, packages, self._calibration())
        settings = settings_of(self.source, told, golden, models)
        pictures_by_name = {each.name: each.encoded for each in golden}
        write_files(self.staging, {**self.source.companions, **models, **pictures_by_name})
        # Golden images later: until it is pinned, they might be prepared for another model.
        derived = self._vetted(settings.model_copy(update={"golden": ()}))
        pinned = pins(original.bundle, derived.bundle) or settings.input
        return self._vetted(settings.model_copy(update={"input": pinned}))

    def _golden(self, labels: Sequence[str]) -> tuple[GoldenImage, ...]:
        """The source's own, then one for each label that is left."""
        own = self.source.golden
        known = [each.label for each in own]
        chosen = pictures.golden(self.seen, labels, known, MAX_GOLDEN - len(own))
        files = [(seen, self.album.encoded(seen.name)) for seen in chosen]
        return *own, *golden_of(files, first=len(own) + 1)

    def _calibration(self) -> CalibrationSettings | None:
        if self.recipe.scheme != "int8":
            return None
        return CalibrationSettings(
            seed=self.recipe.seed,
            found=self.album.found,
            sha256=hashlib.sha256(b"".join(self.digests)).hexdigest(),
            images=tuple(each.name for each in self.seen),
        )

    def _vetted(self, settings: BundleSettings) -> VettedBundle:
        (self.staging / SETTINGS_NAME).write_text(settings_text(settings), encoding="utf-8")
        try:
            return vet_bundle(self.staging, WorkerSettings(), self.clock)
        except BundleError as error:
            what = error.what.replace(str(self.staging), str(self.recipe.output))
            raise ConversionError(
                f"what came out may not serve: {what}",
                "calibrate with more pictures, or use --scheme float16",
            ) from error

    def _agreed(self, made: VettedBundle) -> int:
        """Of how many pictures the new model says what the float model does."""
        if not self.seen:
            return 0
        agreed = 0
        with Sight(made, self.clock) as sight:
            looked = zip(self.album.pixels(), self.seen, strict=True)
            for number, ((name, _, pixels), before) in enumerate(looked, start=1):
                agreed += sight.see(name, pixels).label == before.label
                self.told("comparing the answers", number, len(self.album))
        return agreed
