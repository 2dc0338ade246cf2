"""What the environment may say to the proxy."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings

__all__ = ["RerankerSettings", "TracesSettings"]


class RerankerSettings(BaseModel):
    """How searches are answered, and how much one may ask for.

    Convention:
        Read from the environment as part of `camsearch.settings.CommandSettings`, with the
        prefix CAMSEARCH_.
    """

    serve_host: str = Field("127.0.0.1", description="address that `serve` listens at")
    serve_port: int = Field(9280, ge=0, le=65535, description="its port; 0 for a free one")
    serve_read_only: bool = Field(False, description="let only reading requests through")
    serve_max_body: int = Field(
        100 * 2**20, ge=1024, description="bytes of a search's body, packed and unpacked"
    )
    serve_max_image: int = Field(20 * 2**20, ge=1024, description="bytes of a query image's file")
    serve_max_window: int = Field(1000, ge=1, le=10_000, description="R, hits re-ranked a search")
    serve_max_k: int = Field(10_000, ge=1, le=10_000, description="k of a search that names us")
    serve_waiting: int = Field(
        32, ge=1, description="searches that may wait for their turn; more are answered 429"
    )
    serve_reranks: int = Field(2, ge=1, le=64, description="searches re-ranked at the same time")
    serve_batch_wait: float = Field(
        0.003, ge=0, le=1, description="seconds a query image waits for others to be encoded with"
    )
    serve_timeout: float = Field(
        10, gt=0, description="seconds for a re-ranked search that names no timeout of its own"
    )
    serve_max_encoded: int = Field(
        16, ge=0, description="hits without kept maps that one search encodes again"
    )
    serve_rate: str = Field(
        "", description="searches with images a caller may ask, as 20/second; any number if empty"
    )
    serve_cors: str = Field(
        "", description="origins whose pages may call us, separated by commas; none if empty"
    )
    serve_log_requests: bool = Field(
        False, description="a line in the log for each request that is passed through, too"
    )
    serve_explains: int = Field(1, ge=1, le=64, description="hits explained at the same time")
    serve_thumbnails: int = Field(
        4, ge=1, le=64, description="images of hits read at the same time, for thumbnails"
    )


class TracesSettings(BaseSettings):
    """OpenTelemetry's own variables, as far as they say whether and how spans are sent."""

    otel_sdk_disabled: bool = False
    otel_traces_exporter: str = ""
    otel_exporter_otlp_endpoint: str = ""
    otel_exporter_otlp_traces_endpoint: str = ""
    otel_exporter_otlp_protocol: str = "http/protobuf"
    otel_exporter_otlp_traces_protocol: str = ""

    @property
    def exporter(self) -> str | None:
        """The name of the exporter as packages register it; None for no spans."""
        endpoint = self.otel_exporter_otlp_endpoint or self.otel_exporter_otlp_traces_endpoint
        named = self.otel_traces_exporter or ("otlp" if endpoint else "none")
        if self.otel_sdk_disabled or named == "none":
            return None
        if named != "otlp":
            return named
        protocol = self.otel_exporter_otlp_traces_protocol or self.otel_exporter_otlp_protocol
        return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
