"""What a misspelt name may have meant."""

from __future__ import annotations

from collections.abc import Iterable

_LOOKED_AT = 1000
_SHOWN = 20


class Nearness:
    """Answers for one document: comparing names is slow, so only the first few questions get near names."""

    def __init__(self, questions: int = 20) -> None:
        self._left = questions

    def advice(self, name: str, known: Iterable[str], *, otherwise: str = "none is known") -> str:
        """``near it: ...``, else what is known, else *otherwise*."""
        from difflib import get_close_matches

        listed = sorted(known)
        if not listed:
            return otherwise
        if self._left > 0:
            self._left -= 1
            near = get_close_matches(name[:100], listed[:_LOOKED_AT], n=3)
            if near:
                return f"near it: {', '.join(near)}"
        return f"known: {', '.join(listed[:_SHOWN])}{' and more' if len(listed) > _SHOWN else ''}"
