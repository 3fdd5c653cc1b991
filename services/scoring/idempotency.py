"""One decision for one idempotency key, however often and however fast it is asked for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from feature_repo.errors import UnavailableError
from monitoring.decision_log import Kept, Key, KeyTakenError
from services.scoring.errors import ConflictError, FieldProblem

LONGEST_KEY = 255
_EXACT = 2**53  # whole numbers up to here are the same as floats


def read_key(client: str, value: str, body: bytes) -> Key:
    """Return a key with the hash of the request that it comes with.

    Two bodies are one request if they are the same JSON: neither space nor the order of the fields
    counts, nor whether a whole number is written with a decimal point.

    Raises
    ------
    FieldProblem
        If the key is not 1 to 255 visible ASCII characters.

    Examples
    --------
    >>> one, other = (read_key("", "k", body) for body in (b'{"a": 1, "b": 2.0}', b'{"b":2,"a":1.0}'))
    >>> one == other
    True
    """
    if not (1 <= len(value) <= LONGEST_KEY and all("!" <= character <= "~" for character in value)):
        raise FieldProblem(("Idempotency-Key", f"Idempotency-Key must be 1 to {LONGEST_KEY} visible ASCII characters"))
    try:
        canonical = msgspec.json.encode(_plain(msgspec.json.decode(body)), order="deterministic")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        canonical = body  # it is going to be refused
    return Key(client, value, hashlib.sha256(canonical).hexdigest())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if type(value) is int and -_EXACT <= value <= _EXACT else value


class Once:
    """Decide once for each key, and answer with that decision from then on.

    Parameters
    ----------
    find : callable
        Reads what the log holds under a client and a key.
    """

    def __init__(self, find: Callable[[str, str], Awaitable[Kept | None]]) -> None:
        self._find = find
        self._running: dict[tuple[str, str], asyncio.Future[None]] = {}

    async def answer(self, key: Key, decide: Callable[[], Awaitable[None]]) -> Kept | None:
        """Return what was answered before under this key; or decide, and return None.

        Of requests that come at once the first decides: within a process the others wait for it,
        and between processes the log takes one of them.

        Parameters
        ----------
        decide : callable
            Decides and commits the decision together with the key.

        Raises
        ------
        ConflictError
            If the key was used for another request.
        """
        async with self._turn(key):
            kept = await self._kept(key)
            if kept is not None:
                return kept
            try:
                await decide()
            except KeyTakenError:
                kept = await self._kept(key)
                if kept is None:
                    raise UnavailableError("the decision under this Idempotency-Key is not in the log") from None
                return kept
            return None

    async def _kept(self, key: Key) -> Kept | None:
        kept = await self._find(key.client, key.value)
        if kept is not None and kept.request_hash != key.request_hash:
            raise ConflictError("this Idempotency-Key was used for another request: use a new one")
        return kept

    @asynccontextmanager
    async def _turn(self, key: Key) -> AsyncIterator[None]:
        name = key.client, key.value
        while name in self._running:
            await asyncio.shield(self._running[name])
        turn = self._running[name] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._running[name]
            turn.set_result(None)
