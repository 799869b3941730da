"""Where ImageNet weights of a backbone are published, and what its layers are called."""

from collections.abc import Mapping
from dataclasses import dataclass

PYTORCH = "https://download.pytorch.org/models"
HUGGING_FACE = "https://huggingface.co"


@dataclass(frozen=True)
class KerasApplication:
    """ImageNet weights that Keras downloads itself.

    Attributes:
        name: Function in `keras.applications` that builds the network.
    """

    name: str


@dataclass(frozen=True)
class TorchFiles:
    """ImageNet weights that timm or torchvision publish.

    Attributes:
        library: Key into the conventions of the backbone, `timm` or `torchvision`.
        urls: URL of the file, by width.
    """

    library: str
    urls: Mapping[float, str]


@dataclass(frozen=True)
class LayerNames:
    """What a family of backbones calls its layers; `{}` stands for the name of the block.

    A pair holds the names of a convolution and of its normalization.

    Attributes:
        stem: The first convolution.
        block: Name of a block, from `stage` (1, 2, ...), `letter` (a, b, ... within the stage),
            `index` (0, 1, ... over all stages) and `number` (`index` + 1).
        depthwise: Depthwise convolution of a block.
        project: Last pointwise convolution of a block.
        first: Name of the first block if it does not follow `block`.
        expand: First pointwise convolution of a block, which adds channels.
        squeeze: The two convolutions of squeeze and excitation.
        top: Layers of the classifier, in order.
        repeats: Number of blocks of each stage, for files that do not name stages; empty if there
            are no such files.
    """

    stem: tuple[str, str]
    block: str
    depthwise: tuple[str, str]
    project: tuple[str, str]
    first: str = ""
    expand: tuple[str, str] = ("", "")
    squeeze: tuple[str, str] = ("", "")
    top: tuple[str, ...] = ()
    repeats: tuple[int, ...] = ()
