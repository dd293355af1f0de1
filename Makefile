# Everything is brought into this folder: uv into .uv, the environment into .venv.
PYTHON ?= python3
UV := .uv/bin/uv
RUN := .venv/bin/python

.PHONY: env quickstart ablation-smoke test test-reliability lint format wheel clean

env: .venv/.ready

$(UV):
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.9"

# without bytecode each start of a tool would compile the libraries anew wherever Python may not write it
.venv/.ready: pyproject.toml | $(UV)
	$(UV) sync --python 3.11 --compile-bytecode
	$(RUN) -c "import mmpose_tskd"
	touch $@

quickstart: env
	$(RUN) tools/quickstart.py

# the ablation's machinery on a few drawn pictures; results in work_dirs/ablation_smoke/results
ablation-smoke: env
	$(RUN) tools/lab/ablation.py configs/ablation/synthetic_crowd_smoke.yaml --budget 0.1 --jobs 2 --test

test: env
	$(RUN) -m pytest -n auto --maxprocesses 8 --dist loadfile

# also what takes too long for every run: kills, endurance; writes what it survived to reliability.json
test-reliability: env
	$(RUN) -m pytest tests/reliability --reliability reliability.json

lint: env
	.venv/bin/ruff check
	.venv/bin/ruff format --check mmpose_tskd tools tests
	.venv/bin/mypy

format: env
	.venv/bin/ruff check --fix
	.venv/bin/ruff format mmpose_tskd tools tests

wheel: env
	$(UV) build --wheel --out-dir dist

clean:
	rm -rf .venv .uv dist uv.lock
