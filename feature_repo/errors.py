"""Errors that a user can act on. Anything else is a defect and keeps its stack trace in the log.

CandorError
├── InputError        what was given is wrong: exit 2, HTTP 422
├── GateError         a check said no: exit 1
└── UnavailableError  a server or a file that must be there is not: exit 1, HTTP 503
"""

from __future__ import annotations


class CandorError(Exception):
    """Base of all errors shown to a user as one line."""

    exit_code = 1


class InputError(CandorError):
    """A file, option or value given by the user is wrong; the message names it."""

    exit_code = 2


class GateError(CandorError):
    """A validation or promotion check failed; nothing downstream was touched."""


class UnavailableError(CandorError):
    """A server or artefact that the command needs is not there; the message says what to do."""
