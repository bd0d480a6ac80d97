"""What the catalog knows: models, scenes and runs, in pages; and where a pixel of a run came from.

Every route is a plain function, so that the catalog is asked on a thread and never on the event loop.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from services.api.answers import (
    ModelDetail,
    ModelPage,
    RunAnswer,
    RunDetail,
    RunPage,
    SceneAnswer,
    SceneDetail,
    ScenePage,
)
from services.api.auth import SECURITY, LockedRoute
from services.api.ids import MODEL_ID, SCENE_ID, scene_exactly
from services.api.infer import Windows
from services.api.lineage import LineageAnswer
from services.api.models import model_detail, model_page
from services.api.paging import Cursor, Limit, link_next, read_page, write_cursor
from services.api.problems import problem_responses
from services.core.lineage import trace_pixel
from services.core.records import RunState
from services.core.site import Site

router = APIRouter(route_class=LockedRoute, generate_unique_id_function=lambda route: route.name)

_LOCKED = {"security": SECURITY}
_LISTS = problem_responses(401, 403, 422, 429, 503)
_ONES = problem_responses(401, 403, 404, 422, 429, 503)

SceneId = Annotated[str, Path(pattern=SCENE_ID, description="As `GET /scenes` lists it.")]
ModelId = Annotated[str, Path(pattern=MODEL_ID, description="Name or digest.")]
RunId = Annotated[
    str, Path(pattern=r"^r-[0-9]{8}T[0-9]{6}-[0-9a-f]{6}$", description="Such as r-20260102T030405-a1b2c3.")
]


async def current_site(request: Request) -> Site:
    """The installation that this application serves."""
    site: Site = request.app.state.site
    return site


SiteHere = Annotated[Site, Depends(current_site)]


@router.get("/scenes", tags=["scenes"], summary="Scenes, newest first", responses=_LISTS, openapi_extra=_LOCKED)
def list_scenes(
    request: Request, response: Response, site: SiteHere, limit: Limit = 50, cursor: Cursor = None
) -> ScenePage:
    """Every scene that was ingested here."""
    found = read_page("scenes", cursor, limit, lambda after, count: site.catalog.scenes(limit=count, after=after))
    scenes = [SceneAnswer.of(scene) for scene in found[:limit]]
    onward = write_cursor("scenes", scenes[-1].id) if len(found) > limit else None
    link_next(request, response, onward)
    return ScenePage(scenes=scenes, next=onward)


@router.get("/scenes/{scene_id}", tags=["scenes"], summary="One scene", responses=_ONES, openapi_extra=_LOCKED)
def show_scene(scene_id: SceneId, site: SiteHere) -> SceneDetail:
    """Its grid, bands and footprint."""
    return SceneDetail.of(scene_exactly(site.catalog, scene_id))


@router.get("/runs", tags=["runs"], summary="Runs, newest first", responses=_LISTS, openapi_extra=_LOCKED)
def list_runs(  # noqa: PLR0913, PLR0917  # FastAPI makes a query parameter of each
    request: Request,
    response: Response,
    site: SiteHere,
    limit: Limit = 50,
    cursor: Cursor = None,
    scene_id: Annotated[str | None, Query(pattern=SCENE_ID)] = None,
    state: Annotated[RunState | None, Query(description="Only runs that stand so.")] = None,
) -> RunPage:
    """Every run, or those of one scene or state."""
    found = read_page(
        "runs",
        cursor,
        limit,
        lambda after, count: site.catalog.runs(limit=count, after=after, scene_id=scene_id, state=state),
    )
    runs = [RunAnswer.of(run) for run in found[:limit]]
    onward = write_cursor("runs", runs[-1].id) if len(found) > limit else None
    link_next(request, response, onward)
    return RunPage(runs=runs, next=onward)


@router.get(
    "/runs/{run_id}", tags=["runs"], summary="One run and how far it is", responses=_ONES, openapi_extra=_LOCKED
)
def show_run(run_id: RunId, site: SiteHere) -> RunDetail:
    """Its tiles and units, and what it published."""
    run = site.catalog.run(run_id)
    return RunDetail.of_run(run, site.ledger.progress(run.id), site.catalog.find_product(run.id))


@router.get(
    "/runs/{run_id}/lineage",
    tags=["runs"],
    summary="Where a pixel of a run came from",
    responses=_ONES,
    openapi_extra=_LOCKED,
)
def show_lineage(
    run_id: RunId,
    site: SiteHere,
    lon: Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False, description="Degrees east.")],
    lat: Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False, description="Degrees north.")],
) -> LineageAnswer:
    """Source and checksum, tile, operators, model, code, and the command that repeats it: as `swath lineage` says."""
    trace: dict[str, Any] = trace_pixel(site, run_id, lon=lon, lat=lat)
    return LineageAnswer.model_validate(trace)


@router.get("/models", tags=["models"], summary="Models", responses=_LISTS, openapi_extra=_LOCKED)
def list_models(
    request: Request, response: Response, site: SiteHere, limit: Limit = 50, cursor: Cursor = None
) -> ModelPage:
    """The packages shipped with this Swath, then those registered here, newest first."""
    page = model_page(site, cursor=cursor, limit=limit)
    link_next(request, response, page.next)
    return page


@router.get("/models/{model_id}", tags=["models"], summary="One model", responses=_ONES, openapi_extra=_LOCKED)
def show_model(model_id: ModelId, request: Request, site: SiteHere) -> ModelDetail:
    """Its contract, card, measurements and stages."""
    windows: Windows = request.app.state.windows
    return model_detail(site, windows.shelf.package(model_id))
