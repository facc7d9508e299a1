# One line per target; .ci/run and the README call these.
PYTHON ?= python3
export OMP_NUM_THREADS ?= 2

.PHONY: install demo test test-slow check format bench-accuracy drill

.venv/installed: pyproject.toml requirements.lock
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	# Only its weights are wanted, and not the libraries that it names.
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps openwakeword==0.5.1
	# A missing library should fail here, not in the middle of a run.
	.venv/bin/python -c 'import dvc.repo, great_expectations, onnxruntime, onnxscript, prefect, sklearn, timm, torch, torchvision'
	touch .venv/installed

install: .venv/installed

# KIND: image, text, sound or table.
demo: .venv/installed
	.venv/bin/python -m flows.cli demo $(if $(KIND),--kind $(KIND))

test: .venv/installed
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest

test-slow: .venv/installed
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m slow

# DATA: a folder with pacs/, office_caltech10/ and digits/; see benchmarks/accuracy.py.
bench-accuracy: .venv/installed
	.venv/bin/python -m benchmarks.accuracy $(DATA) $(BENCH)

# Two hundred mishaps in ten minutes, and an account; DRILL: such as `--seed 7`. See benchmarks/drill.
drill: .venv/installed
	.venv/bin/python -m benchmarks.drill $(DRILL)

check: .venv/installed
	.venv/bin/python -m ruff check flows tasks deploy benchmarks tests
	.venv/bin/python -m ruff format --check flows tasks deploy benchmarks tests
	.venv/bin/python -m pyright --pythonpath .venv/bin/python

format: .venv/installed
	.venv/bin/python -m ruff check --fix flows tasks deploy benchmarks tests
	.venv/bin/python -m ruff format flows tasks deploy benchmarks tests
