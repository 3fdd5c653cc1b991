"""API keys: made once, shown once, kept as digests.

They are in one file of the home, beside ``champion.json``: every machine that serves a home reads its
champion and bundles from there, so that a key reaches them all without another server that a request
would have to wait for. SHA-256 is enough, and a slow hash would only slow the service: the secret is 256
random bits, so that there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home, write_atomically
from feature_repo.locking import lock
from services.scoring.door.scopes import SCOPES, Need, Scope

_PREFIX = "candor_"
_ID_LENGTH = 12
_LOOK_EVERY = 0.5
_logger = logging.getLogger(__name__)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key.

    Parameters
    ----------
    id : str
        Part of the key that may be shown and logged.
    digest : str
        SHA-256 of the whole key, hexadecimal.
    expires_at, revoked_at : datetime or None
        UTC; None for never.
    rate : float or None
        Requests a second over all workers; None for the service's own limit.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    digest: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rate: float | None = None

    def allows(self, need: Need) -> bool:
        """Tell whether the key opens what needs this."""
        return need == "any" or need in self.scopes or "admin" in self.scopes

    def state(self, now: datetime) -> str:
        """Return ``revoked``, ``expired`` or ``active``."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= now else "active"


class KeyFile:
    """The keys of a home.

    Parameters
    ----------
    home : Home
        Nothing is read or written before it is asked for.
    """

    def __init__(self, home: Home) -> None:
        self.path = home.root / "keys.json"

    def read(self) -> list[ApiKey]:
        """Return all keys, revoked ones too, in the order they were made.

        Raises
        ------
        UnavailableError
            If the file cannot be read, or is damaged.
        """
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[ApiKey])
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UnavailableError(f"cannot read {self.path}: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnavailableError(f"{self.path} is damaged ({error}): delete it and create keys again") from None

    def create(
        self,
        name: str,
        scopes: Sequence[Scope],
        expires_at: datetime | None = None,
        rate: float | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; return what is kept of it, and the key itself, which is kept nowhere.

        Raises
        ------
        InputError
            If the name is empty, a scope unknown or missing, or the key would have expired already.
        """
        now = datetime.now(UTC)
        if not name.strip() or not name.isprintable():
            raise InputError("a key needs a name, in printable characters")
        if not scopes or not set(scopes) <= set(SCOPES):
            raise InputError(f"a key needs at least one scope, and no other than {', '.join(SCOPES)}")
        if expires_at is not None and expires_at <= now:
            raise InputError(f"--expires {expires_at.isoformat()} is in the past")
        with self._locked() as keys:
            taken = {key.id for key in keys}
            identity = next(made for made in iter(lambda: secrets.token_hex(_ID_LENGTH // 2), "") if made not in taken)
            key = f"{_PREFIX}{identity}_{secrets.token_urlsafe(32)}"
            made = ApiKey(
                id=identity,
                name=name.strip(),
                scopes=tuple(dict.fromkeys(scopes)),
                digest=_digest(key.encode()).hex(),
                created_at=now,
                expires_at=expires_at,
                rate=rate,
            )
            self._write([*keys, made])
        return made, key

    def revoke(self, identity: str) -> ApiKey:
        """Make a key worthless from now on.

        Raises
        ------
        InputError
            If there is no such key.
        """
        with self._locked() as keys:
            found = next((key for key in keys if key.id == identity), None)
            if found is None:
                raise InputError(f"no key has the ID {identity!r}: see `candor keys list`")
            revoked = msgspec.structs.replace(found, revoked_at=found.revoked_at or datetime.now(UTC))
            self._write([revoked if key is found else key for key in keys])
        return revoked

    def _write(self, keys: Sequence[ApiKey]) -> None:
        write_atomically(self.path, msgspec.json.format(msgspec.json.encode(keys)), mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[list[ApiKey]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            place = self.path.with_name("keys.lock")
            with place.open("ab") as stream:
                lock(stream, place)
                yield self.read()
        except OSError as error:
            raise UnavailableError(f"cannot write {self.path}: {error.strerror}") from None


class KeyRing:
    """The keys in force, looked up again twice a second, and when a key is presented that is none of them.

    While the file cannot be read the keys known last stay in force; a file that is gone holds none.

    Parameters
    ----------
    file : KeyFile
        Read at the first request, and whenever it has changed.
    """

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._keys: dict[bytes, tuple[ApiKey, bytes]] = {}
        self._mark: tuple[int, int, int] | None = None
        self._looks_at = 0.0

    def find(self, presented: bytes) -> ApiKey | None:
        """Return the key that was presented, expired or revoked ones too; None if it is none of ours."""
        identity = presented[len(_PREFIX) : len(_PREFIX) + _ID_LENGTH]
        if time.monotonic() >= self._looks_at or identity not in self._keys:  # a new key works at once
            self._look()
        found = self._keys.get(identity)
        if found is None or not hmac.compare_digest(_digest(presented), found[1]):
            return None
        return found[0]

    def _look(self) -> None:
        self._looks_at = time.monotonic() + _LOOK_EVERY
        try:
            stat = self._file.path.stat()
            mark = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        except FileNotFoundError:
            mark = None
        except OSError as error:
            _logger.error("keys not read: %s", error.strerror)
            return
        if mark == self._mark:
            return
        try:
            self._keys = {key.id.encode(): (key, bytes.fromhex(key.digest)) for key in self._file.read()}
            self._mark = mark
        except UnavailableError as error:
            _logger.error("keys not read: %s", error)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
