"""Commands that say who may ask the scoring service for what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from feature_repo.home import Home
from services.commands.console import INSTANT, JSON, Finite, emit, say


@click.group(epilog="Example: candor keys create --name checkout --scope decide")
def keys() -> None:
    """Create, list and revoke the API keys of the scoring service."""


@keys.command(
    epilog="Example: candor keys create --name checkout --scope decide --scope read --expires 2027-01-31 --rate 50"
)
@click.option("--name", required=True, help="Whose key it is.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    metavar="SCOPE",
    help="decide, read, outcomes, push, metrics, or admin for all; repeat for more than one.",
)
@click.option("--expires", type=INSTANT, help="First instant at which it is worthless.")
@click.option("--rate", type=Finite(0, min_open=True), help="Requests a second; default: the service's.")
@JSON
def create(name: str, scopes: tuple[Any, ...], expires: datetime | None, rate: float | None, as_json: bool) -> None:
    """Make a key and show it, once: only its digest is kept."""
    from services.scoring.door.keys import KeyFile

    made, key = KeyFile(Home.resolve()).create(name, scopes, expires, rate)
    if as_json:
        emit({"key": key, **_shown(made)})
    else:
        say(f"key {made.id} for {made.name}: {', '.join(made.scopes)}; it is shown this once")
        click.echo(key)


@keys.command("list", epilog="Example: candor keys list --json")
@JSON
def list_(as_json: bool) -> None:
    """List the keys, revoked and expired ones too; a key itself is not known any more."""
    from services.scoring.door.keys import KeyFile

    rows = [_shown(key) for key in KeyFile(Home.resolve()).read()]
    if as_json:
        emit({"keys": rows})
    elif not rows:
        say("no key yet: candor keys create --name checkout --scope decide")
    for row in [] if as_json else rows:
        until = f", until {row['expires_at']}" if row["expires_at"] else ""
        click.echo(f"{row['id']}  {row['state']:8}  {row['name']}: {', '.join(row['scopes'])}{until}")


@keys.command(epilog="Example: candor keys revoke 3f9c0a1b2c3d")
@click.argument("key_id", metavar="ID")
@JSON
def revoke(key_id: str, as_json: bool) -> None:
    """Make a key worthless; a running service refuses it within a second."""
    from services.scoring.door.keys import KeyFile

    revoked = KeyFile(Home.resolve()).revoke(key_id)
    emit(_shown(revoked)) if as_json else say(f"key {revoked.id} of {revoked.name} is revoked")


def _shown(key: Any) -> dict[str, Any]:
    import msgspec

    row: dict[str, Any] = json.loads(msgspec.json.encode(key))
    del row["digest"]
    return {**row, "state": key.state(datetime.now(UTC))}
