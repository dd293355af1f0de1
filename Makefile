# Everything is brought into this folder: uv into .uv, the environment into .venv.
PYTHON ?= python3
UV := .uv/bin/uv
# Python of the environment: 3.10 brings the versions of 2023, 3.11 and 3.12 today's (pyproject.toml)
VERSION ?= 3.11
# lite: without mmcv's operators; full: compiles them, which takes 35 minutes of CPU time
MMCV ?= lite
VENV := .venv$(addprefix -,$(filter-out 3.11,$(VERSION)))
RUN := $(VENV)/bin/python
export UV_PROJECT_ENVIRONMENT := $(VENV)

.PHONY: env quickstart ablation-smoke test test-legacy test-newest test-gpu test-reliability lint format docs wheel dist clean

env: $(VENV)/.ready-$(MMCV)

$(UV):
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.9"

# without bytecode each start of a tool would compile the libraries anew wherever Python may not write it
$(VENV)/.ready-$(MMCV): pyproject.toml | $(UV)
	rm -f $(VENV)/.ready-*
	$(UV) sync --python $(VERSION) --extra $(MMCV) --compile-bytecode
	$(RUN) -c "import mmpose_tskd"
	touch $@

quickstart: env
	$(RUN) tools/quickstart.py

# the ablation's machinery on a few drawn images; results in work_dirs/ablation_smoke/results
ablation-smoke: env
	$(RUN) tools/lab/ablation.py configs/ablation/synthetic_crowd_smoke.yaml --budget 0.1 --jobs 2 --test

test: env
	$(RUN) -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-legacy:
	$(MAKE) test VERSION=3.10

test-newest:
	$(MAKE) test VERSION=3.12

# what only a GPU has, by a person who has one; writes what to send us to gpu.md
test-gpu: env
	$(RUN) -m pytest tests/gpu -rs --gpu-report gpu.md

# also what takes too long for every run: kills, endurance; writes what it survived to reliability.json
test-reliability: env
	$(RUN) -m pytest tests/reliability --reliability reliability.json

lint: env
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check mmpose_tskd tools tests
	$(VENV)/bin/mypy

format: env
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format mmpose_tskd tools tests

# the site, in docs/_build; a broken link or a faulty docstring is an error
docs: env
	$(RUN) -m sphinx -q -W --keep-going docs docs/_build

wheel: env
	$(UV) build --wheel --out-dir dist

# both; the wheel is built from the sdist
dist: env
	$(UV) build --out-dir dist

clean:
	rm -rf .venv .venv-* .uv dist docs/_build uv.lock
