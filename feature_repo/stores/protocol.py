"""Commands in the form that Redis reads them: https://redis.io/docs/latest/develop/reference/protocol-spec/."""

from __future__ import annotations


def bulk(raw: bytes) -> bytes:
    r"""Return one argument of a command.

    Examples
    --------
    >>> bulk(b"HSET")
    b'$4\r\nHSET\r\n'
    """
    return b"$%d\r\n%s\r\n" % (len(raw), raw)


def command(*arguments: bytes) -> bytes:
    r"""Return one whole command.

    Examples
    --------
    >>> command(b"PING")
    b'*1\r\n$4\r\nPING\r\n'
    """
    return b"*%d\r\n" % len(arguments) + b"".join(map(bulk, arguments))
