"""The metrics: their names, units and labels, from a report and a tally (owns prometheus_client)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from edge_agent import __version__
from edge_agent.metrics.tally import Histogram, Tally
from edge_agent.reports import CameraReport, Report, SlotReport
from edge_agent.soc import temperature_c

PREFIX = "edge_agent_"

Labelled = Iterable[tuple[Sequence[str], float]]
"""Values of the labels, and the value."""


def families(report: Report, age_s: float, tally: Tally) -> Iterator[Metric]:
    """Everything, once; ``age_s`` is how old the report is."""
    yield InfoMetricFamily(PREFIX + "build", "The agent's version.", value={"version": __version__})
    yield gauge("main_loop_age_seconds", "Since the main loop turned last: below 1 while it is well.", age_s)
    yield gauge("faults", "What is wrong now, as many as health tells.", len(report.faults))
    yield gauge("stuck", "Those of the faults that only a restart heals.", len(report.stuck))
    if (soc_c := temperature_c()) is not None:
        yield gauge("soc_celsius", "The temperature of the board's chip.", soc_c)
    yield from of_device(report)
    yield from of_broker(report)
    yield from of_slots(report)
    yield from of_cameras(report.cameras)
    yield from of_predictions(tally)


def of_device(report: Report) -> Iterator[Metric]:
    """Where the models run, and how often workers were lost."""
    device = report.device
    labels: dict[str, str] = {"device": device.device or "none", "aspired": device.aspired}
    yield InfoMetricFamily(PREFIX + "device", "Where the models run, and where they should.", value=labels)
    yield gauge("degraded", "1 while a slot is not where it should be.", device.degraded)
    yield counter("degraded_seconds", "For how long that was so.", device.degraded_s)
    yield counter("worker_losses", "Worker processes that died, hung or answered wrongly.", report.losses)
    yield counter("worker_recoveries", "How often another one took over.", report.recoveries)


def of_broker(report: Report) -> Iterator[Metric]:
    """The connection, and what waits for it."""
    outbox = report.outbox
    yield gauge("broker_connected", "1 while the broker is connected.", report.connected)
    yield counter("messages_dropped", "Messages of any kind that were given up.", report.dropped)
    yield gauge("outbox_rows", "Messages that wait for the broker and must not be lost.", outbox.rows)
    yield gauge("outbox_disk_rows", "Those of them that are stored.", outbox.on_disk)
    yield gauge("outbox_disk_bytes", "What they take of the disk.", outbox.disk_bytes)
    yield counter("outbox_dropped", "Those that found no room any more.", outbox.dropped)


def of_slots(report: Report) -> Iterator[Metric]:
    """What serves, and what its canary saw."""
    names = ("slot",)
    slots, canaries = report.slots, report.canaries.items()
    up = [((slot.slot,), _serves(slot)) for slot in slots]
    yield labelled_gauge("slot_up", "1 while a model serves the slot.", names, up)
    yield labelled_gauge(
        "model_info", "What serves.", ("slot", "name", "digest", "iteration", "device"), _models(slots)
    )
    checks = [((slot,), each.checks) for slot, each in canaries]
    yield labelled_counter("canary_checks", "How often the canary was shown.", names, checks)
    wrong = [((slot,), each.wrong) for slot, each in canaries]
    yield labelled_counter("canary_wrong", "How often it got no answer or a wrong one.", names, wrong)


def _serves(slot: SlotReport) -> bool:
    return slot.status is not None and slot.status.classifier is not None


def _models(slots: Iterable[SlotReport]) -> Iterator[tuple[Sequence[str], float]]:
    for slot in slots:
        if slot.status is not None and (classifier := slot.status.classifier) is not None:
            model = classifier.identity
            yield (slot.slot, model.name, model.digest, model.iteration or "", classifier.device), 1


def of_cameras(cameras: Sequence[CameraReport]) -> Iterator[Metric]:
    """Each camera, and its frames up to the lane."""
    names = ("camera",)

    def each(value: str) -> Labelled:
        return [((camera.name,), getattr(camera.status, value)) for camera in cameras]

    online = [((camera.name,), camera.status.state == "online") for camera in cameras]
    yield labelled_gauge("camera_up", "1 while the camera is online.", names, online)
    paused = [((camera.name,), camera.paused) for camera in cameras]
    yield labelled_gauge("camera_paused", "1 while nobody is to look.", names, paused)
    faulty = [((camera.name,), camera.status.fault is not None) for camera in cameras]
    yield labelled_gauge("camera_faulty", "1 while the camera has a fault.", names, faulty)
    aged = [(labels, age_s) for labels, age_s in each("frame_age_s") if age_s is not None]
    yield labelled_gauge("camera_frame_age_seconds", "Since the latest frame.", names, aged)
    yield labelled_counter(
        "camera_frames", "Frames captured, dropped ones included.", names, each("captured")
    )
    dropped = "Frames that a newer one replaced before the model had time."
    yield labelled_counter("camera_frames_dropped", dropped, names, each("dropped"))
    unreadable = "Pictures that could not be decoded."
    yield labelled_counter("camera_frames_unreadable", unreadable, names, each("unreadable"))
    yield labelled_counter("camera_reconnects", "How often the source came back.", names, each("reconnects"))


def of_predictions(tally: Tally) -> Iterator[Metric]:
    """What the lanes made of the frames."""
    yield labelled_counter(
        "predictions", "Predictions made.", ("camera", "slot", "device"), list(tally.predictions.items())
    )
    failed = [((camera,), count) for camera, count in list(tally.failures.items())]
    yield labelled_counter("frames_failed", "Frames that could not be looked at.", ("camera",), failed)
    inference = list(tally.inference.items())
    yield histogram("inference_seconds", "What the model took.", ("slot", "device"), inference)
    latency = [((camera,), each) for camera, each in list(tally.latency.items())]
    yield histogram("latency_seconds", "From the capture to the labels.", ("camera",), latency)


def gauge(name: str, text: str, value: float) -> Metric:
    """One value that goes up and down."""
    return GaugeMetricFamily(PREFIX + name, text, value)


def counter(name: str, text: str, value: float) -> Metric:
    """One value that only grows; ``_total`` is added to its name."""
    return CounterMetricFamily(PREFIX + name, text, value)


def labelled_gauge(name: str, text: str, labels: Sequence[str], values: Labelled) -> Metric:
    """One for each value of the labels."""
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for each, value in values:
        family.add_metric(each, value)
    return family


def labelled_counter(name: str, text: str, labels: Sequence[str], values: Labelled) -> Metric:
    """One for each value of the labels; ``_total`` is added to its name."""
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for each, value in values:
        family.add_metric(each, value)
    return family


def histogram(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    """One for each value of the labels."""
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for each, counted in values:
        family.add_metric(each, list(counted.buckets()), counted.total_s)
    return family
