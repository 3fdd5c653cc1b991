"""Read events to push: JSON lines, CSV or Parquet, from a file or standard input."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import InputError
from feature_repo.home import parse_instant

_FLAGS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Events:
    """Events as they were read.

    Parameters
    ----------
    table : pyarrow.Table
        One row an event.
    lines : tuple of int
        Line on which each event ends, from 1; empty for a Parquet file.
    """

    table: Any
    lines: tuple[int, ...] = ()

    def place(self, row: int) -> str:
        """Say where an event is: ``line 3``, or ``row 3`` of a Parquet file, counted from 1."""
        return f"line {self.lines[row]}" if self.lines else f"row {row + 1}"


def read_events(path: str, schema: Any) -> Events:
    """Read events in the columns that they have; which ones they must have, `push` knows.

    Parameters
    ----------
    path : str
        A ``.jsonl``, ``.ndjson``, ``.json`` (one object a line), ``.csv`` or ``.parquet`` file; ``-`` for
        JSON lines on standard input.
    schema : pyarrow.Schema
        Types of known columns; text becomes what it says. Instants are ISO 8601 with a zone.

    Raises
    ------
    InputError
        If the file is not there, not of its kind or without an event, or one event lacks a column that
        others have; the message names line and column.
    """
    if path == "-":
        return _from_lines(sys.stdin.buffer, schema)
    suffix = Path(path).suffix.lower()
    readers: dict[str, Callable[[BinaryIO, Any], Events]] = {
        ".jsonl": _from_lines,
        ".ndjson": _from_lines,
        ".json": _from_lines,
        ".csv": _from_csv,
        ".parquet": lambda stream, _: Events(pq.read_table(stream)),
    }
    if suffix not in readers:
        raise InputError(f"{path}: events come as {', '.join(readers)}")
    try:
        with open(path, "rb") as stream:
            return readers[suffix](stream, schema)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from None
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is no Parquet file ({error})") from None


def _from_lines(stream: BinaryIO, schema: Any) -> Events:
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"line {number}: not JSON ({error})") from None
        except RecursionError:
            raise InputError(f"line {number}: nested too deeply; an event is a flat JSON object") from None
        if not isinstance(row, dict):
            raise InputError(f"line {number}: an event is a JSON object")
        rows.append((number, row))
    return _table(rows, schema, _from_json)


def _from_csv(stream: BinaryIO, schema: Any) -> Events:
    try:
        text = stream.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("a CSV file is UTF-8 text") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="")
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"line {reader.reader.line_num}: not CSV ({error})") from None
    for number, row in rows:
        if "" in row or None in row.values():
            raise InputError(f"line {number}: not as many cells as the header has")
    return _table(rows, schema, _from_text)


def _from_json(value: Any, kind: Any) -> Any:
    """Return the value if it is of this kind; Arrow would cut 1.5 to 1 and take true for 1.0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if pa.types.is_boolean(kind):
        fits = isinstance(value, bool)
    elif pa.types.is_integer(kind):
        fits = number and value == int(value)
    else:
        fits = number if pa.types.is_floating(kind) else isinstance(value, str)
    if not fits:
        raise ValueError(f"{value!r} is no {kind}")
    return value


def _from_text(text: str, kind: Any) -> Any:
    """Return what a cell says; an empty one is null."""
    if not text:
        return None
    if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and ("_" in text or not text.isascii()):
        raise ValueError(f"{text!r} is no {kind}")  # Python would read 1_0 as 10
    if pa.types.is_boolean(kind):
        if text.lower() not in _FLAGS:
            raise ValueError(f"{text!r} is neither true nor false")
        return _FLAGS[text.lower()]
    if pa.types.is_integer(kind):
        return int(text.removesuffix(".0"))  # as pandas writes whole numbers beside a null
    return float(text) if pa.types.is_floating(kind) else text


def _table(rows: list[tuple[int, dict[str, Any]]], schema: Any, read: Callable[[Any, Any], Any]) -> Events:
    if not rows:
        raise InputError("there are no events")
    columns = {}
    for name in dict.fromkeys(name for _, row in rows for name in row):
        if name not in schema.names:
            raise InputError(f"column {name}: unknown (known: {', '.join(schema.names)})")
        kind = schema.field(name).type
        values = []
        for number, row in rows:
            if name not in row:
                raise InputError(f"line {number}, column {name}: missing; null says that it is not known")
            try:
                value = read(row[name], kind) if row[name] is not None else None
                if value is not None and pa.types.is_timestamp(kind):
                    value = parse_instant(value, "event")
                values.append(pa.scalar(value, kind).as_py())
            except (ValueError, OverflowError, pa.ArrowException, InputError):
                raise InputError(f"line {number}, column {name}: {row[name]!r} is no {kind}") from None
        columns[name] = pa.array(values, kind)
    return Events(pa.table(columns), tuple(number for number, _ in rows))
