"""The application: one site, one model, and the routes around them. Importing this does nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.api import catalog_routes, health, infer, predict
from services.api.auth import SECURITY_SCHEMES, Door
from services.api.docs_page import mount_docs
from services.api.fast_lane import FastLane
from services.api.gate import Gate
from services.api.infer import Windows
from services.api.keys import KeyRing
from services.api.metrics import Metrics
from services.api.oidc import Provider, TokenCheck
from services.api.options import ApiOptions
from services.api.page_routes import mount_page
from services.api.problems import Problem, add_problem_handlers
from services.api.rate import TokenBuckets
from services.api.readiness import Readiness
from services.api.runtime import Runtime
from services.api.shelf import Shelf
from services.core.catalog.keys import Keys
from services.core.machine import usable_cores
from services.core.settings import Settings
from services.core.site import Site
from services.core.version import code_version


def create_app(site: Site, options: ApiOptions | None = None) -> FastAPI:
    """The application over an open site; the model is loaded when it starts, not here.

    `app.state` holds `site`, `runtime`, `readiness`, `metrics`, `door` and `windows`.

    Raises:
        ConfigError: A setting about callers is wrong.
    """
    options = options or ApiOptions()
    settings = site.settings
    app = FastAPI(
        title="Swath",
        summary="Satellite images and scenes in, classes and maps out.",
        version=code_version(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to an address that the caller's Host header makes up
        # FastAPI would look for an OpenTelemetry provider at each request; /metrics and the access log are ours.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=_lifespan,
    )
    app.state.site = site
    app.state.metrics = Metrics()
    app.state.runtime = Runtime(site, app.state.metrics, threads=_threads(settings))
    app.state.readiness = Readiness(site, app.state.runtime)
    app.state.door = _door(site)
    app.state.windows = Windows(
        site=site,
        shelf=Shelf(site, threads=_threads(settings)),
        max_pixels=settings.api_infer_pixels,
        start_run=options.start_run,
    )
    add_problem_handlers(app)
    for router in (predict.router, catalog_routes.router, infer.router, health.router):
        app.include_router(router)
    mount_docs(app)
    mount_page(app)
    app.add_middleware(FastLane)
    app.add_middleware(Gate, settings=settings, metrics=app.state.metrics, runtime=app.state.runtime)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    runtime: Runtime = app.state.runtime
    await runtime.start()
    try:
        yield
    finally:
        await runtime.stop()


def _threads(settings: Settings) -> int:
    return settings.api_threads or usable_cores()


def _door(site: Site) -> Door:
    """Who is let in, by the settings."""
    settings = site.settings
    limits = None
    if settings.api_rate_per_s is not None:
        limits = TokenBuckets(rate_per_s=settings.api_rate_per_s, burst=settings.api_rate_burst)
    mode = settings.api_auth_mode
    if mode == "none":
        return Door(limits=limits, local_only=settings.api_on_loopback and not settings.api_anonymous)
    if mode == "keys":
        return Door(ring=KeyRing(Keys(site.catalog)), limits=limits)
    provider = Provider(
        issuer=settings.api_oidc_issuer,
        audience=settings.api_oidc_audience,
        jwks_url=settings.api_oidc_jwks_url,
        scope=settings.api_oidc_scope,
    )
    return Door(tokens=TokenCheck(provider), limits=limits)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document with the problem's shape and the ways to say who one is."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        parts = document.setdefault("components", {})
        schemas = parts.setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        parts["securitySchemes"] = SECURITY_SCHEMES
        app.openapi_schema = document
    return app.openapi_schema
