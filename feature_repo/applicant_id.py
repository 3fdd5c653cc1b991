"""What an applicant's ID may be, in a request as in an event."""

from __future__ import annotations

LONGEST_ID = 128


def id_fault(applicant_id: str) -> str:
    """Say what is wrong with an applicant's ID; empty if nothing is."""
    if not applicant_id.strip():
        return "must not be empty"
    if len(applicant_id) > LONGEST_ID:
        return f"must not be longer than {LONGEST_ID} characters"
    if not applicant_id.isprintable():
        return "must consist of printable characters"
    return ""
