"""Importing Feast in a second: its classes are checked where they are made, and not at each call.

Feast has typeguard rewrite every method of its classes when it is imported, which takes three seconds of each command
(agronholm/typeguard#468). What people hand to Feast, they hand to constructors, in the definitions: these stay checked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from typing import Any


class _BeforeFeast(MetaPathFinder):
    """Is asked for Feast before anybody finds it, and finds nothing itself. So who needs no Feast pays for nothing."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> None:
        """Have Feast take its `typechecked` from here."""
        if fullname == "feast":
            sys.meta_path.remove(self)
            import typeguard

            typeguard.typechecked = _constructors_of_feast(typeguard.typechecked)


def _constructors_of_feast(typechecked: Callable[..., Any]) -> Callable[..., Any]:
    def checked(target: Any = None, **options: Any) -> Any:
        if not isinstance(target, type) or target.__module__.partition(".")[0] != "feast":
            return typechecked(target, **options)
        if "__init__" in vars(target):
            target.__init__ = typechecked(target.__init__)  # type: ignore[misc]
        return target

    return checked


def hasten() -> None:
    """Do so for an import of Feast that is still to come."""
    if "feast" not in sys.modules:
        sys.meta_path.insert(0, _BeforeFeast())
