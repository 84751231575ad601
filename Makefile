# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo
# Test files side by side: most of them wait for a server or a worker they started.
TESTERS ?= 3

.PHONY: demo test lint torture benchmarks forecasting contracts wheel clean
.DELETE_ON_ERROR:

demo: $(DEMO)/.installed ## The main job on real data, from the built wheel, over MCP
	$(DEMO)/bin/python examples/bike_sharing.py

test: $(VENV)/.installed ## Everything that must hold: lint, types, layers, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --max-worker-restart 0

lint: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy
	$(BIN)/lint-imports

torture: $(VENV)/.installed ## Kills, races, floods and faults at full size; ONLY="races calls" runs some
	$(BIN)/python benchmarks/torture.py $(ONLY:%=--only %)

benchmarks: $(VENV)/.installed ## Call overhead, cold start and forecasting, side by side
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/call_overhead.py
	$(BIN)/python benchmarks/bike_sharing.py

forecasting: $(VENV)/.installed ## The forecasting table: ROW=epf_np, or all; BUDGET=small, large, naive or peers; DATA=dir
	$(BIN)/python benchmarks/forecasting/run.py --row $(or $(ROW),all) --budget $(or $(BUDGET),small) $(DATA:%=--data %)

contracts: $(VENV)/.installed ## Write tool_contracts/mcp_forecast_contracts/v1 from the models
	$(BIN)/mcp-forecast contracts

wheel: $(VENV)/.installed
	$(BIN)/python -m build --wheel

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# The demo runs what a user would install: the wheel, in an environment of its own, without torch.
$(DEMO)/.installed: pyproject.toml $(shell git ls-files mcp_forecast engine policy audit tool_contracts skills 2>/dev/null)
	$(PYTHON) -m venv --clear $(DEMO)
	rm -rf $(DEMO)/dist
	$(DEMO)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(DEMO)/dist .
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls $(DEMO)/dist/*.whl)[plot]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) dist build
