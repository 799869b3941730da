"""The routes of the service."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp

from utils.inference.thresholds import Thresholds
from utils.serving import pages, review_routes, run_curves, v2
from utils.serving.docs_page import docs_page
from utils.serving.gate import Gate, exchange_of, refuse
from utils.serving.metrics import CONTENT_TYPE
from utils.serving.network import Network
from utils.serving.predict_task import (
    PredictSettings,
    PredictTask,
    is_accepted,
    is_multipart,
    prefers_picture,
)
from utils.serving.refusals import FAILED, Refusal, bad_request
from utils.serving.service import Service
from utils.serving.settings import MAX_BOXES, MAX_IMAGES, MEBIBYTE, MEGAPIXEL, ServingSettings
from utils.text import did_you_mean, printable
from utils.version import VERSION

TITLE = "SwapYOLO"
DESCRIPTION = (
    'Detects objects in images. Errors are JSON, `{"error": str}`. Every answer carries an '
    "X-Request-Id, which the log of the service has too."
)
Fraction = Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)]
Boxes = Annotated[int | None, Query(ge=1, le=MAX_BOXES)]
BINARY = {"type": "string", "format": "binary"}
PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {"type": "array", "items": BINARY, "maxItems": MAX_IMAGES}
                    },
                    "required": ["images"],
                }
            },
            "image/*": {"schema": BINARY},
        },
    }
}
CODES = {
    400: "not an image, or a wrong field",
    401: "no valid token",
    413: "too large in bytes or pixels",
    415: "a Content-Type or Content-Encoding that is not supported",
    421: "a Host that is not this machine",
    503: "the queue is full, or the service stops; see Retry-After",
    504: "not answered before the deadline",
}
ERRORS = {code: {"description": text} for code, text in CODES.items()}


def create_app(service: Service) -> ASGIApp:
    """Makes the ASGI application of a service, whose threads must be started."""
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=VERSION,
        docs_url=None,  # it would load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        # Nothing about requests leaves the service, whatever the environment configures.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    _add_error_handlers(app)

    # Before the others: FastAPI tries the routes of each request in this order.
    @app.post("/predict", summary="Detects objects", openapi_extra=PREDICT_BODY, responses=ERRORS)
    async def predict(
        request: Request, conf: Fraction = None, iou: Fraction = None, max_boxes: Boxes = None
    ) -> Response:
        """Detects the objects in an image, the body, or in several, in the field `images`.

        The answer is a list of `{"source", "width", "height", "detections": [{"label", "score",
        "box": [xmin, ymin, xmax, ymax]}]}` with boxes in pixels of the image. With `Accept:
        image/jpeg` it is the image with its detections.
        """
        _check_query(request, ("conf", "iou", "max_boxes"))
        settings = _predict_settings(request, service, _merged(service, conf, iou, max_boxes))
        return await service.serve(
            request,
            exchange_of(request.scope).deadline,
            lambda body: PredictTask(body, settings, service.network),
        )

    _add_pages(app, service)
    app.include_router(pages.make_router())
    app.include_router(run_curves.make_router(service.settings.logs))
    app.include_router(review_routes.make_router(service))
    app.include_router(v2.make_router(service))
    return Gate(app, service.settings, service.metrics)


def card(network: Network, settings: ServingSettings) -> dict[str, Any]:
    """Returns what the service says about its model and its limits."""
    metadata, thresholds = network.metadata, network.thresholds
    return {
        "name": v2.MODEL,
        "version": VERSION,
        "backbone": metadata.backbone,
        "yolo": metadata.yolo,
        "classes": list(metadata.classes),
        "input_size": list(metadata.input_size),
        "thresholds": {
            "conf": thresholds.confidence,
            "iou": thresholds.iou,
            "max_boxes": thresholds.max_boxes,
        },
        "nms_in_model": metadata.nms,
        "precision": metadata.precision,
        "runtime": network.runtime,
        "weights": metadata.weights,
        "limits": {
            "megabytes": settings.max_bytes / MEBIBYTE,
            "megapixels": settings.max_pixels / MEGAPIXEL,
            "images": MAX_IMAGES,
            "max_boxes": MAX_BOXES,
            "seconds": settings.timeout,
        },
    }


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(
            docs_page(app.openapi()),
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )

    @app.get("/model", summary="The model: classes, input size, thresholds, precision, limits")
    async def model() -> JSONResponse:
        return JSONResponse(card(service.network, service.settings))

    @app.get("/healthz", summary="Readiness, by running the network", responses=ERRORS)
    async def healthz() -> JSONResponse:
        await service.check_ready()
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", summary="Metrics for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _merged(
    service: Service, conf: float | None, iou: float | None, max_boxes: int | None
) -> Thresholds:
    """Returns the thresholds of a request, with those of the service where it has none."""
    default = service.network.thresholds
    wanted = Thresholds(
        default.confidence if conf is None else conf,
        default.iou if iou is None else iou,
        default.max_boxes if max_boxes is None else max_boxes,
    )
    service.network.check_thresholds(wanted)
    return wanted


def _predict_settings(
    request: Request, service: Service, thresholds: Thresholds
) -> PredictSettings:
    content_type = request.headers.get("content-type", "")
    if not is_accepted(content_type):
        raise Refusal(
            415,
            "media_type",
            f"Content-Type {printable(content_type)[:50]!r} is not supported, send "
            "multipart/form-data, or an image as image/jpeg for example",
        )
    accept = request.headers.get("accept", "*/*")
    return PredictSettings(
        content_type if is_multipart(content_type) else "",
        thresholds,
        prefers_picture(accept),
        service.settings.max_pixels,
    )


def _check_query(request: Request, known: tuple[str, ...]) -> None:
    for name in request.query_params:
        if name not in known:
            raise bad_request(
                f"unknown parameter {printable(name)[:30]!r}, {did_you_mean(name, known)}"
            )


def _add_error_handlers(app: FastAPI) -> None:
    def handles(kind: type[Exception], make: Callable[[Any], Refusal]) -> None:
        async def handler(request: Request, error: Exception) -> Response:
            response = refuse(request.scope, make(error))
            response.headers.update(getattr(error, "headers", None) or {})  # Allow, of 405
            return response

        app.add_exception_handler(kind, handler)

    handles(Refusal, lambda refusal: refusal)
    handles(ClientDisconnect, lambda _: Refusal(499, "cancelled", "the client has vanished"))
    handles(HTTPException, _refusal_of)
    handles(RequestValidationError, lambda error: bad_request(_first_problem(error)))
    # The gate logs the traceback.
    handles(Exception, lambda _: Refusal(500, "failed", FAILED))


def _refusal_of(error: HTTPException) -> Refusal:
    cause = "not_found" if error.status_code in (404, 405) else "bad_request"
    return Refusal(error.status_code, cause, f"{str(error.detail).lower()}, see /docs")


def _first_problem(error: RequestValidationError) -> str:
    problem = error.errors()[0]
    return f"{problem['loc'][-1]}: {problem['msg'].lower()}"
