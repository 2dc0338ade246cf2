"""What the environment may say to workers and to who fills their queue."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["IndexerSettings"]


class IndexerSettings(BaseModel):
    """Where the servers are, and how the queue is worked off.

    Convention:
        Read from the environment as part of `camsearch.settings.CommandSettings`, with the
        prefix CAMSEARCH_.
    """

    elasticsearch: str = Field("http://localhost:9200", description="address of Elasticsearch")
    api_key: str | None = Field(None, description="API key for Elasticsearch", repr=False)
    ca_certs: str | None = Field(
        None, description="certificate of the authority behind an https Elasticsearch"
    )
    images: str = Field("images", description="name of the gallery in Elasticsearch")
    broker: str = Field("redis://localhost:6379/0", description="Redis, a database of its own")
    queue: str = Field("camsearch", description="name of the queue")
    chunk: int = Field(256, ge=1, le=1000, description="images a task")
    max_waiting: int = Field(
        200, ge=1, description="tasks that may wait before `enqueue` waits, too"
    )
    attempts: int = Field(
        3,
        ge=1,
        le=100,
        description="times a task may fail or kill its worker before it is set aside",
    )
    visibility_timeout: int = Field(
        900,
        ge=5,
        description="seconds after which the task of a worker that died is given to another; "
        "longer than any task takes",
    )
    soft_shutdown: float = Field(
        30,
        ge=0,
        description="seconds a second SIGTERM leaves a worker; the first lets it finish its task",
    )
    web_hosts: str = Field(
        "",
        description="hosts that images may be fetched from, separated by commas, others than the "
        "web's with their scheme (sftp://host); none if empty",
    )
