"""What the environment may say to the proxy."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["RerankerSettings"]


class RerankerSettings(BaseModel):
    """How searches are answered, and how much one may ask for.

    Convention:
        Read from the environment as part of `camsearch.settings.CommandSettings`, with the
        prefix CAMSEARCH_.
    """

    serve_host: str = Field("127.0.0.1", description="address that `serve` listens at")
    serve_port: int = Field(9280, ge=0, le=65535, description="its port; 0 for a free one")
    serve_read_only: bool = Field(False, description="let only reading requests through")
    serve_most_body: int = Field(
        100 * 2**20, ge=1024, description="bytes of a search's body, packed and unpacked"
    )
    serve_most_picture: int = Field(
        20 * 2**20, ge=1024, description="bytes of a query picture's file"
    )
    serve_most_window: int = Field(1000, ge=1, le=10_000, description="R, hits re-ranked a search")
    serve_most_k: int = Field(10_000, ge=1, le=10_000, description="k of a search that names us")
    serve_waiting: int = Field(
        64, ge=1, description="searches that may wait for their turn; more are answered 429"
    )
    serve_reranks: int = Field(2, ge=1, le=64, description="searches re-ranked at the same time")
    serve_batch_wait: float = Field(
        0.003, ge=0, le=1, description="seconds a query picture waits for others to be encoded with"
    )
    serve_timeout: float = Field(
        10, gt=0, description="seconds for a re-ranked search that names no timeout of its own"
    )
    serve_most_encoded: int = Field(
        16, ge=0, description="hits without kept maps that one search encodes again"
    )
    serve_rate: str = Field(
        "", description="searches with pictures a caller may ask, as 20/second; any number if empty"
    )
    serve_cors: str = Field(
        "", description="origins whose pages may call us, separated by commas; none if empty"
    )
