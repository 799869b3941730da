"""The projects whose weights can be converted, as `convert_weights.py --from` takes them."""

from typing import Literal, get_args

TorchLibrary = Literal["torchvision", "timm"]
Predecessor = Literal["yolo3-efficientnet", "yolo4-mobilenet"]
DetectorOrigin = Literal["darknet", Predecessor]
Origin = Literal[TorchLibrary, DetectorOrigin]

TORCH_LIBRARIES = get_args(TorchLibrary)
ORIGINS = get_args(Origin)
