"""`/docs` without the internet: Swagger UI (Apache-2.0, 5.35.0, vendored in docs/) over our own /openapi.json."""

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from services.api.assets import asset_folder

#: Swagger UI writes style attributes and draws its icons from data: addresses; scripts come from here alone.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def show_docs() -> FileResponse:
    """The page."""
    return FileResponse(
        asset_folder("docs") / "index.html",
        headers={"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"},
    )


def mount_docs(app: FastAPI) -> None:
    """The page and what it loads."""
    app.include_router(router)
    app.mount("/docs", StaticFiles(directory=asset_folder("docs")), name="docs")
