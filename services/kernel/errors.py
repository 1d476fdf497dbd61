"""Every refusal of the house, each with a stable slug and one gRPC status. Raised where it is found out, mapped once.

Workers import this too, so statuses are names here; `rpc.errors` turns them into grpc's own (I8).
"""

from typing import ClassVar


class KeptError(Exception):
    """A refusal that a caller can act on. `slug` is stable and machine-readable; the message names what to do."""

    status: ClassVar[str] = "FAILED_PRECONDITION"

    def __init__(self, slug: str, message: str = "", **facts: object) -> None:
        self.slug = slug
        self.facts = {name: str(value) for name, value in facts.items()}
        super().__init__(message or slug.replace("-", " "))


class Refused(KeptError):
    """The state of things does not allow it."""


class NotFound(KeptError):
    status = "NOT_FOUND"


class Invalid(KeptError):
    """An argument that can never work. `field` is its path in the request."""

    status = "INVALID_ARGUMENT"

    def __init__(self, field: str, message: str) -> None:
        super().__init__("invalid-argument", f"{field}: {message}", field=field)
        self.field = field
        self.description = message


class RequestIdReused(KeptError):
    """The same request id came with another body."""

    status = "ALREADY_EXISTS"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            "request-id-reused",
            "request_id: was used before with another body; use a new one for a new request",
            request_id=request_id,
        )


class VersionConflict(KeptError):
    """Somebody else changed the same stream first; nothing was recorded. Retry."""

    status = "ABORTED"

    def __init__(self, stream: object) -> None:
        super().__init__("version-conflict", "changed by somebody else meanwhile; try again", stream=stream)


class Unavailable(KeptError):
    """Cannot be done now; the same request may be sent again after `retry_after_s` seconds."""

    status = "UNAVAILABLE"

    def __init__(self, slug: str, message: str = "", retry_after_s: float = 0.2, **facts: object) -> None:
        super().__init__(slug, message, **facts)
        self.retry_after_s = retry_after_s


class InDoubt(Unavailable):
    """It may have been recorded or not; sent again, the same request id finds out."""

    def __init__(self, why: str = "") -> None:
        doubt = "it is not known whether this was recorded; send the same again"
        super().__init__("log-in-doubt", f"{why}; {doubt}" if why else doubt)


class Overloaded(Unavailable):
    status = "RESOURCE_EXHAUSTED"


class Unauthenticated(KeptError):
    status = "UNAUTHENTICATED"


class Forbidden(KeptError):
    """The caller is known, and may not do this."""

    status = "PERMISSION_DENIED"


class Misconfigured(KeptError):
    """The process cannot work as it is set up: one message, exit code 78, no restart."""

    exit_code: ClassVar[int] = 78

    def __init__(self, message: str) -> None:
        super().__init__("misconfigured", message)
