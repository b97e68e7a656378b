"""What a request can be refused for: the errors that are the caller's, each with its HTTP status."""

from __future__ import annotations

from collections.abc import Iterable

from cableway.errors import CablewayError, Fault


class RequestError(CablewayError):
    """The request cannot be served as it is; nothing was recorded."""

    code = "bad_request"
    title = "The request is malformed"
    status = 400
    retry = "never"


class UnauthenticatedError(RequestError):
    """Nobody we know signed this. An unknown hook and a wrong signature get the same words."""

    code = "unauthenticated"
    title = "The request is not signed by anyone known here"
    status = 401

    def __init__(self) -> None:
        super().__init__("The webhook's signature is missing, wrong or too old, or there is no such hook.")


class ForeignHostError(RequestError):
    """The Host header names another machine: a page of somebody else's may be asking through a browser."""

    code = "foreign_host"
    title = "This server answers to its loopback names only"
    status = 403


class NotFoundError(RequestError):
    """Nothing lives at this address."""

    code = "not_found"
    title = "Nothing is here"
    status = 404


class MethodError(RequestError):
    """The address exists, but not for this method."""

    code = "method_not_allowed"
    title = "Another method is needed"
    status = 405


class SlowRequestError(RequestError):
    """The body took too long to arrive."""

    code = "request_timeout"
    title = "The body came too slowly"
    status = 408


class TooLargeError(RequestError):
    """The body is over the limit."""

    code = "too_large"
    title = "The body is too large"
    status = 413


class MediaTypeError(RequestError):
    """The body is not plain JSON."""

    code = "media_type"
    title = "The body must be application/json"
    status = 415


class PayloadError(RequestError):
    """The body is JSON, but not what can be made parameters of."""

    code = "payload"
    title = "The payload does not fit"
    status = 422


class KeyReusedError(RequestError):
    """The key was used before, for something else."""

    code = "key_reused"
    title = "The key was used for another body"
    status = 422


class InvalidRequestError(RequestError):
    """A part of the request is not what this address takes; each fault says which."""

    code = "invalid_request"
    title = "The request is invalid"
    status = 422

    def __init__(self, faults: Iterable[Fault]) -> None:
        super().__init__("The request is not what this address takes.")
        self._faults = tuple(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong, place by place."""
        return self._faults


class KeyNeededError(RequestError):
    """No API key, or one that opens nothing; which of these is not said."""

    code = "key_needed"
    title = "An API key is needed"
    status = 401

    def __init__(self) -> None:
        super().__init__("Send a key as 'Authorization: Bearer cw_...'. `cableway keys create` makes one.")


class ForbiddenError(RequestError):
    """The key is known, and does not reach as far as this."""

    code = "forbidden"
    title = "The API key may not do this"
    status = 403


class PreconditionNeededError(RequestError):
    """A change must say which state it is a change of."""

    code = "precondition_needed"
    title = "If-Match is needed"
    status = 428

    def __init__(self) -> None:
        super().__init__("Send the ETag that you have seen as If-Match, so that nobody else's change is lost.")


class TooManyRequestsError(RequestError):
    """This caller asks too often; ``wait_s`` seconds from now it may again."""

    code = "too_many_requests"
    title = "Too many requests"
    status = 429

    def __init__(self, wait_s: float) -> None:
        super().__init__("There were too many requests; wait as long as Retry-After says.")
        self.wait_s = wait_s
