"""The daemon with a broker that does not want it: it goes on looking, and is let in when that is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.control_socket import ControlClient
from tests.agents import TOPICS, Agent, Listener, configuration
from tests.brokers import Broker
from tests.certificates import DAY, Authority
from tests.places import need_data

pytestmark = need_data


def dropped(folder: Path) -> int:
    """Predictions that were made and given up so far: nobody took them."""
    count: int = ControlClient(folder / "control.sock").ask("status")["health"]["outbox"]["dropped"]
    return count


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_inference_goes_on_with_a_wrong_password(tmp_path: Path, protocol: str) -> None:
    """One line in the log, endless attempts, and predictions all the time."""
    (tmp_path / "password").write_text("right\n")
    mqtt = {"username": "dock", "password_file": "password", "protocol": protocol}
    with Broker(users={"dock": "wrong", "test": "test"}) as broker:
        text = configuration(broker.port, {"scene": {"source": "scene:finishes", "fps": 50}}, mqtt=mqtt)
        with Agent(tmp_path, text) as agent:
            assert agent.logged("(as 'dock'); check [mqtt] username and password_file")
            before = dropped(tmp_path)
            while dropped(tmp_path) < before + 20:
                assert agent.process.poll() is None
            broker.stop()
            broker.set_password("dock", "right")
            broker.start()
            assert agent.logged("connected to the MQTT broker")
            assert 1 == len(agent.log("refuses us"))
            assert [] == agent.log("right")
            assert 0 == agent.stop()


def test_inference_goes_on_with_an_expired_certificate(tmp_path: Path) -> None:
    """The remedy names both: the certificate, and the clock of this machine."""
    authority = Authority(tmp_path)
    pair = authority.pair("broker", begins=-2 * DAY, ends=-DAY)
    with Broker(listener=[f"certfile {pair.certificate}", f"keyfile {pair.key}"]) as broker:
        text = configuration(broker.port, {"scene": {"source": "scene:finishes", "fps": 50}})
        with Agent(tmp_path, f"{text}[mqtt.tls]\nca_file = '{authority.certificate}'\n") as agent:
            assert agent.logged("certificate has expired; renew the broker's certificate")
            before = dropped(tmp_path)
            while dropped(tmp_path) < before + 20:
                assert agent.process.poll() is None
            assert 0 == agent.stop()


def test_the_health_of_the_daemon_names_its_session(tmp_path: Path) -> None:
    """The one that its predictions name: so a second agent of its name can be told."""
    with Broker() as broker, Listener(broker.port) as listener:
        text = configuration(broker.port, {"scene": {"source": "scene:finishes", "fps": 50}})
        with Agent(tmp_path, text) as agent:
            assert listener.predicted("scene", 1)
            session = listener.predictions("scene")[0]["session"]
            assert listener.tells(TOPICS.health, lambda health: health["session"] == session)
            assert 0 == agent.stop()
