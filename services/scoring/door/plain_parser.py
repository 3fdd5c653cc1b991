"""A parser for a server that speaks nothing but HTTP/1.1."""

from __future__ import annotations

from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser

_FRAMING = (b"content-length", b"transfer-encoding")


class PlainParser:
    """Parse requests that offer another protocol as those that do not: whoever offers may be ignored (RFC 9110, 7.8).

    httptools ends such a request with its head, so that its body would be lost and then taken for the next request.
    Java's HttpClient offers HTTP/2 with every request.

    Parameters
    ----------
    protocol : HttpToolsProtocol
        Is called as by httptools' parser, but for `on_message_complete` at the end of a head that `has_body_to_come`.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._use(_parser(protocol))

    def _use(self, parser: Any) -> None:
        self._parser = parser
        # What uvicorn asks of a parser, at each head.
        self.get_http_version, self.get_method = parser.get_http_version, parser.get_method
        self.should_upgrade, self.should_keep_alive = parser.should_upgrade, parser.should_keep_alive

    @property
    def has_body_to_come(self) -> bool:
        """Whether a request has ended for httptools, and is only beginning."""
        return self.should_upgrade() and any(name in _FRAMING for name, _ in self._protocol.headers)

    def feed_data(self, data: bytes) -> None:
        """Parse what came."""
        while data:
            try:
                self._parser.feed_data(data)
                return
            except HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
            if self.has_body_to_come:
                lines = [b"%s: %s\r\n" % line for line in self._protocol.headers if line[0] in _FRAMING]
                self._use(_parser(_AfterHead(self._protocol)))
                self._parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(lines) + b"\r\n")


class _AfterHead:
    """Pass on all but the first head."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._is_after = False
        self.on_body = protocol.on_body
        self.on_chunk_header = protocol.on_chunk_header
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if self._is_after:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._is_after:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_after:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_after:
            self._protocol.on_headers_complete()
        self._is_after = True


def _parser(target: Any) -> Any:
    parser = HttpRequestParser(target)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
    return parser
