"""Everything inside the graph: takes images and ground truth, returns losses and boxes."""

import os

# Keras reads this when it is imported. It takes precedence over ~/.keras/keras.json.
os.environ["KERAS_BACKEND"] = "tensorflow"
