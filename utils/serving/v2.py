"""The routes of the open inference protocol, version 2."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from utils.inference.engines.session import expected_dtype, expected_shapes
from utils.inference.metadata import Metadata
from utils.serving.gate import exchange_of
from utils.serving.infer_task import InferTask, output_names
from utils.serving.protocol import DATATYPES, HEADER_LENGTH, INPUT, MODEL, VERSION
from utils.serving.refusals import Refusal
from utils.serving.service import Service
from utils.version import VERSION as PROJECT_VERSION

BINARY_EXTENSION = "binary_tensor_data"
INFER_BODY = {
    "requestBody": {
        "required": True,
        "description": "JSON, and binary tensors after it if the header "
        f"{HEADER_LENGTH} states the length of the JSON",
        "content": {"application/json": {}, "application/octet-stream": {}},
    }
}


def model_card(metadata: Metadata) -> dict[str, Any]:
    """Returns the metadata of the model in the words of the protocol."""
    shapes = expected_shapes(metadata)

    def tensor(name: str) -> dict[str, Any]:
        # Any number of images: the service splits and fills batches itself.
        shape = [-1, *shapes[name][1:]]
        return {"name": name, "datatype": DATATYPES[expected_dtype(name).name], "shape": shape}

    return {
        "name": MODEL,
        "versions": [VERSION],
        "platform": "swapyolo",
        "inputs": [tensor(INPUT)],
        "outputs": [tensor(name) for name in output_names(metadata)],
    }


def make_router(service: Service) -> APIRouter:
    """Makes the routes of a service."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])

    @router.get("", summary="Name, version and extensions of the server")
    async def server() -> JSONResponse:
        return JSONResponse(
            {"name": "swapyolo", "version": PROJECT_VERSION, "extensions": [BINARY_EXTENSION]}
        )

    @router.get("/health/live", summary="Whether the process works")
    async def live() -> Response:
        service.check_alive()
        return Response()

    @router.get("/health/ready", summary="Whether the network computes")
    async def ready() -> Response:
        await service.check_ready()
        return Response()

    @router.get("/models/{name}/ready", summary="Whether the network computes")
    @router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str = VERSION) -> Response:
        _check_model(name, version)
        await service.check_ready()
        return Response()

    @router.get("/models/{name}", summary="Inputs and outputs of the network")
    @router.get("/models/{name}/versions/{version}", include_in_schema=False)
    async def model(name: str, version: str = VERSION) -> JSONResponse:
        _check_model(name, version)
        return JSONResponse(model_card(service.network.metadata))

    @router.post("/models/{name}/infer", summary="Runs the network", openapi_extra=INFER_BODY)
    @router.post("/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer(request: Request, name: str, version: str = VERSION) -> Response:
        _check_model(name, version)
        length = request.headers.get(HEADER_LENGTH)
        network, most = service.network, service.settings.max_pixels
        return await service.serve(
            request,
            exchange_of(request.scope).deadline,
            lambda body: InferTask(body, length, network, most),
        )

    return router


def _check_model(name: str, version: str) -> None:
    if (name, version) != (MODEL, VERSION):
        raise Refusal(
            404, "not_found", f"unknown model, the only one is {MODEL!r}, version {VERSION}"
        )
