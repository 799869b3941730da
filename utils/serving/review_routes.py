"""The routes of the page that shows the mistakes in a dataset."""

import uuid
from threading import Semaphore
from typing import Annotated, Any, Literal, get_args

import cv2
from fastapi import APIRouter, Query, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from utils.data.encoding import encode_image
from utils.data.images import read_image
from utils.errors import UserError
from utils.evaluation.mistake_kinds import Kind
from utils.evaluation.settings import MATCH_IOU
from utils.inference.detections import to_json
from utils.serving.refusals import Refusal
from utils.serving.review import Review, Reviewed
from utils.serving.service import Service
from utils.text import printable

KINDS = get_args(Kind)
Chosen = Literal["all", "any", "missed", "false", "confused", "placed"]
LARGEST_PAGE = 60  # images
THUMBNAIL = 480  # pixels of the longer side
DECODING = Semaphore(2)  # large photos at once would take gigabytes
NO_DATA = "no dataset to review, start serve.py with --data DIR, a VOC folder"


def make_router(service: Service) -> APIRouter:
    """Makes the routes; without a dataset they answer with 404."""
    router = APIRouter(prefix="/review")
    data = service.settings.data
    review = Review(service, data) if data else None
    classes = service.network.metadata.classes
    start = uuid.uuid4().hex  # after a restart, an index may mean another image

    def started() -> Review:
        if review is None:
            raise Refusal(404, "not_found", NO_DATA)
        review.start()
        return review

    @router.get("", summary="The review of the dataset of --data: progress and number of mistakes")
    def state() -> JSONResponse:
        return JSONResponse(_state(started(), service))

    @router.get("/images", summary="Images of the dataset with ground truth and detections")
    def images(
        kind: Chosen = "all",
        label: str = "",
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 24,
    ) -> JSONResponse:
        found = choose(list(started().results.values()), kind, label, classes)
        page = [_entry(each, classes) for each in found[offset : offset + limit]]
        return JSONResponse({"total": len(found), "images": page})

    @router.get("/images/{index}", summary="An image of the dataset as a small JPEG")
    def image(request: Request, index: int) -> Response:
        samples = started().samples
        if not 0 <= index < len(samples):
            raise HTTPException(404, "no such image")
        # The page asks again and again while predictions come; the image is made only once.
        headers = {"Cache-Control": "private, no-cache", "ETag": f'"{start}-{index}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        sample = samples[index]
        scale = min(1.0, THUMBNAIL / max(sample.height, sample.width))
        size = [max(1, round(side * scale)) for side in (sample.height, sample.width)]
        try:
            with DECODING:
                pixels = read_image(sample.image, tuple(size), (sample.height, sample.width))
        except (UserError, OSError) as error:
            raise HTTPException(404, printable(str(error))) from error
        small = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
        return Response(encode_image(small, ".jpg"), media_type="image/jpeg", headers=headers)

    return router


def choose(
    results: list[Reviewed], kind: Chosen, label: str, classes: tuple[str, ...]
) -> list[Reviewed]:
    """Returns the images with some mistakes, those with the largest of them first.

    Args:
        results: The images.
        kind: A kind of mistake; `any` for all kinds, `all` also for images without a mistake.
        label: Name of a class that the object or the detection must have; empty for all classes.
        classes: Names of the classes, by label.
    """
    ranked = []
    for each in results:
        sizes = [
            mistake.size
            for mistake in each.mistakes
            if kind in ("all", "any", mistake.kind)
            and (not label or label in _labels(each, mistake.object, mistake.detection, classes))
        ]
        if kind == "all" and not sizes:
            labels = (*each.sample.labels, *each.detections.labels)
            if label and label not in (classes[index] for index in labels):
                continue
        elif not sizes:
            continue
        ranked.append((-max(sizes, default=0.0), each.index, each))
    return [each for _, _, each in sorted(ranked, key=lambda entry: entry[:2])]


def _labels(
    each: Reviewed, index: int | None, detection: int | None, classes: tuple[str, ...]
) -> list[str]:
    labels = [] if index is None else [each.sample.labels[index]]
    labels += [] if detection is None else [each.detections.labels[detection]]
    return [classes[label] for label in labels]


def _state(review: Review, service: Service) -> dict[str, Any]:
    counts = dict.fromkeys(KINDS, 0)
    for each in list(review.results.values()):
        for mistake in each.mistakes:
            counts[mistake.kind] += 1
    return {
        "data": printable(str(review.data)),
        "state": review.state,
        "done": len(review.results) + review.skipped,
        "total": len(review.samples),
        "mistakes": counts,
        "classes": list(service.network.metadata.classes),
        "conf": service.network.thresholds.confidence,
        "iou": MATCH_IOU,
        "faults": [printable(line) for line in review.faults],
        "error": printable(review.error),
    }


def _entry(each: Reviewed, classes: tuple[str, ...]) -> dict[str, Any]:
    sample = each.sample
    objects = zip(sample.labels, sample.boxes.tolist(), sample.difficult.tolist(), strict=True)
    return {
        "index": each.index,
        **to_json(
            printable(sample.image.name), (sample.height, sample.width), each.detections, classes
        ),
        "objects": [
            {"label": classes[label], "box": box, "difficult": difficult}
            for label, box, difficult in objects
        ],
        "mistakes": [
            {
                "kind": mistake.kind,
                "size": round(mistake.size, 4),
                "object": mistake.object,
                "detection": mistake.detection,
            }
            for mistake in each.mistakes
        ],
    }
