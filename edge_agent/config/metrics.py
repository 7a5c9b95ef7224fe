"""``[metrics]``: how the agent stands, for Prometheus."""

from __future__ import annotations

import ipaddress

from pydantic import Field, model_validator

from edge_agent.config.section import Section


class MetricsConfig(Section):
    """``[metrics]``."""

    port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Answer Prometheus on this port, at /metrics (needs: pip install prometheus-client). "
        "0: not at all.",
        examples=[9464],
    )
    host: str = Field(default="127.0.0.1", description="The address of this machine to listen on.")
    exposed: bool = Field(
        default=False,
        description="Allow a host that other machines reach: whoever does reads how the agent stands. No "
        "password is asked for.",
    )

    @model_validator(mode="after")
    def _others_only_where_wanted(self) -> MetricsConfig:
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            raise ValueError('host must be an address, as "127.0.0.1" or "::1"') from None
        if not (self.exposed or address.is_loopback):
            raise ValueError(f"host {self.host} can be reached by other machines; to allow that, set exposed")
        return self
