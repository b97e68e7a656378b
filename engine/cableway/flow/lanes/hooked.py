"""A `WorkerHook` in its worker. What watches the work must not stop it: a hook that raises is not used any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cableway.flow.lanes.loading import resolve

if TYPE_CHECKING:
    from cableway.flow.lanes.loading import Plan


class Hooked:
    """The hook of a pool as one worker has it, where there is one."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._hook: Any = None
        if plan.worker_hook is not None:
            try:
                self._hook = resolve(plan.worker_hook)()
            except Exception:
                self._hook = None

    def enter(self, carrier: Any, job_id: str) -> Any:
        """Watch a unit from now on; what comes back is for `leave`. A hook that cannot is asked again next time."""
        hook = self._hook
        if hook is None or carrier is None:
            return None
        try:
            span = hook.unit(carrier, self._plan.stage, self._plan.bloc, job_id)
            span.__enter__()
        except Exception:
            return None
        return span

    def leave(self, span: Any, error: BaseException | None) -> None:
        """The unit is done, or has raised *error*."""
        if span is None:
            return
        try:
            if error is None:
                span.__exit__(None, None, None)
            else:
                span.__exit__(type(error), error, error.__traceback__)
        except Exception:
            self._hook = None

    def drained(self) -> list[Any]:
        """What has gathered since the last call."""
        hook = self._hook
        try:
            return [] if hook is None else hook.drain()
        except Exception:
            self._hook = None
            return []

    def forget(self) -> None:
        """Use it no more."""
        self._hook = None

    def close(self) -> None:
        """The worker ends; what gathers meanwhile is there to be drained."""
        try:
            if self._hook is not None:
                self._hook.close()
        except Exception:
            self._hook = None
