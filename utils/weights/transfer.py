"""Carrying weights from one model into another, by the names of their layers."""

import keras


def copy_by_name(source: keras.Model, target: keras.Model) -> tuple[list[str], list[str]]:
    """Copy the weights of every layer of `target` that `source` has under the same name.

    Layers that only `source` has, such as a classifier's, are left alone.

    Returns:
        Names of the layers copied, and of those with weights that `source` lacks.

    Raises:
        ValueError: a layer has other weights in `source` than in `target`; names it, and copies
            nothing.
    """
    sources = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    targets = [layer for layer in target.layers if layer.weights]
    matched = [layer for layer in targets if layer.name in sources]
    for layer in matched:
        theirs = [weight.shape for weight in sources[layer.name]]
        ours = [tuple(weight.shape) for weight in layer.weights]
        if theirs != ours:
            raise ValueError(f"layer {layer.name}: weights are {theirs}, expected {ours}")
    for layer in matched:
        layer.set_weights(sources[layer.name])
    missing = [layer.name for layer in targets if layer.name not in sources]
    return [layer.name for layer in matched], missing


def weights_by_key(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights of a model and of the models in it, by "layer/index of the weight"."""
    weights = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            weights |= weights_by_key(layer)
        else:
            weights |= {f"{layer.name}/{i}": weight for i, weight in enumerate(layer.weights)}
    return weights
