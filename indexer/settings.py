"""Settings of workers and of `camsearch enqueue`."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["IndexerSettings"]


class IndexerSettings(BaseModel):
    """Servers and queue; set by ``CAMSEARCH_…`` through `camsearch.settings.CommandSettings`."""

    elasticsearch: str = Field("http://localhost:9200", description="URL of Elasticsearch")
    api_key: str | None = Field(None, description="API key for Elasticsearch", repr=False)
    ca_certs: str | None = Field(None, description="CA certificate file for an https Elasticsearch")
    images: str = Field("images", description="name of the gallery in Elasticsearch")
    broker: str = Field("redis://localhost:6379/0", description="URL of a dedicated Redis database")
    queue: str = Field("camsearch", description="name of the queue")
    chunk: int = Field(256, ge=1, le=1000, description="images per task")
    max_waiting: int = Field(200, ge=1, description="pending tasks at which `enqueue` pauses")
    attempts: int = Field(
        3,
        ge=1,
        le=100,
        description="times a task may fail or kill its worker before it is given up",
    )
    visibility_timeout: int = Field(
        900,
        ge=5,
        description="seconds until the task of a lost worker is delivered again; must be longer "
        "than any task takes",
    )
    soft_shutdown: float = Field(
        30,
        ge=0,
        description="seconds that a worker has left after a second SIGTERM; after the first, it "
        "finishes its task",
    )
    web_hosts: str = Field(
        "",
        description="allowed hosts to fetch images from, separated by commas; with a scheme if "
        "not http(s) (sftp://host); empty for none",
    )
