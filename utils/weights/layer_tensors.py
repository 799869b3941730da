"""Tensors by layer: the form in which weights travel between files and networks.

The key of a tensor is "layer/index", the name of its layer and its index in `layer.weights`.
"""

import keras
import numpy as np

# Key -> the name of the tensor in its file, for messages, and its values.
LayerTensors = dict[str, tuple[str, np.ndarray]]


def weights_by_key(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights of a model, nested models included, by key."""
    weights = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            weights |= weights_by_key(layer)
        else:
            weights |= {f"{layer.name}/{i}": weight for i, weight in enumerate(layer.weights)}
    return weights
