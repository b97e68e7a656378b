"""
Where secrets come from: the environment, a folder of files, AWS Secrets Manager.

A source is written ``env:PREFIX``, ``file:FOLDER`` or ``aws-sm:PREFIX``. They are asked in the order
of ``CABLEWAY_SECRETS``, and the first that has a secret gives it. What they gave is guarded
(`cableway.redaction`) before anybody sees it. No message here quotes a secret's value.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cableway.errors import CredentialsError, DefinitionError, Fault, SettingsError, UnavailableError
from cableway.redaction import SHORTEST, Sealed, guard

FOLDER = "/run/secrets"
"""Where Docker mounts secrets, and a Kubernetes pod may."""
MAX_BYTES = 64 * 1024
"""Bytes of a secret; the limit of AWS Secrets Manager."""
OWN = "DATABASE_"
"""No pipeline reads variables that begin so: they name the database that holds Cableway's state."""

Source = Callable[[str], str | None]

_TOO_SHORT = f"has fewer than {SHORTEST} characters, too few to be kept out of logs"


class SecretSources:
    """The sources that *specifications* name. Raise `SettingsError` for one that is none."""

    def __init__(self, specifications: Sequence[str], variables: Mapping[str, str]) -> None:
        self._named = ", ".join(specifications) or "CABLEWAY_SECRETS, which is empty"
        self._sources = [_source(specification, variables) for specification in specifications]

    def find(self, name: str) -> str | None:
        """One secret, guarded from now on; None where no source has it.

        Raise `SettingsError` for one that is too short to be kept out of logs, and where a source cannot be read;
        `UnavailableError` or `CredentialsError` where it cannot be asked.
        """
        value = self._value(name)
        if value is None:
            return None
        if len(value) < SHORTEST:
            raise SettingsError(f"the secret {name!r} {_TOO_SHORT}")
        guard((value,))
        return value

    def values(self, names: Iterable[str]) -> dict[str, str]:
        """Each secret by its name, guarded from now on.

        Raise `DefinitionError` with every reference that leads nowhere, `UnavailableError` or
        `CredentialsError` where a source cannot be asked.
        """
        found: dict[str, str] = {}
        faults: list[Fault] = []
        for name in sorted(set(names)):
            value = self._value(name)
            if value is None:
                faults.append(_fault(name, f"no secret of this name in {self._named}"))
            elif len(value) < SHORTEST:
                faults.append(_fault(name, _TOO_SHORT))
            else:
                guard((value,))
                found[name] = Sealed(value)
        if faults:
            raise DefinitionError("; ".join(fault.message for fault in faults), faults)
        return found

    def _value(self, name: str) -> str | None:
        for source in self._sources:
            value = source(name)
            if value is not None:
                return value
        return None


def _fault(name: str, why: str) -> Fault:
    return Fault("/secrets", "secret", f"${{secret:{name}}}: {why}")


def _source(specification: str, variables: Mapping[str, str]) -> Source:
    kind, colon, rest = specification.partition(":")
    match kind if colon else "":
        case "env":
            return _Environment(rest, variables)
        case "file":
            return _Folder(rest or FOLDER)
        case "aws-sm":
            return _SecretsManager(rest)
        case _:
            message = f"CABLEWAY_SECRETS: {specification!r} is none of env:PREFIX, file:FOLDER, aws-sm:PREFIX"
            raise SettingsError(message, [Fault("/CABLEWAY_SECRETS", "invalid", message)])


class _Environment:
    """Variables; *prefix* and name make up a variable's name."""

    def __init__(self, prefix: str, variables: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._variables = variables

    def __call__(self, name: str) -> str | None:
        variable = f"{self._prefix}{name}"
        return None if variable.upper().startswith(OWN) else self._variables.get(variable) or None


class _Folder:
    """A folder with a file for each secret. A line break at its end is the editor's, not the secret's."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, name: str) -> str | None:
        if name.startswith(".") or "/" in name:
            return None
        path = os.path.join(self._folder, name)  # noqa: PTH118 - pathlib would be loaded for this alone
        try:
            # Not to be held up by a pipe that somebody has put there.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SettingsError(f"the secret {name!r} in {self._folder} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            return None
        with os.fdopen(handle, "rb") as file:
            try:
                raw = file.read(MAX_BYTES + 1)
            except OSError as error:
                raise UnavailableError(
                    f"the secret {name!r} in {self._folder} cannot be read: {error.strerror}"
                ) from None
        if len(raw) > MAX_BYTES:
            raise SettingsError(f"the secret {name!r} in {self._folder} is larger than {MAX_BYTES >> 10} KiB")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise SettingsError(f"the secret {name!r} in {self._folder} is no UTF-8 text") from None
        return text.removesuffix("\n").removesuffix("\r") or None


class _SecretsManager:
    """AWS Secrets Manager; *prefix* and name make up a secret's id. Region and credentials are boto3's business."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._client: Any = None

    def __call__(self, name: str) -> str | None:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
        except ImportError:
            raise SettingsError(
                "CABLEWAY_SECRETS names aws-sm:, and boto3 is not installed: pip install 'cableway[aws]'"
            ) from None
        reference = f"${{secret:{name}}}"
        try:
            with _without_debug_lines():
                self._client = self._client or _client(boto3)
                found: Any = self._client.get_secret_value(SecretId=f"{self._prefix}{name}")
        except ClientError as error:
            answer: Any = error.response
            code = str(answer.get("Error", {}).get("Code", ""))
            if code in {"ResourceNotFoundException", "InvalidRequestException", "ValidationException"}:
                return None  # not there, or about to be deleted
            raise _refusal(reference, code) from None
        except NoRegionError:
            raise SettingsError("CABLEWAY_SECRETS names aws-sm:, and no region is set: AWS_DEFAULT_REGION") from None
        except NoCredentialsError:
            raise CredentialsError(f"{reference}: AWS Secrets Manager: there are no credentials") from None
        except ValueError as error:  # botocore's word on an endpoint that is none
            raise SettingsError(f"CABLEWAY_SECRETS names aws-sm:, and AWS is not set up for it: {error}") from None
        except BotoCoreError as error:
            # Its message names endpoints and options, never a secret: the call has not been answered.
            raise UnavailableError(f"{reference}: AWS Secrets Manager: {error}") from None
        text = found.get("SecretString")
        return text if isinstance(text, str) and text else None


@contextmanager
def _without_debug_lines() -> Generator[None]:
    """Botocore logs whole answers as DEBUG, and what is in this one is not guarded yet."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.DEBUG))
    try:
        yield
    finally:
        logging.disable(before)


def _client(boto3: Any) -> Any:
    from botocore.config import Config

    limits = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
    return boto3.session.Session().client("secretsmanager", config=limits)


def _refusal(reference: str, code: str) -> CredentialsError | UnavailableError:
    if "Throttling" in code or code in {"InternalServiceError", "ServiceUnavailable", "InternalFailure"}:
        return UnavailableError(f"{reference}: AWS Secrets Manager answers {code}")
    return CredentialsError(f"{reference}: AWS Secrets Manager refuses it: {code}")
