"""Why a test has no server.

    ServiceError
    ├── ServiceMissing    this machine cannot run it: tests are skipped, or fail on CI
    ├── ServiceBroken     it should run here and does not: tests fail
    └── NotOurs           the server at a given address is not ours to stop

Every message is a sentence with its remedy.
"""


class ServiceError(Exception):
    """Anything that keeps a test from its server."""


class ServiceMissing(ServiceError):
    """This machine lacks what the server needs."""


class ServiceBroken(ServiceError):
    """The server was started, or its address given, and it does not answer."""


class NotOurs(ServiceError):
    """The server came by its address, so somebody else starts and ends it."""
