"""The page at `/`: files as they are, under a policy that lets it load nothing from anywhere else."""

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from services.api.assets import asset_folder

#: Pictures come from data: (maps of /infer) and blob: (the image just dropped); nothing is inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/")
async def show_page() -> FileResponse:
    """The page; open to all, because what it asks for needs a key of its own."""
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return FileResponse(asset_folder("page") / "index.html", headers=headers)


def mount_page(app: FastAPI) -> None:
    """The page and what it loads."""
    app.include_router(router)
    app.mount("/page", StaticFiles(directory=asset_folder("page")), name="page")
