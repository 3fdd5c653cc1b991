"""Write rows to Redis so that, for each key and view, the newest event time wins whoever writes.

One script compares and writes a group of rows, so that Redis does it in one step. Of equal event times
the later write wins: a correction replaces what it corrects. A row is there as a whole or not at all.

A batch of which Redis seems to know no key yet is written by RESTORE, which costs Redis a fifth of HSET. It
refuses a key that is there, so that a push at the same moment is never overwritten: a refused
row goes through the script like any other.

The script's keys may be of any number, so that rows can be grouped by slot for a Redis Cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from redis import exceptions

from feature_repo.errors import UnavailableError
from feature_repo.stores.protocol import bulk, command
from feature_repo.stores.resp import Packed, Rows
from feature_repo.stores.restore import payloads

TOGETHER = 64  # rows a script call: Redis serves nobody else meanwhile, about a millisecond
_UNDER_WAY = 4

_COMPARE_AND_WRITE = b"""
local byte, call, unpack = string.byte, redis.call, cmsgpack.unpack
local function instant(raw)
  local seconds, nanos, at = 0, 0, 1
  while at <= #raw do
    local tag, number, scale, size, part = byte(raw, at), 0, 1, 0, 0
    repeat
      at = at + 1
      part = byte(raw, at)
      size = size + 1
      if size <= 7 then
        number = number + part % 128 * scale
        scale = scale * 128
      end
    until part < 128
    at = at + 1
    if size == 10 then number = number - 562949953421312 end  -- two's complement, cut to 49 bits
    if tag == 8 then seconds = number else nanos = number end
  end
  return seconds, nanos
end
local function usual_seconds(raw)  -- those from 1978 to 3058 take five bytes; 270549120 is what marks the first four
  local tag, a, b, c, d, e = byte(raw, 1, 6)
  if tag == 8 and e and a > 127 and b > 127 and c > 127 and d > 127 and e < 128 then
    return a + b * 128 + c * 16384 + d * 2097152 + e * 268435456 - 270549120
  end
end
local function newer(stored, given)
  if not stored or stored == given then return false end
  local seconds, given_seconds = usual_seconds(stored), usual_seconds(given)
  if seconds and given_seconds and seconds ~= given_seconds then return seconds > given_seconds end
  local nanos, given_nanos
  seconds, nanos = instant(stored)
  given_seconds, given_nanos = instant(given)
  return seconds > given_seconds or (seconds == given_seconds and nanos > given_nanos)
end
local field, ttl, written = ARGV[1], ARGV[2], 0
for row = 1, #KEYS do
  local key, stamp = KEYS[row], ARGV[2 * row + 1]
  if not newer(call('HGET', key, field), stamp) then
    call('HSET', key, field, stamp, unpack(ARGV[2 * row + 2]))
    if ttl ~= '0' then call('EXPIRE', key, ttl) end
    written = written + 1
  end
end
return written
"""
_CREATE = b"""
local refused = {}
for row = 1, #KEYS do
  if redis.pcall('RESTORE', KEYS[row], ARGV[1], ARGV[row + 1]).err then refused[#refused + 1] = row end
end
return refused
"""


class NewestWins:
    """Write encoded rows through a connection of a redis-py client.

    Parameters
    ----------
    client : redis.Redis
        Its sockets should have timeouts.
    address : str
        What to call the server in an error.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._pool = client.connection_pool
        self._address = address

    def write(self, batches: Iterable[Rows], progress: Callable[[int], Any] | None = None) -> int:
        """Write rows of one view; a key occurs once in a batch.

        After an error, or the end of this process, the same rows may be written again.

        Parameters
        ----------
        progress : callable or None
            Told how many more rows are done.

        Returns
        -------
        int
            Rows written, the others being older than what is there.

        Raises
        ------
        UnavailableError
            If Redis cannot be reached, does not answer in time or refuses to write.
        """
        written = 0
        try:
            with self._connection() as connection, self._connection() as asking, ThreadPoolExecutor(1) as worker:
                # Whoever makes the batches makes the next while one is being sent.
                for rows, hashes in _ahead(worker, (_prepared(asking, rows) for rows in batches)):
                    for done, newer in _write_batch(connection, rows, hashes):
                        written += newer
                        if progress:
                            progress(done)
        except exceptions.RedisError as error:
            raise self._unavailable(error) from None
        return written

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        connection = self._pool.get_connection()
        try:
            yield connection
        except BaseException:
            connection.disconnect()  # answers may be under way that nobody will read
            raise
        finally:
            self._pool.release(connection)

    def _unavailable(self, error: Exception) -> UnavailableError:
        # Redis errors may quote what was sent to them, so that none of their text is repeated.
        reasons = [reason for kind, reason in _REASONS.items() if isinstance(error, kind)]
        reasons += [reason for word, reason in _REFUSALS.items() if word in str(error)]
        reasons += [f"answered with an error ({type(error).__name__})"]
        return UnavailableError(f"online store: Redis at {self._address} {reasons[0]}")


_NO_MEMORY = "has no memory left (maxmemory)"
_REPLICA = "is a replica, which cannot be written to"
_REASONS: dict[type[Exception], str] = {
    exceptions.TimeoutError: "gave no answer in time",
    exceptions.AuthenticationError: "refuses the credentials",
    exceptions.NoPermissionError: "does not permit this user to write",
    exceptions.BusyLoadingError: "is still loading its data",
    exceptions.ConnectionError: "cannot be reached",
    exceptions.OutOfMemoryError: _NO_MEMORY,
    exceptions.ReadOnlyError: _REPLICA,
}
_REFUSALS = {  # words of errors, which come out of a script without a class of their own
    "OOM command": _NO_MEMORY,
    "READONLY": _REPLICA,
    "MISCONF": "cannot save its data, and therefore takes none",
    "WRONGTYPE": "holds something that is not Feast's under the key of a row",
}


_Item = TypeVar("_Item")


def _ahead(worker: Executor, items: Iterator[_Item]) -> Iterator[_Item]:
    following = worker.submit(next, items, None)
    while (item := following.result()) is not None:
        following = worker.submit(next, items, None)
        yield item


def _prepared(connection: Any, rows: Rows) -> tuple[Rows, Packed | None]:
    """Return a batch and, if Redis seems to know none of its keys, its hashes; it may refuse some of them."""
    if len(rows) <= TOGETHER:
        return rows, None
    _send(connection, b"*%d\r\n" % (1 + TOGETHER) + bulk(b"EXISTS") + rows.keys.run(0, TOGETHER))
    return rows, None if _read(connection) else payloads(rows.columns)


def _write_batch(connection: Any, rows: Rows, hashes: Packed | None) -> Iterator[tuple[int, int]]:
    """Write a batch; yield, bit by bit, how many rows are done and how many of those were not out of date."""
    ttl = rows.columns.key_ttl
    if hashes:
        refused: list[int] = []  # there by now; or this Redis knows another format, or takes nothing at all
        for start, stop, answer in _run(connection, _CREATE, rows.keys, [b"%d" % (1000 * ttl)], hashes, 1):
            refused += [start + row - 1 for row in answer]
            created = stop - start - len(answer)
            yield created, created
        if not refused:
            return
        rows = rows.take(refused)
    options = [rows.columns.stamp_field, b"%d" % ttl]
    for start, stop, answer in _run(connection, _COMPARE_AND_WRITE, rows.keys, options, rows.pairs, 2):
        yield stop - start, answer


def _run(
    connection: Any, script: bytes, keys: Packed, options: list[bytes], arguments: Packed, each: int
) -> Iterator[tuple[int, int, Any]]:
    """Call a script for groups of rows, `each` arguments a row; yield what it answers to rows start to stop."""
    name = bulk(hashlib.sha1(script, usedforsecurity=False).hexdigest().encode())
    groups = [(start, min(start + TOGETHER, len(keys))) for start in range(0, len(keys), TOGETHER)]
    while groups:
        unknown = []
        for turn in range(len(groups) + _UNDER_WAY):  # the next calls are sent before the last has answered
            if turn >= _UNDER_WAY:
                start, stop = groups[turn - _UNDER_WAY]
                try:
                    yield start, stop, _read(connection)
                except exceptions.NoScriptError:
                    unknown.append((start, stop))
            if turn < len(groups):
                start, stop = groups[turn]
                count = stop - start
                head = b"*%d\r\n" % (3 + count + len(options) + each * count) + bulk(b"EVALSHA") + name
                parts: list[Any] = [head, bulk(b"%d" % count), keys.run(start, stop), *map(bulk, options)]
                _send(connection, b"".join([*parts, arguments.run(start, stop)]))
        if unknown:  # a server that was restarted, or told to forget its scripts
            _send(connection, command(b"SCRIPT", b"LOAD", script))
            _read(connection)
        groups = unknown


def _send(connection: Any, raw: bytes | memoryview) -> None:
    connection.send_packed_command([raw], check_health=False)


def _read(connection: Any) -> Any:
    return connection.read_response(disable_decoding=True)
