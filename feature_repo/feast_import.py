"""Importing Feast in a second: its classes are checked where definitions use them, and not at each call.

Feast has typeguard rewrite every method of its classes when it is imported, which takes three seconds of each command
(agronholm/typeguard#468). What definitions call stays checked: constructors, and what maps the join keys of a view.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from importlib.abc import MetaPathFinder
from typing import Any

_CHECKED = ("__init__", "with_join_key_map")


class _BeforeFeast(MetaPathFinder):
    """Is asked for Feast before anybody finds it, and finds nothing itself. So who needs no Feast pays for nothing."""

    _is_due = True

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> None:
        """Have Feast take its `typechecked` from here."""
        if fullname == "feast" and self._is_due:
            self._is_due = False
            with suppress(ImportError):  # whoever lacks it lacks Feast, and is told so by others
                import typeguard

                typeguard.typechecked = _less_of_feast(typeguard.typechecked)


def _less_of_feast(typechecked: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(typechecked)
    def checked(target: Any = None, **options: Any) -> Any:
        if not isinstance(target, type) or target.__module__.partition(".")[0] != "feast":
            return typechecked(target, **options)
        for name in _CHECKED:
            if name in vars(target):
                setattr(target, name, typechecked(vars(target)[name]))
        return target

    return checked


def hasten() -> None:
    """Do so for an import of Feast that is still to come."""
    if "feast" not in sys.modules and not any(isinstance(finder, _BeforeFeast) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeFeast())
