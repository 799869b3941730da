# Serves an exported model on the processor: see docs/serving.md. Not root, and nothing is written, so the
# root may be read-only.
#
#   docker build --tag swapyolo .
#   docker run --read-only --publish 127.0.0.1:8000:8000 \
#     --volume "$PWD/detector-float32.onnx:/models/detector.onnx:ro" swapyolo
FROM python:3.12-slim

# The package of requirements-export.txt that runs the format: onnxruntime, openvino or ai-edge-litert.
ARG RUNTIME=onnxruntime

WORKDIR /app
COPY requirements.txt requirements-export.txt requirements-serve.txt ./
# No TensorFlow: exported models do not need it. OpenCV without windows needs no libraries of X. The font
# of the labels is in Matplotlib.
RUN grep -E '^(defusedxml|matplotlib|numpy|opencv-python|pillow|tqdm)==' requirements.txt \
      | sed 's/^opencv-python==/opencv-python-headless==/' > requirements-image.txt \
    && grep "^${RUNTIME}==" requirements-export.txt >> requirements-image.txt \
    && pip install --no-cache-dir -r requirements-serve.txt -r requirements-image.txt

COPY serve.py ./
COPY nets ./nets
COPY utils ./utils
RUN python -m compileall -q nets utils serve.py

USER 10001:10001
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=35s --start-period=30s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=30)"]
ENTRYPOINT ["python", "serve.py", "--host", "0.0.0.0"]
CMD ["--model", "/models/detector.onnx"]
