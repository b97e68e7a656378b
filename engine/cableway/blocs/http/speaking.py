"""The part of a bloc that sends requests: its client, from `open` to `close`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from cableway.blocs.http.options import Auth, as_config, options_of
from cableway.blocs.kinds import Bloc, Ending, Frames, Resources

if TYPE_CHECKING:
    from cableway.blocs.http.client import Client
    from cableway.context import RunContext
    from cableway.settings import HttpSettings


class SpeakingBloc(Bloc):
    """A bloc with the config keys ``auth`` and ``http``. It runs in the async lane alone, where its connections are."""

    lanes: ClassVar[tuple[str, ...]] = ("async",)
    frames: ClassVar[Frames | None] = None

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._settings: HttpSettings | None = None
        self._client: Client | None = None

    def bind(self, resources: Resources) -> None:
        """Send requests where the job may."""
        self._settings = resources.http

    async def open(self, context: RunContext) -> None:
        """Make the client. Raise `DefinitionError` where a credential cannot be sent."""
        from cableway.blocs.http.auth import credentials_of
        from cableway.blocs.http.client import Client

        auth = as_config(Auth, getattr(self.config, "auth", None))
        self._client = Client(options_of(self.config.http), self._settings, credentials=credentials_of(auth, self.name))

    async def close(self, ending: Ending) -> None:
        """Close its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def client(self) -> Client:
        """What sends requests, once the bloc is open."""
        if self._client is None:
            raise RuntimeError(f"bloc {self.name!r} is not open")
        return self._client
