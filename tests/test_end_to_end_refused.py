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


def keeps_looking(folder: Path, agent: Agent) -> None:
    """Frames are predicted all the time, whoever takes them."""

    def number() -> int:
        count: int = ControlClient(folder / "control.sock").ask("snapshot", {"camera": "scene"})["frame"]
        return count

    assert agent.logged("camera scene is online")
    before = number()
    while number() < before + 20:
        assert agent.process.poll() is None


def test_inference_goes_on_with_a_wrong_host_name(tmp_path: Path) -> None:
    """The certificate is another host's: one line says what to set, and it is tried again and again."""
    remedy = "set [mqtt] host to a name that the certificate is made out to"
    authority = Authority(tmp_path)
    pair = authority.pair("broker", "broker.example")
    with Broker(listener=[f"certfile {pair.certificate}", f"keyfile {pair.key}"]) as broker:
        text = configuration(broker.port, {"scene": {"source": "scene:finishes", "fps": 50}})
        with Agent(tmp_path, f"{text}[mqtt.tls]\nca_file = '{authority.certificate}'\n") as agent:
            assert agent.logged(remedy)
            tried = broker.times("New connection")
            while broker.times("New connection") < tried + 3:
                keeps_looking(tmp_path, agent)
            assert 1 == len(agent.log(remedy))
            assert 0 == agent.stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_inference_goes_on_where_the_access_list_forbids_it(tmp_path: Path, protocol: str) -> None:
    """One line with the remedy, whether the broker says so or throws messages away in silence; once it is
    mended, predictions come without a restart.
    """
    others = "user test\ntopic readwrite #\nuser dock\n"
    (tmp_path / "password").write_text("right\n")
    (tmp_path / "acl").write_text(f"{others}topic read edge-agent/dock/#\n")
    mqtt = {"username": "dock", "password_file": "password", "protocol": protocol}
    users = {"dock": "right", "test": "test"}
    with Broker(listener=[f"acl_file {tmp_path / 'acl'}"], users=users) as broker:
        text = configuration(broker.port, {"scene": {"source": "scene:finishes", "fps": 50}}, mqtt=mqtt)
        with (
            Agent(tmp_path, text) as agent,
            Listener(broker.port, username="test", password="test") as heard,
        ):
            assert agent.logged("(the broker's ACL)")
            keeps_looking(tmp_path, agent)
            assert [] == heard.predictions("scene")
            assert 1 == len(agent.log("(the broker's ACL)"))
            (tmp_path / "acl").write_text(f"{others}topic readwrite edge-agent/dock/#\n")
            broker.reload()
            assert heard.predicted("scene", 3)
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
