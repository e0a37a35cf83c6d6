"""The app: every route, guarded, over one project; and running it."""

import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from assent import __version__
from assent.collect import sources
from assent.collect.desk import Desk, LookUp
from assent.config.labelling import LabellingSettings
from assent.store import Project
from assent.web.access import AccessRoute, allow
from assent.web.bodies import Problem
from assent.web.guarding import Guard
from assent.web.options import ServeOptions
from assent.web.passwords import Passwords
from assent.web.problems import add_handlers
from assent.web.rendering import STATIC, make_templates
from assent.web.routes import account, labelling, owner, pages, review
from assent.web.state import Server

PATIENCE_SECONDS: Final = 8
"""How long requests that are being answered may take to end once the server is told to stop."""

_MODULES = (labelling, account, review, owner, pages)
_PROBLEMS: Final = {
    400: "not a request",
    401: "no session",
    403: "not allowed",
    404: "no such record",
    409: "in conflict with what is stored",
    413: "too large",
    415: "not JSON",
    422: "not valid",
    429: "too many attempts",
    503: "busy; send it again",
    507: "the disk is full; send it again later",
}


class _App(FastAPI):
    """FastAPI, with the problems that every route may answer described once.

    Given to FastAPI as `responses`, they are made anew for each route at the first request, which
    takes a third of a second.
    """

    def openapi(self) -> dict[str, Any]:
        """The description of the API."""
        if self.openapi_schema is None:
            described = super().openapi()
            schemas = described["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own 422
                schemas.pop(name, None)
            schemas["Problem"] = Problem.model_json_schema()
            body = {"schema": {"$ref": "#/components/schemas/Problem"}}
            for methods in described["paths"].values():
                for operation in methods.values():
                    operation["responses"] |= {
                        str(status): {
                            "description": what,
                            "content": {"application/problem+json": body},
                        }
                        for status, what in _PROBLEMS.items()
                    }
        return self.openapi_schema or {}


def create_app(
    project: Project,
    settings: LabellingSettings,
    options: ServeOptions,
    *,
    seed: int,
    look_up: LookUp | None = None,
    desk: Desk | None = None,
    passwords: Passwords | None = None,
) -> FastAPI:
    """The app over an open project; use it as a context manager of Starlette's, or serve it.

    Args:
        project: open for as long as the app is used.
        settings: how tasks are handed out.
        options: where it is served.
        seed: of the project.
        look_up: what can be looked up about a prompt.
        desk: hands tasks out, if not one made from the settings.
        passwords: hashes passwords, if not with the usual cost.
    """
    looked_up_to = -1

    def more() -> None:
        """Make tasks of comparisons that came since the last time."""
        nonlocal looked_up_to
        newest = project.store.tallies.newest_comparison()
        if newest != looked_up_to:
            sources.waiting_tasks(project.store, settings, seed=seed)
            looked_up_to = newest

    made = desk or Desk(project.store, settings, seed=seed, look_up=look_up, more=more)
    app = _App(
        title="Assent",
        summary="Labelling, dashboards and exports of one project.",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(more),
    )
    app.state.server = Server(
        project, made, options, make_templates(), seed=seed, passwords=passwords
    )
    add_handlers(app)
    app.router.route_class = AccessRoute

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    @allow("annotator")
    def openapi() -> dict[str, Any]:
        """What the API is, for programs."""
        return app.openapi()

    for module in _MODULES:
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Guard, hosts=options.hosts, secure=options.secure)
    return app


def routes_of(app: FastAPI) -> list[APIRoute]:
    """Every route that says who may call it; with the static files, all there are."""
    routes = [*app.routes, *(route for module in _MODULES for route in module.router.routes)]
    return [route for route in routes if isinstance(route, APIRoute)]


def serve(app: FastAPI, options: ServeOptions, sock: socket.socket) -> None:
    """Answer requests on a bound socket until the process is told to stop.

    Told once, it finishes what is being written, refuses what waits, and returns within seconds.
    Whatever still keeps it then, or being told twice, ends the process on the spot: an answer that
    was acknowledged is stored, and the browser sends again what was not.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # it would hold addresses and invitation tokens
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=15,
        limit_concurrency=400,
        h11_max_incomplete_event_size=32_768,
        ssl_certfile=None if options.tls_cert is None else str(options.tls_cert),
        ssl_keyfile=None if options.tls_key is None else str(options.tls_key),
    )
    # uvicorn has shut down in good order by then, and raises the Ctrl-C again.
    with suppress(KeyboardInterrupt):
        _Stoppable(config, app.state.server.project).run(sockets=[sock])


class _Stoppable(uvicorn.Server):
    """Ends within `PATIENCE_SECONDS` of a signal, whatever its threads wait for."""

    def __init__(self, config: uvicorn.Config, project: Project) -> None:
        super().__init__(config)
        self._project = project

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the second time, stop."""
        if self.should_exit:
            _end()
        super().handle_exit(sig, frame)
        self._project.store.database.refuse_writers()
        last = threading.Timer(PATIENCE_SECONDS, _end)
        last.daemon = True
        last.start()


def _end() -> None:
    """End the process without waiting for its threads; as harmless as `kill -9` is."""
    sys.stderr.write("stopped at once; every answer that was acknowledged is stored\n")
    os._exit(0)


def _lifespan(more: Callable[[], object]) -> Any:  # noqa: ANN401 - FastAPI's
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        more()
        yield

    return lifespan
