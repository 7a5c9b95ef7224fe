"""Publishing to an MQTT broker, and listening to one (owns paho)."""

from edge_agent.mqtt.hearing import Listener
from edge_agent.mqtt.publisher import Publisher
from edge_agent.mqtt.session import Received
from edge_agent.mqtt.settings import BrokerSettings, Pace, PublisherStatus, TlsSettings
from edge_agent.mqtt.subscription import Subscription
from edge_agent.mqtt.trial import Trial, Verdict, judge, try_broker

__all__ = [
    "BrokerSettings",
    "Listener",
    "Pace",
    "Publisher",
    "PublisherStatus",
    "Received",
    "Subscription",
    "TlsSettings",
    "Trial",
    "Verdict",
    "judge",
    "try_broker",
]
