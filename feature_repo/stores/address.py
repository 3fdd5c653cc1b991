"""A Redis address in Feast's form: ``host:port[,db=0][,username=..][,password=..][,ssl=true]``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from feature_repo.errors import InputError

_OPTIONS = {
    "db", "username", "password", "ssl", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs",
    "ssl_check_hostname",
}  # fmt: skip
_OURS = {"socket_timeout", "socket_connect_timeout"}  # a decision has its own deadline


@dataclass(frozen=True)
class RedisAddress:
    """One Redis server. Its text form shows no secret.

    Parameters
    ----------
    options : dict
        Arguments for redis-py: database number, credentials, TLS.
    """

    host: str
    port: int
    options: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str) -> RedisAddress:
    """Parse a Feast connection string; Feast itself reads values as JSON where they are JSON.

    Raises
    ------
    InputError
        If it names no single ``host:port``, or an option that is not known here. The message
        repeats no value, since one of them may be a password.

    Examples
    --------
    >>> address = parse_address("redis.internal:6380,db=2,password=s=cret,ssl=true")
    >>> str(address), address.options["db"], address.options["password"]
    ('redis.internal:6380', 2, 's=cret')
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    hosts = [part for part in parts if "=" not in part]
    if len(hosts) != 1:
        raise InputError(f"a Redis address needs one host:port, not {len(hosts)}: host:port[,db=0][,password=...]")
    host, _, port = hosts[0].rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError("a Redis address starts with host:port, the port being 1..65535")
    options: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or name in _OURS:
            continue
        if name not in _OPTIONS:
            raise InputError(f"Redis option {name!r} is not known: {', '.join(sorted(_OPTIONS))}")
        options[name] = value if name in ("username", "password") else _json_or_text(value)
    if not isinstance(options.get("db", 0), int) or not isinstance(options.get("ssl", False), bool):
        raise InputError("Redis option db is a number and ssl is true or false")
    return RedisAddress(host, int(port), options)


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
