# `make demo` and `make test` work on a fresh clone; they need Python 3.11 to 3.13, make and git.
.DEFAULT_GOAL := help
.PHONY: help venv demo serve test lint format lock audit

VENV := .venv
PYTHON := $(VENV)/bin/python
# Lock files pin all requirements, and theirs, with the hashes of their files. pip refuses other files. It
# builds nothing from source, so that no code of a package runs while it is installed.
PIP_OPTIONS := --quiet --disable-pip-version-check --require-hashes --only-binary :all:
PIP_INSTALL := $(PYTHON) -m pip install $(PIP_OPTIONS)
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

$(RUNTIME): locks/requirements.lock | $(PYTHON)
	$(PIP_INSTALL) -r $<
	@touch $@

# torch reads checkpoints and runs the reference networks. Its default build for Linux downloads gigabytes
# of CUDA, so only the CPU build is installed. If the index has none, tests that need torch are skipped.
$(DEV): locks/requirements-dev.lock locks/no-deps.lock locks/opencv4.lock locks/torch.lock $(RUNTIME)
	$(PIP_INSTALL) -r locks/requirements-dev.lock
	$(PIP_INSTALL) --no-deps -r locks/no-deps.lock
	$(PIP_INSTALL) --no-deps --target $(VENV)/opencv4 --upgrade -r locks/opencv4.lock
	@$(PIP_INSTALL) --no-deps -r locks/torch.lock 2> $(VENV)/torch.log || { \
	  grep -q 'No matching distribution' $(VENV)/torch.log || { cat $(VENV)/torch.log >&2; exit 1; }; \
	  echo "this package index has no CPU build of torch: tests that need torch are skipped"; }
	@touch $@

# Each demo has its own run directory, which also holds its pictures and tables.
DEMO := logs/demo-$(shell date +%Y%m%d-%H%M%S)
DEMO_DATA := VOCdevkit/demo
VOC := $(DEMO_DATA)/VOC2007

demo: $(RUNTIME)  ## Draw a dataset, train on it, evaluate and predict in 6 minutes
	$(PYTHON) make_demo_data.py --data $(DEMO_DATA)
	$(PYTHON) train.py --data $(DEMO_DATA) --backbone mobilenetv1 --width 0.5 --yolo v4-lite \
	  --weights none --input-size 160 --batch-size 16 --max-minutes 4.5 --run $(DEMO)
	$(PYTHON) get_map.py --run $(DEMO) --data $(DEMO_DATA) --set test --out $(DEMO)/map_out
	$(PYTHON) predict.py --run $(DEMO) --out $(DEMO)/img_out \
	  $$(sed -n '1,8s|.*|$(VOC)/JPEGImages/&.jpg|p' $(VOC)/ImageSets/Main/test.txt)
	@echo "tables and report: $(DEMO)/map_out (open report.html)"
	@echo "pictures with detections: $(DEMO)/img_out"
	@echo "curves: $(DEMO)/epoch_loss.png, $(DEMO)/epoch_map.png"

$(SERVE): locks/requirements-serve.lock $(RUNTIME)
	$(PIP_INSTALL) -r $<
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

# The tools have requirements of their own, which must not replace those of the project.
TOOLS := $(VENV)/tools
$(TOOLS)/tools.stamp: locks/tools.lock | $(PYTHON)
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install $(PIP_OPTIONS) -r $<
	@touch $@

# For all versions of Python and all systems at once. Versions in an existing lock stay as they are where
# the requirements allow it; to renew all of them, delete the locks that make lists here.
COMPILE := $(TOOLS)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
  --generate-hashes --custom-compile-command "make lock"

lock: $(TOOLS)/tools.stamp  ## Write the lock files anew from the requirements; needs PyPI
	$(COMPILE) requirements.txt -o locks/requirements.lock > /dev/null
	$(COMPILE) requirements-dev.txt -c locks/requirements.lock -o locks/requirements-dev.lock > /dev/null
	$(COMPILE) requirements-serve.txt -c locks/requirements-dev.lock \
	  -o locks/requirements-serve.lock > /dev/null
	$(COMPILE) --no-deps locks/no-deps.in -o locks/no-deps.lock > /dev/null
	$(COMPILE) --no-deps locks/opencv4.in -o locks/opencv4.lock > /dev/null
	$(COMPILE) locks/tools.in -o locks/tools.lock > /dev/null

# PyPI knows the vulnerabilities of torch by its version without the name of the build. With --strict, a
# package that cannot be looked up is an error: otherwise pip-audit would call it safe.
audit: $(TOOLS)/tools.stamp  ## Look up known vulnerabilities of all requirements; needs PyPI's JSON API
	sed 's/+cpu//' locks/torch.lock > $(TOOLS)/torch.lock
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	  $(addprefix -r ,$(filter-out locks/torch.lock,$(wildcard locks/*.lock)) $(TOOLS)/torch.lock)
