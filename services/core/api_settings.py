"""The settings of the online service, `SWATH_API_*`; `settings.py` reads them with all others."""

import ipaddress
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

#: Bounds of what anybody means: no timer takes infinity, and no counter of a library a number of any length.
DAY_S = 86_400
MOST_CORES = 4096
_MANY = 2**20
_LARGE = 2**40


class ApiSettings(BaseSettings):
    """Where the service listens, whom it lets in, and how much it takes on."""

    api_host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 in a container")
    api_port: int = Field(default=8000, ge=0, le=65535, description="0: any free one")
    api_model: str = Field(default="eurosat-rgb", description="what /predict answers with: a name, digest or folder")
    api_threads: int | None = Field(
        default=None, ge=1, le=MOST_CORES, description="cores the network may keep busy; None: all"
    )

    api_auth: Literal["auto", "none", "keys", "oidc"] = Field(
        default="auto", description="auto: none on loopback, keys elsewhere"
    )
    api_anonymous: bool = Field(default=False, description="says that `none` is meant, where anybody can reach us")
    api_open_metrics: bool = Field(default=False, description="/metrics without a key, where there are keys")
    api_oidc_issuer: str = ""
    api_oidc_audience: str = ""
    api_oidc_jwks_url: str | None = Field(default=None, description="None: from the issuer's discovery document")
    api_oidc_scope: str | None = Field(default=None, description="a word that a token's scope must hold")

    api_proxies: str = Field(default="", description="addresses or networks whose X-Forwarded-For is believed")
    api_rate_per_s: float | None = Field(
        default=None, ge=1 / DAY_S, le=_MANY, description="images a second and caller; None: no limit"
    )
    api_rate_burst: int = Field(default=200, ge=1, le=_MANY, description="images a caller may send at once before that")
    api_max_body_bytes: int = Field(default=16 * 2**20, ge=1024, le=_LARGE)
    api_body_memory_bytes: int = Field(
        default=64 * 2**20, ge=1024, le=_LARGE, description="bodies held at one time, all together"
    )
    api_max_pixels: int = Field(default=2**22, ge=1, le=_LARGE, description="of one image")
    api_max_batch: int = Field(default=64, ge=1, le=_MANY, description="images in one request")
    api_infer_pixels: int = Field(default=2**22, ge=1, le=_LARGE, description="a larger window of /infer becomes a run")
    api_max_requests: int = Field(
        default=1024, ge=1, le=_MANY, description="under way at one time; one more is answered 503"
    )
    api_queue_chips: int = Field(default=256, ge=1, le=_MANY, description="chips that wait for the network; more: 503")
    api_max_wait_ms: int = Field(
        default=2000, ge=1, le=1000 * DAY_S, description="a chip that would wait longer is answered 503"
    )
    api_timeout_s: float = Field(default=30, gt=0, le=DAY_S, description="for a whole request, its body included")

    api_poll_s: float = Field(default=5, gt=0, le=DAY_S, description="how often the promoted model is looked up")
    api_linger_s: float = Field(default=1, ge=0, le=DAY_S, description="after SIGTERM: not ready, but still listening")
    api_drain_s: int = Field(default=20, ge=1, le=DAY_S, description="after that: for requests under way")
    api_access_log: bool = Field(default=True, description="one line for each request")

    @property
    def api_on_loopback(self) -> bool:
        """Whether only this machine reaches the service."""
        return self.api_host in _LOOPBACK

    @property
    def api_auth_mode(self) -> Literal["none", "keys", "oidc"]:
        """What `auto` comes to."""
        if self.api_auth != "auto":
            return self.api_auth
        return "none" if self.api_on_loopback else "keys"

    @field_validator("api_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        """Anything else, `*` first of all, would let callers choose whose limit is charged."""
        networks = [part.strip() for part in value.split(",") if part.strip()]
        for network in networks:
            ipaddress.ip_network(network)
        return ",".join(networks)

    @model_validator(mode="after")
    def _api_means_it(self) -> "ApiSettings":
        if self.api_auth == "none" and not self.api_on_loopback and not self.api_anonymous:
            raise ValueError(
                f"SWATH_API_AUTH=none would let anybody in who reaches {self.api_host}; "
                "set SWATH_API_ANONYMOUS=true if that is meant, or SWATH_API_AUTH=keys"
            )
        if self.api_auth == "oidc" and not (self.api_oidc_issuer and self.api_oidc_audience):
            raise ValueError("SWATH_API_AUTH=oidc needs SWATH_API_OIDC_ISSUER and SWATH_API_OIDC_AUDIENCE")
        return self
