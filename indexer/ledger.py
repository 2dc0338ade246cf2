"""The ledger in Redis: runs, their counts, and active workers.

Keys, all with the prefix ``camsearch:``: ``runs`` (sorted by time), ``run:ID`` (hash: gallery,
asked, counts), ``run:ID:chunks`` (set: counted chunks), ``run:ID:failed`` (hash: id, reason),
``attempts:KEY`` (count), ``workers`` (hash: name, JSON), ``open`` (hash: chunk that is not
counted yet, its task as JSON), ``resending`` (lock for sending lost tasks again).
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from indexer.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

__all__ = ["Ledger", "RunState", "WorkerState"]

_PREFIX = "camsearch:"
_OPEN = f"{_PREFIX}open"
_KEPT_SECONDS = 30 * 24 * 3600
_COUNTS = [f.name for f in fields(Progress) if f.name != "asked"]

# Adds the counts of a chunk once, however often it is delivered. Atomic, since a worker may be
# killed at any point.
_COUNT_ONCE = """
redis.call('HDEL', KEYS[3], ARGV[1])
if redis.call('SADD', KEYS[2], ARGV[1]) == 0 then return 0 end
for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""

# Replaces a chunk by parts unless it is already counted; returns the parts not counted yet.
_DIVIDE = """
redis.call('HDEL', KEYS[2], ARGV[1])
local divided = ARGV[1] .. '/'
if redis.call('SADD', KEYS[1], ARGV[1]) == 1 then redis.call('SADD', KEYS[1], divided) end
if redis.call('SISMEMBER', KEYS[1], divided) == 0 then return {} end
local left = {}
for i = 2, #ARGV, 2 do
  if redis.call('SISMEMBER', KEYS[1], ARGV[i]) == 0 then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    left[#left + 1] = ARGV[i]
  end
end
return left
"""


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        started, last: times of its start and of its last progress, in seconds since 1970.
        asked: images enqueued so far.
        enqueued: whether all images are enqueued.
        counts: images by outcome; see `Progress`, plus ``failed``.
    """

    id: str
    gallery: str
    started: float
    last: float
    asked: int
    enqueued: bool
    counts: Mapping[str, int]

    @property
    def finished(self) -> int:
        """Images with an outcome."""
        return sum(self.counts.values())

    @property
    def over(self) -> bool:
        """Whether every image has an outcome."""
        return self.enqueued and self.finished >= self.asked


@dataclass(frozen=True)
class WorkerState:
    """The state of a worker.

    Attributes:
        name: host name and process id.
        images: images processed since it started.
        started, last_progress: seconds since 1970.
    """

    name: str
    device: str
    images: int
    started: float
    last_progress: float


class Ledger:
    """Counts runs, attempts and workers in Redis."""

    def __init__(self, redis: Redis) -> None:
        """Use a client with ``decode_responses=True``."""
        self._redis = redis
        self._count_once = redis.register_script(_COUNT_ONCE)
        self._divide = redis.register_script(_DIVIDE)

    def open_run(self, run: str, gallery: str) -> None:
        """Add a run and forget expired ones."""
        now = time.time()
        with self._redis.pipeline() as steps:
            steps.hset(_run(run), mapping={"gallery": gallery, "started": now, "asked": 0})
            steps.expire(_run(run), _KEPT_SECONDS)
            steps.zadd(f"{_PREFIX}runs", {run: now})
            steps.zremrangebyscore(f"{_PREFIX}runs", 0, now - _KEPT_SECONDS)
            steps.execute()

    def ask(self, run: str, images: int, chunk: str, task: str) -> None:
        """Record that a chunk is being enqueued."""
        with self._redis.pipeline() as steps:
            steps.hincrby(_run(run), "asked", images)
            steps.hset(_OPEN, chunk, task)
            steps.execute()

    def divide(self, run: str, chunk: str, parts: Mapping[str, str]) -> set[str]:
        """Replace a chunk by parts (tasks by id), which are counted in its place.

        Returns:
            The parts that must be done; none if the whole chunk was counted meanwhile.
        """
        pairs = [text for part in parts.items() for text in part]
        left = self._divide(keys=[f"{_run(run)}:chunks", _OPEN], args=[chunk, *pairs])
        return {str(part) for part in left}

    def open_tasks(self) -> dict[str, str]:
        """Tasks that are not counted yet, by chunk id."""
        return self._hash(_OPEN)

    def may_resend(self, seconds: float) -> bool:
        """Whether the caller may send lost tasks again; others may not for that many seconds."""
        return bool(self._redis.set(f"{_PREFIX}resending", 1, nx=True, px=int(seconds * 1000)))

    def close_run(self, run: str) -> None:
        """Record that all images of a run are enqueued."""
        self._redis.hset(_run(run), "enqueued", 1)

    def count(self, run: str, chunk: str, progress: Progress, failed: Mapping[str, str]) -> bool:
        """Add the counts of a chunk to its run; a second call has no effect.

        Args:
            progress: its counts, without failed images.
            failed: reasons by id.

        Returns:
            Whether it was counted now.
        """
        counts = {name: getattr(progress, name) for name in _COUNTS} | {"failed": len(failed)}
        arguments = [chunk]
        for name, number in counts.items():
            arguments += [name, str(number)]
        counted = self._count_once(keys=[_run(run), f"{_run(run)}:chunks", _OPEN], args=arguments)
        with self._redis.pipeline() as steps:
            steps.hset(_run(run), "last", time.time())
            for id_, reason in failed.items():
                steps.hset(f"{_run(run)}:failed", id_, reason)
            for key in (_run(run), f"{_run(run)}:chunks", f"{_run(run)}:failed"):
                steps.expire(key, _KEPT_SECONDS)
            steps.execute()
        return bool(counted)

    def state(self, run: str) -> RunState | None:
        """The state of a run; None if it is unknown or expired."""
        found = self._hash(_run(run))
        if "started" not in found:
            return None
        counts = {name: int(found.get(name, 0)) for name in [*_COUNTS, "failed"]}
        asked, started = int(found["asked"]), float(found["started"])
        last = float(found.get("last", started))
        return RunState(run, found["gallery"], started, last, asked, "enqueued" in found, counts)

    def runs(self, most: int = 10) -> list[RunState]:
        """The latest runs, latest first."""
        names = self._redis.zrevrange(f"{_PREFIX}runs", 0, most - 1)
        states = (self.state(str(name)) for name in names)
        return [state for state in states if state is not None]

    def failed(self, run: str) -> dict[str, str]:
        """The failed images of a run: reasons by id."""
        return self._hash(f"{_run(run)}:failed")

    def begin_attempt(self, key: str) -> int:
        """Count an attempt at a task and return the attempt number."""
        name = f"{_PREFIX}attempts:{key}"
        with self._redis.pipeline() as steps:
            steps.incr(name)
            steps.expire(name, _KEPT_SECONDS)
            return int(steps.execute()[0])

    def forgive(self, key: str) -> None:
        """Uncount the last attempt, which did not fail because of the task."""
        self._redis.decr(f"{_PREFIX}attempts:{key}")

    def end_attempts(self, key: str) -> None:
        """Forget the attempts of a finished task."""
        self._redis.delete(f"{_PREFIX}attempts:{key}")

    def beat(self, state: WorkerState) -> None:
        """Record a worker's progress."""
        self._redis.hset(f"{_PREFIX}workers", state.name, json.dumps(asdict(state)))

    def workers(self, since: float) -> list[WorkerState]:
        """Workers with progress since a time, by name; records older than a day are deleted."""
        found = self._hash(f"{_PREFIX}workers")
        states = [WorkerState(**json.loads(text)) for text in found.values()]
        old = [s.name for s in states if s.last_progress < time.time() - 24 * 3600]
        if old:
            self._redis.hdel(f"{_PREFIX}workers", *old)
        return sorted((s for s in states if s.last_progress >= since), key=lambda s: s.name)

    def waiting(self, queue: str) -> int:
        """Number of tasks in a queue that no worker has taken."""
        return int(self._redis.llen(queue))

    def taken(self) -> int:
        """Number of tasks that workers have taken and not finished."""
        return int(self._redis.hlen("unacked"))

    def _hash(self, key: str) -> dict[str, str]:
        found = self._redis.hgetall(key)
        return {str(name): str(value) for name, value in found.items()}


def _run(run: str) -> str:
    return f"{_PREFIX}run:{run}"
