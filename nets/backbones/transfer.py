"""Carrying weights from a model of keras.applications into a backbone."""

import keras


def copy_by_name(source: keras.Model, target: keras.Model) -> tuple[list[str], list[str]]:
    """Copy the weights of every layer of `target` that `source` has under the same name.

    Layers that only `source` has, such as a classifier's, are left alone.

    Returns:
        Names of the layers copied, and of those with weights that `source` lacks.

    Raises:
        ValueError: a layer has other weights in `source` than in `target`; names it.
    """
    sources = {layer.name: layer for layer in source.layers if layer.weights}
    loaded, missing = [], []
    for layer in target.layers:
        if not layer.weights:
            continue
        if layer.name not in sources:
            missing.append(layer.name)
            continue
        weights = sources[layer.name].get_weights()
        theirs, ours = [w.shape for w in weights], [tuple(w.shape) for w in layer.weights]
        if theirs != ours:
            raise ValueError(f"layer {layer.name}: weights are {theirs}, expected {ours}")
        layer.set_weights(weights)
        loaded.append(layer.name)
    return loaded, missing
