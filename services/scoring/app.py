"""The composition root: everything that the service is made of is put together here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig

from feature_repo.home import Home
from services.scoring.champion import Load, load_champion
from services.scoring.docs import ContractSchema, docs_router
from services.scoring.door.door import Door
from services.scoring.door.keys import KeyFile, KeyRing
from services.scoring.door.policy import DoorPolicy
from services.scoring.door.scopes import Directory
from services.scoring.metrics import Metrics
from services.scoring.problems import to_response
from services.scoring.routes import HANDLERS, straight_to_predict
from services.scoring.sagemaker import SAGEMAKER
from services.scoring.service import ScoringService

_LARGEST_BODY = 64 * 1024
_PUBLISH_EVERY = 1.0
_UNGUARDED = DoorPolicy()


def create_app(
    home: Home,
    load: Load = load_champion,
    policy: DoorPolicy = _UNGUARDED,
    metrics: Metrics | None = None,
    when_ready: Callable[[], None] | None = None,
    writes_apart: bool = False,
) -> Door:
    """Return the scoring application of a home; it starts whether or not model, store and log are there.

    Parameters
    ----------
    load : callable
        Loads the home's champion.
    policy : DoorPolicy
        Who may come in; a server that others can reach gives its own.
    metrics : Metrics or None
        Where to count; None for figures that no other worker shares.
    when_ready : callable or None
        Called once, when it is about to take requests.
    writes_apart : bool
        As for `ScoringService`.

    Raises
    ------
    InputError
        If an address of the home is not one.
    """
    figures = metrics or Metrics()
    service = ScoringService(home, load, metrics=figures, writes_apart=writes_apart)

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        await service.start()
        publishing = asyncio.create_task(_publish(figures))
        if when_ready:
            when_ready()
        try:
            yield
        finally:
            publishing.cancel()
            await service.close()

    app = Litestar(
        route_handlers=[*HANDLERS, *SAGEMAKER, docs_router],
        dependencies={
            "service": Provide(lambda: service, sync_to_thread=False),
            "metrics": Provide(lambda: figures, sync_to_thread=False),
        },
        lifespan=[lifespan],
        exception_handlers={Exception: to_response},
        request_max_body_size=_LARGEST_BODY,
        openapi_config=OpenAPIConfig(
            title="Candor",
            version=version("candor"),
            description="Scores point-of-sale loan applicants by ID and says plainly why.",
            path="/schema",
            render_plugins=[ContractSchema(service.body_schema)],
            use_handler_docstrings=True,
        ),
        logging_config=None,
    )
    straight = {("POST", "/predict"): straight_to_predict(service)}
    return Door(app, Directory(app), KeyRing(KeyFile(home)), policy, figures, straight)


async def _publish(metrics: Metrics) -> None:
    while True:
        metrics.publish()
        await asyncio.sleep(_PUBLISH_EVERY)
