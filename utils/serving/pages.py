"""The pages for people: files without a build step, which load nothing from other hosts."""

from importlib.resources import files

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No inline scripts and styles, so that no name of a file or class can become a part of the page.
# Pictures are those of the user, as blobs.
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a new version of the service has a new page
}


def make_router() -> APIRouter:
    """Makes the routes of the page at `/` and of its files, which are read once."""
    router = APIRouter(include_in_schema=False)
    folder = files("utils.serving") / "static"
    contents = {each.name: each.read_bytes() for each in folder.iterdir()}

    def answer(name: str) -> Response:
        kind = TYPES.get(name[name.rfind(".") :])
        if name not in contents or kind is None:
            raise HTTPException(404, "no such file")
        return Response(contents[name], headers={**HEADERS, "Content-Type": kind})

    @router.get("/")
    async def page() -> Response:
        return answer("index.html")

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        return answer(name)

    return router
