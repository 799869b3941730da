"""The routes of the page for people, whose files are those of `utils.page`."""

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

from utils.page.views import FOLDER, POLICY, service_files

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a new version of the service has a new page
}


def make_router() -> APIRouter:
    """Makes the routes of the page at `/` and of its files, which are read once."""
    router = APIRouter(include_in_schema=False)
    contents = service_files()

    def answer(path: str) -> Response:
        if path not in contents:
            raise HTTPException(404, "no such file")
        kind = TYPES[path[path.rfind(".") :]]
        return Response(contents[path], headers={**HEADERS, "Content-Type": kind})

    @router.get("/")
    async def page() -> Response:
        return answer("index.html")

    @router.get(f"/{FOLDER}{{name}}")
    async def static(name: str) -> Response:
        return answer(f"{FOLDER}{name}")

    return router
