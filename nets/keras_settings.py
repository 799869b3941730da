"""The settings of Keras that this project needs, which apply when this module is imported.

Keras reads its defaults from `keras.json` in ~/.keras or in the folder `KERAS_HOME`. With another
order of the channels, the networks cannot be built; with another epsilon or type, their results
differ.
"""

import keras

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"Keras runs on {keras.config.backend()}, but this project needs TensorFlow: import nets "
        "before keras, or set KERAS_BACKEND=tensorflow"
    )
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
