"""A server that tests talk to, and where it is ours may also stop, kill and restart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from tests.services.errors import NotOurs, ServiceBroken
from tests.services.process import wait_until

if TYPE_CHECKING:
    from types import TracebackType

    from tests.services.process import KeptProcess


class Server(ABC):
    """Used in a `with`, it is started where it is ours, and ended after."""

    name: ClassVar[str]
    start_s: ClassVar[float]

    def __init__(self, url: str, process: KeptProcess | None = None) -> None:
        self.url = url
        self._process = process

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, ours={self.ours})"

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready to be used, asked once and without waiting long."""

    @property
    def ours(self) -> bool:
        """Whether we started it; one that came by its address is somebody else's."""
        return self._process is not None

    def start(self) -> None:
        """Returns when it answers; on the same port with the same data as before."""
        process = self._ours("started")
        process.start()
        wait_until(lambda: self.answers() or not process.alive, self.start_s)
        if process.alive and self.answers():
            return
        how = f"did not answer within {self.start_s:g} s" if process.alive else "ended at once"
        tail = process.log_tail()
        process.kill()
        raise ServiceBroken(
            f"{self.name} at {self.url} {how}. The last lines of its log say why:\n{tail}"
        )

    def stop(self) -> None:
        """In good order."""
        self._ours("stopped").stop()

    def kill(self) -> None:
        """By SIGKILL."""
        self._ours("killed").kill()

    def restart(self) -> None:
        """In good order, on the same port with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """The end of it and of its data, where it is ours."""
        if self._process is not None:
            self._process.close()

    def let_go(self) -> None:
        """It lives on for those who hold a lease on its folder, see `sharing`."""
        if self._process is not None:
            self._process.let_go()

    def __enter__(self) -> Self:
        if self._process is not None and not self._process.alive:
            try:
                self.start()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ours(self, done: str) -> KeptProcess:
        if self._process is None:
            raise NotOurs(
                f"{self.name} at {self.url} was given by its address and is not to be {done} from "
                "here: tests that do so ask for a server of their own."
            )
        return self._process
