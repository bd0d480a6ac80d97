"""`/docs` without the internet: Swagger UI (Apache-2.0, 5.35.0, vendored in docs/) over our own /openapi.json."""

from importlib import resources
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

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
        _folder() / "index.html",
        headers={"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"},
    )


def mount_docs(app: FastAPI) -> None:
    """The page and what it loads."""
    app.include_router(router)
    app.mount("/docs", StaticFiles(directory=_folder()), name="docs")


def _folder() -> Path:
    with resources.as_file(resources.files("services.api") / "docs") as folder:
        return folder
