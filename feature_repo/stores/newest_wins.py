"""Write rows to Redis so that, for each key and view, the newest event time wins whoever writes.

Two ways, both compared by the server and never half done:

- *At once*: one script compares and writes a group of rows. For an event or a few.
- *Watched*: a group's keys are watched and a script only names the rows that are out of date; the
  rest are written as plain commands in a transaction, which Redis refuses if any of those keys
  changed since. Then the group is written at once instead. Plain commands cost Redis about half of
  what a script costs, so this is how many rows are written.

An empty store needs no way of its own: nothing is out of date there, and a push at the same moment
is seen by the watch like any other. Of equal event times the later write wins, so that a
correction replaces what it corrects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from redis import exceptions

from feature_repo.errors import UnavailableError
from feature_repo.stores.resp import Rows, bulk, command

TOGETHER = 64  # WATCH searches the keys already watched, so that larger groups cost more a row
_LANES = 4

_NEWER = """
local function instant(raw)
  local seconds, nanos, at = 0, 0, 1
  while at <= #raw do
    local tag, number, scale, size, byte = string.byte(raw, at), 0, 1, 0, 0
    repeat
      at = at + 1
      byte = string.byte(raw, at)
      size = size + 1
      if size <= 7 then
        number = number + byte % 128 * scale
        scale = scale * 128
      end
    until byte < 128
    at = at + 1
    if size == 10 then number = number - 562949953421312 end  -- two's complement, cut to 49 bits
    if tag == 8 then seconds = number else nanos = number end
  end
  return seconds, nanos
end
local function newer(stored, given)
  if not stored or stored == given then return false end
  local seconds, nanos = instant(stored)
  local given_seconds, given_nanos = instant(given)
  return seconds > given_seconds or (seconds == given_seconds and nanos > given_nanos)
end
"""


class _Script:
    def __init__(self, body: str) -> None:
        self.source = (_NEWER + body).encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def call(self, count: int, keys: memoryview, arguments: list[Any], number: int) -> list[Any]:
        return [b"*%d\r\n" % (3 + count + number), bulk(b"EVALSHA"), bulk(self.sha), bulk(b"%d" % count), keys, *arguments]


_OUT_OF_DATE = _Script("""
local found = {}
for row = 1, #KEYS do
  if newer(redis.call('HGET', KEYS[row], ARGV[1]), ARGV[row + 1]) then found[#found + 1] = row end
end
return found
""")

_WRITE = _Script("""
local field, width, ttl, written = ARGV[1], tonumber(ARGV[2]), ARGV[3], 0
for row = 1, #KEYS do
  local first = 4 + (row - 1) * width
  if not newer(redis.call('HGET', KEYS[row], field), ARGV[first + 1]) then
    redis.call('HSET', KEYS[row], unpack(ARGV, first, first + width - 1))
    if ttl ~= '0' then redis.call('EXPIRE', KEYS[row], ttl) end
    written = written + 1
  end
end
return written
""")


class NewestWins:
    """Write encoded rows through the connections of a redis-py client.

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
        """Write rows of one view; a key occurs once in all batches.

        A group of up to `TOGETHER` rows is there as a whole or not at all. After an error, or the
        end of this process, the same rows may be written again.

        Returns
        -------
        int
            Rows written, the others being older than what is there.

        Raises
        ------
        UnavailableError
            If Redis cannot be reached, does not answer in time or refuses to write.
        """
        groups = ((rows, start) for rows in batches for start in range(0, len(rows), TOGETHER))
        try:
            with self._connections() as connections:
                lanes = [_Lane(connection, progress) for connection in connections]
                # While some groups are asked about, those before them are being written.
                for turn, (rows, start) in enumerate(groups):
                    lane = lanes[turn % _LANES]
                    lane.settle()
                    lane.ask(rows, start)
                    lanes[(turn - _LANES // 2) % _LANES].commit()
                for lane in lanes:
                    lane.commit()
                    lane.settle()
                return sum(lane.written for lane in lanes)
        except exceptions.RedisError as error:
            raise self._unavailable(error) from None

    @contextmanager
    def _connections(self) -> Iterator[list[Any]]:
        connections: list[Any] = []
        try:
            connections += [self._pool.get_connection() for _ in range(_LANES)]
            yield connections
        except BaseException:
            for connection in connections:
                connection.disconnect()  # answers may be under way that nobody will read
            raise
        finally:
            for connection in connections:
                self._pool.release(connection)

    def _unavailable(self, error: Exception) -> UnavailableError:
        # Redis errors may quote what was sent to them, so that none of their text is repeated.
        for kinds, reason in _REASONS:
            if isinstance(error, kinds):
                return UnavailableError(f"online store: Redis at {self._address} {reason}")
        kind = type(error).__name__
        return UnavailableError(f"online store: Redis at {self._address} answered with an error ({kind})")


_REASONS: tuple[tuple[Any, str], ...] = (
    (exceptions.TimeoutError, "gave no answer in time"),
    (exceptions.AuthenticationError, "refuses the credentials"),
    (exceptions.BusyLoadingError, "is still loading its data"),
    (exceptions.ConnectionError, "cannot be reached"),
    (exceptions.OutOfMemoryError, "has no memory left (maxmemory)"),
    (exceptions.ReadOnlyError, "is a replica, which cannot be written to"),
)


class _Lane:
    """One connection and the group of rows that is on its way through it."""

    def __init__(self, connection: Any, progress: Callable[[int], Any] | None) -> None:
        self.written = 0
        self._connection = connection
        self._progress = progress
        self._step: Literal["idle", "asked", "writing", "writing at once"] = "idle"

    def ask(self, rows: Rows, start: int) -> None:
        """Ask which rows of a group are out of date; a batch that is one group is written at once."""
        self._rows, self._start, self._stop = rows, start, min(start + TOGETHER, len(rows))
        self._count = self._stop - start
        if self._count == len(rows):
            self._write_at_once()
            return
        keys = rows.keys.run(start, self._stop)
        stamps: list[Any] = [bulk(rows.stamp_field), rows.stamps.run(start, self._stop)]
        question = _OUT_OF_DATE.call(self._count, keys, stamps, 1 + self._count)
        self._send([b"*%d\r\n" % (1 + self._count), bulk(b"WATCH"), keys, *question])
        self._step = "asked"

    def commit(self) -> None:
        """Take the answer and write the other rows, unless one has changed since."""
        if self._step != "asked":
            return
        self._read()
        try:
            older = set(self._read())
        except exceptions.NoScriptError:
            self._load(_OUT_OF_DATE)
            self.ask(self._rows, self._start)
            self.commit()
            return
        writes = self._rows.writes.run(self._start, self._stop)
        if older:
            writes = self._rows.writes.chosen(self._start, [row not in older for row in range(1, self._count + 1)])
        self._newer = self._count - len(older)
        self._send([command(b"MULTI"), writes, command(b"EXEC")])
        self._step = "writing"

    def settle(self) -> None:
        """Wait until the group is written."""
        if self._step == "idle":
            return
        if self._step == "writing":
            commands = self._newer * (2 if self._rows.key_ttl else 1)
            for _ in range(1 + commands):
                self._read()
            outcome = self._read()
            if outcome is None:
                self._write_at_once()
            else:
                for error in filter(lambda item: isinstance(item, Exception), outcome):
                    raise error
                self.written += self._newer
        if self._step == "writing at once":
            self.written += self._written_at_once()
        self._step = "idle"
        if self._progress:
            self._progress(self._count)

    def _write_at_once(self) -> None:
        rows = self._rows
        head = [bulk(rows.stamp_field), bulk(b"%d" % rows.width), bulk(b"%d" % (rows.key_ttl or 0))]
        arguments = [*head, rows.pairs.run(self._start, self._stop)]
        keys = rows.keys.run(self._start, self._stop)
        self._send(_WRITE.call(self._count, keys, arguments, len(head) + self._count * rows.width))
        self._step = "writing at once"

    def _written_at_once(self) -> int:
        try:
            return int(self._read())
        except exceptions.NoScriptError:
            self._load(_WRITE)
            self._write_at_once()
            return int(self._read())

    def _load(self, script: _Script) -> None:
        self._send([command(b"SCRIPT", b"LOAD", script.source)])
        self._read()

    def _send(self, parts: list[Any]) -> None:
        self._connection.send_packed_command([b"".join(parts)], check_health=False)

    def _read(self) -> Any:
        return self._connection.read_response(disable_decoding=True)
