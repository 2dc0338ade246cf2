"""Settings of the server from environment variables."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings

__all__ = ["RerankerSettings", "TracesSettings"]


class RerankerSettings(BaseModel):
    """Settings and limits of `camsearch serve`.

    Convention:
        Read as part of `camsearch.settings.CommandSettings`, with the prefix CAMSEARCH_.
    """

    serve_host: str = Field("127.0.0.1", description="address that `serve` listens on")
    serve_port: int = Field(9280, ge=0, le=65535, description="port of `serve`; 0 for a free one")
    serve_read_only: bool = Field(False, description="forward only requests that read")
    serve_max_body: int = Field(
        100 * 2**20,
        ge=1024,
        description="max. bytes of a search's body, compressed and decompressed",
    )
    serve_max_image: int = Field(
        20 * 2**20, ge=1024, description="max. bytes of a query image's file"
    )
    serve_max_window: int = Field(
        1000, ge=1, le=10_000, description="max. R, hits re-ranked per search"
    )
    serve_max_k: int = Field(10_000, ge=1, le=10_000, description="max. k of an image search")
    serve_waiting: int = Field(
        32, ge=1, description="searches that may wait in the queue; more are answered 429"
    )
    serve_reranks: int = Field(2, ge=1, le=64, description="searches re-ranked at the same time")
    serve_batch_wait: float = Field(
        0.003, ge=0, le=1, description="seconds that a query image waits for others to form a batch"
    )
    serve_timeout: float = Field(
        10, gt=0, description="default timeout of a re-ranked search, in seconds"
    )
    serve_max_encoded: int = Field(
        16, ge=0, description="hits without kept maps that a search may encode again"
    )
    serve_rate: str = Field(
        "", description="image searches allowed per caller, such as 20/second; unlimited if empty"
    )
    serve_cors: str = Field(
        "", description="allowed CORS origins, separated by commas; none if empty"
    )
    serve_log_requests: bool = Field(False, description="also log each forwarded request")
    serve_explains: int = Field(1, ge=1, le=64, description="hits explained at the same time")
    serve_thumbnails: int = Field(4, ge=1, le=64, description="thumbnails made at the same time")


class TracesSettings(BaseSettings):
    """OpenTelemetry's variables that select an exporter of spans."""

    otel_sdk_disabled: bool = False
    otel_traces_exporter: str = ""
    otel_exporter_otlp_endpoint: str = ""
    otel_exporter_otlp_traces_endpoint: str = ""
    otel_exporter_otlp_protocol: str = "http/protobuf"
    otel_exporter_otlp_traces_protocol: str = ""

    @property
    def exporter(self) -> str | None:
        """Entry point name of the exporter; None for no spans."""
        endpoint = self.otel_exporter_otlp_endpoint or self.otel_exporter_otlp_traces_endpoint
        named = self.otel_traces_exporter or ("otlp" if endpoint else "none")
        if self.otel_sdk_disabled or named == "none":
            return None
        if named != "otlp":
            return named
        protocol = self.otel_exporter_otlp_traces_protocol or self.otel_exporter_otlp_protocol
        return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
