"""Backbones: a file a family, found by being here.

Every module of this package is imported, and what it registers is known; a new backbone needs
no edit elsewhere.
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
