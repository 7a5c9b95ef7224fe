"""metrics/: what Prometheus reads, over real HTTP and by its own parser; of a real agent, too."""

from __future__ import annotations

import dataclasses
import gzip
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.canary import CanaryStatus
from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.frames import Frame
from edge_agent.metrics import Metrics, MetricsSettings, Tally
from edge_agent.metrics import server as server_room
from edge_agent.metrics.metrics import RETRY_S
from edge_agent.outbox import OutboxStatus
from edge_agent.predictions import ModelIdentity, Prediction
from edge_agent.reports import Report
from tests.agents import Agent, configuration, toml
from tests.brokers import free_port
from tests.fakes.clock import FakeClock
from tests.test_reporter import report

Scraped = dict[str, Metric]


def scrape(port: int, host: str = "127.0.0.1") -> Scraped:
    """What Prometheus would read, by name."""
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(scraped: Scraped, sample: str, **labels: str) -> float:
    """The one value of a sample with these labels."""
    (found,) = [
        each.value
        for family in scraped.values()
        for each in family.samples
        if each.name == sample and labels.items() <= each.labels.items()
    ]
    return float(found)


def prediction(inference_ms: float = 2.0, device: str = "cpu") -> Prediction:
    """One of the slot ``default``."""
    model = ModelIdentity("default", "fruit", "32728e73a4b4", None)
    frame = Frame(np.zeros((1, 1, 3), np.uint8), 1, 0, 0)
    scores = np.zeros(1, np.float32)
    return Prediction(frame, model, device, False, (), 0.1, inference_ms, inference_ms + 1, scores, ("a",))


def full() -> Report:
    """One with something in each part."""
    return dataclasses.replace(
        report(faults=("camera door: gone",)),
        canaries={"default": CanaryStatus(5, 1)},
        outbox=OutboxStatus(rows=7, on_disk=3, disk_bytes=4096, dropped=2),
        connected=True,
    )


class Told:
    """Metrics on a free port, with one report."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics(MetricsSettings("127.0.0.1", 0), self.clock)
        self.metrics.turn(full())

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self.metrics.port is not None
        return self.metrics.port


@pytest.fixture
def told() -> Iterator[Told]:
    """Closed after the test."""
    told = Told()
    yield told
    told.metrics.close()


def test_the_report_is_scraped(told: Told) -> None:
    """Each number where it belongs; the age is that of the main loop's last turn."""
    told.clock.advance(0.5)
    scraped = scrape(told.port)
    assert 0.5 == value(scraped, "edge_agent_main_loop_age_seconds")
    assert 1 == value(scraped, "edge_agent_faults")
    assert 1 == value(scraped, "edge_agent_broker_connected")
    assert (7, 2) == (
        value(scraped, "edge_agent_outbox_rows"),
        value(scraped, "edge_agent_outbox_dropped_total"),
    )
    assert 1 == value(scraped, "edge_agent_camera_up", camera="door")
    assert (5, 1) == (
        value(scraped, "edge_agent_canary_checks_total", slot="default"),
        value(scraped, "edge_agent_canary_wrong_total", slot="default"),
    )
    assert 0 < value(scraped, "process_resident_memory_bytes")


def test_predictions_are_counted_and_timed(told: Told) -> None:
    """By camera, slot and device; times in seconds, in buckets that grow."""
    told.metrics.tally.predicted("door", prediction(2.0))
    told.metrics.tally.predicted("door", prediction(40.0))
    told.metrics.tally.predicted("door", prediction(9.0, "edgetpu"))
    told.metrics.tally.failed("door")
    scraped = scrape(told.port)
    on_cpu = {"slot": "default", "device": "cpu"}
    assert 2 == value(scraped, "edge_agent_predictions_total", camera="door", **on_cpu)
    assert 1 == value(scraped, "edge_agent_frames_failed_total", camera="door")
    assert 2 == value(scraped, "edge_agent_inference_seconds_count", **on_cpu)
    assert 0.042 == pytest.approx(value(scraped, "edge_agent_inference_seconds_sum", **on_cpu))
    buckets = [
        value(scraped, "edge_agent_inference_seconds_bucket", **on_cpu, le=le)
        for le in ("0.001", "0.0025", "0.025", "0.05", "+Inf")
    ]
    assert [0, 1, 1, 2, 2] == buckets
    assert 3 == value(scraped, "edge_agent_latency_seconds_count", camera="door")


def test_names_are_as_prometheus_wants_them(told: Told) -> None:
    """One prefix, base units, ``_total`` for counters only, a text for each."""
    told.metrics.tally.predicted("door", prediction())
    for name, family in scrape(told.port).items():
        assert name.startswith(("edge_agent_", "process_")), name
        assert not any(unit in name for unit in ("_ms", "milli", "_mb", "percent")), name
        assert family.documentation, name
        totals = {sample.name.endswith("_total") for sample in family.samples}
        assert totals <= {family.type == "counter"}, name


def test_each_metric_is_documented(told: Told) -> None:
    """In docs/health.md, by the name that is typed into a query."""
    text = (Path(__file__).parent.parent / "docs" / "health.md").read_text()
    names = [
        f"{name}{'_total' if family.type == 'counter' else ''}"
        for name, family in scrape(told.port).items()
        if name.startswith("edge_agent_")
    ]
    assert [] == [name for name in names if f"`{name}`" not in text]


def test_it_is_packed_where_that_is_taken(told: Told) -> None:
    """As Prometheus asks for it."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{told.port}/metrics", headers={"Accept-Encoding": "gzip"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert b"edge_agent_build_info" in gzip.decompress(answer.read())


def test_who_hangs_up_leaves_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A scraper that goes while it is answered is told to nobody but who debugs."""
    noticed = threading.Event()
    monkeypatch.setattr(server_room.logger, "debug", lambda *_, **__: noticed.set())

    def collect() -> Iterator[Metric]:
        scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        scraper.close()
        yield Metric("large", "x" * 10_000_000, "gauge")

    server = server_room.MetricsServer("127.0.0.1", 0, collect)
    scraper = socket.create_connection(("127.0.0.1", server.port))
    scraper.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert noticed.wait(30)
    server.close()
    assert "" == capfd.readouterr().err


def test_a_port_that_is_taken_is_a_fault_until_it_is_free() -> None:
    """The agent goes on; the port is tried again."""
    clock = FakeClock()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        metrics = Metrics(MetricsSettings("127.0.0.1", port), clock)
        metrics.turn(full())
        fault = f"metrics: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        assert f"{fault}set [metrics] host or port" == metrics.fault
    metrics.turn(full())
    ports = [metrics.port]
    clock.advance(RETRY_S)
    metrics.turn(full())
    assert [None, port] == [*ports, metrics.port]
    assert not metrics.fault
    metrics.close()


def test_an_address_of_version_6_is_one_too() -> None:
    """Loopback has two."""
    metrics = Metrics(MetricsSettings("::1", 0), FakeClock())
    metrics.turn(full())
    try:
        if metrics.port is None:
            pytest.skip("this machine has no IPv6")
        assert 1 == value(scrape(metrics.port, "[::1]"), "edge_agent_faults")
    finally:
        metrics.close()


def test_a_missing_package_is_told_with_its_line_of_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    for name in ("edge_agent.metrics.server", "edge_agent.metrics.families"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError) as refusal:
        Metrics(MetricsSettings("127.0.0.1", 0), FakeClock())
    assert "pip install prometheus-client" == refusal.value.remedy


def test_the_package_is_left_alone_where_it_is_not_wanted() -> None:
    """It costs a start some time and memory."""
    code = "import sys, edge_agent.daemon; sys.exit('prometheus_client' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


@pytest.mark.parametrize(
    ("host", "exposed", "allowed"),
    [
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("0.0.0.0", False, False),
        ("192.0.2.1", False, False),
        ("192.0.2.1", True, True),
        ("localhost", True, False),
    ],
)
def test_others_reach_it_only_where_that_is_said(host: str, exposed: bool, allowed: bool) -> None:
    """There is no password."""
    table = {"metrics": {"host": host, "exposed": exposed}}
    if allowed:
        assert host == Config.model_validate(table).metrics.host
    else:
        with pytest.raises(ValueError, match="host"):
            Config.model_validate(table)


def test_an_agent_is_scraped(tmp_path: Path) -> None:
    """The whole of it: what it predicts is counted while it runs."""
    port = free_port()
    cameras = {"scene": {"source": "scene:finishes"}}
    text = configuration(1, cameras) + toml({"metrics": {"port": port}})
    with Agent(tmp_path, text) as agent:
        assert agent.reaches("metrics for Prometheus: ")
        assert agent.reaches("serves on the CPU")
        made = 0.0
        while made < 3:
            predictions = scrape(port)["edge_agent_predictions"].samples
            made = sum(sample.value for sample in predictions)
        scraped = scrape(port)
        assert 1 == value(scraped, "edge_agent_slot_up", slot="default")
        assert 1 == value(scraped, "edge_agent_model_info", slot="default", device="cpu")
        assert 0 == agent.stop()


def test_a_tally_counts_nothing_by_itself() -> None:
    """No sample stands for what never was."""
    assert ({}, {}) == (dict(Tally().predictions), Tally().inference)
