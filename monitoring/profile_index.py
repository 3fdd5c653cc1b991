"""The index of profiled decisions: what has been counted, and in which files it is.

The index is the truth: a file that it does not name does not count. It is replaced in one step, after the files that
it names anew are written, so that whoever dies leaves either the state before or the one after.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import msgspec

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import write_atomically
from monitoring.log_reader import Mark
from monitoring.profiles import Profile, from_bytes, to_bytes
from monitoring.segments import EDGES, Segment

MADE_AS = f"1, score bands cut at {EDGES}"
"""What profiles are made of; those that were made otherwise are made again from the log."""
_NAME = "index.json"
_SUFFIX = ".cells"
_SWEEP_AFTER = 3600  # s; a reader that has just read the index before this one still finds its files
_logger = logging.getLogger(__name__)

Cells = dict[Segment, Profile]


class Hour(msgspec.Struct):
    """What of an hour is profiled: the first `rows` decisions in the log's order, up to a mark.

    Parameters
    ----------
    file : str
        Empty once its day has taken it over for good.
    """

    rows: int
    last: Mark
    file: str


class Day(msgspec.Struct):
    """The hours of a day, UTC, by ``00`` to ``23``, and once it is over the file with all of them merged."""

    hours: dict[str, Hour] = {}
    file: str = ""

    @property
    def rows(self) -> int:
        """Decisions of the day."""
        return sum(hour.rows for hour in self.hours.values())


class Index(msgspec.Struct):
    """All days, by ``YYYY-MM-DD``."""

    made_as: str = MADE_AS
    days: dict[str, Day] = {}

    def files(self) -> set[str]:
        """Return the names of all files that count."""
        names = {day.file for day in self.days.values()}
        return (names | {hour.file for day in self.days.values() for hour in day.hours.values()}) - {""}


class _Cell(msgspec.Struct):
    segment: Segment
    profile: bytes


_cells = msgspec.msgpack.Decoder(list[_Cell])


def read_index(folder: Path) -> Index:
    """Return the index of a folder; an empty one if there is none, it is damaged, or profiles are made otherwise.

    What an index does not name is made again from the log.

    Raises
    ------
    UnavailableError
        If it cannot be read.
    """
    path = folder / _NAME
    try:
        index = msgspec.json.decode(path.read_bytes(), type=Index)
    except FileNotFoundError:
        return Index()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _logger.warning("%s is damaged (%s): all is profiled again", path, error)
        return Index()
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from None
    return index if index.made_as == MADE_AS else Index()


def write_index(folder: Path, index: Index) -> None:
    """Replace the index in one step."""
    write_atomically(folder / _NAME, msgspec.json.encode(index))


def write_cells(folder: Path, name: str, cells: Mapping[Segment, Profile]) -> str:
    """Write the profiles of disjoint segments to a new file, and return its name, which begins as given."""
    file = f"{name}-{uuid4().hex[:12]}{_SUFFIX}"
    content = [_Cell(segment, to_bytes(profile)) for segment, profile in cells.items()]
    write_atomically(folder / file, msgspec.msgpack.encode(content))
    return file


def read_cells(folder: Path, file: str) -> Cells:
    """Return the profiles of a file by segment.

    Raises
    ------
    InputError
        If it is missing or damaged; it is then made again from the log by the next run.
    """
    path = folder / file
    try:
        content = _cells.decode(path.read_bytes())
        return {cell.segment: from_bytes(cell.profile, str(path)) for cell in content}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): profile again") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, InputError) as error:
        path.unlink(missing_ok=True)  # what is not there is made again
        raise InputError(f"{path} was damaged ({error}) and is removed: profile again") from None


def sweep(folder: Path, index: Index) -> None:
    """Remove what does not count: files of runs that died, and those that were replaced an hour ago or before."""
    named = index.files()
    for path in folder.glob(f"*{_SUFFIX}*"):
        if path.name not in named and path.stat().st_mtime < time.time() - _SWEEP_AFTER:
            path.unlink()
