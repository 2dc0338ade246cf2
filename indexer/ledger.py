"""The ledger in Redis: what was asked for, what came of it, and who works.

Keys, all below ``camsearch:``: ``runs`` (by time), ``run:ID`` (hash: gallery, asked, counts),
``run:ID:chunks`` (set: those counted), ``run:ID:failed`` (hash: id, reason),
``attempts:KEY`` (count), ``workers`` (hash: name, JSON), ``open`` (hash: of each chunk of a
run that is not counted yet its task, JSON), ``resending`` (who sends such tasks again).
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from indexer.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

__all__ = ["Ledger", "RunState", "WorkerState"]

_PREFIX = "camsearch:"
_OPEN = f"{_PREFIX}open"
_KEPT_SECONDS = 30 * 24 * 3600
_COUNTS = [f.name for f in fields(Progress) if f.name != "asked"]

# Counts of a chunk go in once, however often it is delivered: one step, since a worker may be
# killed between any two.
_COUNT_ONCE = """
redis.call('HDEL', KEYS[3], ARGV[1])
if redis.call('SADD', KEYS[2], ARGV[1]) == 0 then return 0 end
for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""

# Parts take the place of a chunk, which does not count from here on, unless it is counted
# already. Answers those parts that are to be done still.
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
    """A run as it stands.

    Attributes:
        id: of the run.
        gallery: that it fills.
        started, last: when it began and when it last got on, in seconds since 1970.
        asked: images enqueued so far.
        enqueued: whether all of them are.
        counts: what came of images; see `Progress`, and ``failed``.
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
        """Images that have met their end, whichever it was."""
        return sum(self.counts.values())

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.enqueued and self.finished >= self.asked


@dataclass(frozen=True)
class WorkerState:
    """A worker by what it last did.

    Attributes:
        name: of the host and the process.
        device: it computes on.
        images: done since it started.
        started, last_progress: seconds since 1970.
    """

    name: str
    device: str
    images: int
    started: float
    last_progress: float


class Ledger:
    """Notes in Redis that survive every worker."""

    def __init__(self, redis: Redis) -> None:
        """Use a client with ``decode_responses``."""
        self._redis = redis
        self._count_once = redis.register_script(_COUNT_ONCE)
        self._divide = redis.register_script(_DIVIDE)

    def open_run(self, run: str, gallery: str) -> None:
        """Begin a run."""
        now = time.time()
        with self._redis.pipeline() as steps:
            steps.hset(_run(run), mapping={"gallery": gallery, "started": now, "asked": 0})
            steps.expire(_run(run), _KEPT_SECONDS)
            steps.zadd(f"{_PREFIX}runs", {run: now})
            steps.zremrangebyscore(f"{_PREFIX}runs", 0, now - _KEPT_SECONDS)
            steps.execute()

    def ask(self, run: str, images: int, chunk: str, task: str) -> None:
        """Note that a chunk of so many images is being enqueued, and its task."""
        with self._redis.pipeline() as steps:
            steps.hincrby(_run(run), "asked", images)
            steps.hset(_OPEN, chunk, task)
            steps.execute()

    def divide(self, run: str, chunk: str, parts: Mapping[str, str]) -> set[str]:
        """Put parts in the place of a chunk, which does not count any more.

        Args:
            run: it belongs to.
            chunk: its id.
            parts: ids and tasks.

        Returns:
            The parts that must be done: none if the whole chunk has been counted meanwhile.
        """
        pairs = [text for part in parts.items() for text in part]
        left = self._divide(keys=[f"{_run(run)}:chunks", _OPEN], args=[chunk, *pairs])
        return {str(part) for part in left}

    def open_tasks(self) -> dict[str, str]:
        """The tasks that runs wait for, by the ids of their chunks."""
        return self._hash(_OPEN)

    def may_resend(self, seconds: float) -> bool:
        """Whether to send lost tasks again is up to the caller, for so long."""
        return bool(self._redis.set(f"{_PREFIX}resending", 1, nx=True, px=int(seconds * 1000)))

    def close_run(self, run: str) -> None:
        """Note that all images of a run are enqueued."""
        self._redis.hset(_run(run), "enqueued", 1)

    def count(self, run: str, chunk: str, progress: Progress, failed: Mapping[str, str]) -> bool:
        """Count what came of a chunk; a second time changes nothing.

        Args:
            run: it belongs to.
            chunk: its id.
            progress: its counts; of those that failed nothing.
            failed: a reason for each id that was set aside.

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
        """A run as it stands; None if it is unknown or long forgotten."""
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
        """The images of a run that were set aside, with reasons."""
        return self._hash(f"{_run(run)}:failed")

    def begin_attempt(self, key: str) -> int:
        """Note that a task is begun; returns the how-manieth time this is."""
        name = f"{_PREFIX}attempts:{key}"
        with self._redis.pipeline() as steps:
            steps.incr(name)
            steps.expire(name, _KEPT_SECONDS)
            return int(steps.execute()[0])

    def forgive(self, key: str) -> None:
        """Take the last attempt back: it was not the task's fault."""
        self._redis.decr(f"{_PREFIX}attempts:{key}")

    def end_attempts(self, key: str) -> None:
        """Forget the attempts of a task that has come to its end."""
        self._redis.delete(f"{_PREFIX}attempts:{key}")

    def beat(self, state: WorkerState) -> None:
        """Note that a worker has got on."""
        self._redis.hset(f"{_PREFIX}workers", state.name, json.dumps(asdict(state)))

    def workers(self, since: float) -> list[WorkerState]:
        """Workers that got on after a time; older notes are forgotten after a day."""
        found = self._hash(f"{_PREFIX}workers")
        states = [WorkerState(**_object(text)) for text in found.values()]
        old = [s.name for s in states if s.last_progress < time.time() - 24 * 3600]
        if old:
            self._redis.hdel(f"{_PREFIX}workers", *old)
        return sorted((s for s in states if s.last_progress >= since), key=lambda s: s.name)

    def waiting(self, queue: str) -> int:
        """Tasks in a queue that no worker has taken yet."""
        return int(self._redis.llen(queue))

    def taken(self) -> int:
        """Tasks that workers have taken and not finished."""
        return int(self._redis.hlen("unacked"))

    def _hash(self, key: str) -> dict[str, str]:
        found = self._redis.hgetall(key)
        return {str(name): str(value) for name, value in found.items()}


def _run(run: str) -> str:
    return f"{_PREFIX}run:{run}"


def _object(text: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)
    return content
