"""Takes scaled images; returns features of strides 8, 16 and 32.

There is one module per family. All modules of this package are imported, which registers their
backbones. To add a backbone, add a module.
"""

import importlib
import pkgutil

from nets.backbones.registry import (
    BackboneSpec,
    build_backbone,
    build_classifier,
    convention_named,
    list_backbones,
    register,
    resolve,
    usable_width,
)
from nets.conventions import Convention

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = [
    "BackboneSpec",
    "Convention",
    "build_backbone",
    "build_classifier",
    "convention_named",
    "list_backbones",
    "register",
    "resolve",
    "usable_width",
]
