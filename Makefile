# Two commands set everything up on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Packages are compiled when they are first imported: most of what torch brings never is, and compiling it takes half a minute.
INSTALL := $(BIN)/pip install -q --no-compile -e
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-all test-tinygrad test-tunix lint bench clean

$(VENV)/.installed: pyproject.toml src/trainwright/__init__.py
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[torch,serve]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) '.[torch,dev]'
	touch $@

$(VENV)/.installed-interop: $(VENV)/.installed-dev
	$(INSTALL) '.[torch,dev,interop]'
	touch $@

demo: $(VENV)/.installed      ## train, validate and report a small model on the builtin stories
	$(BIN)/trainwright run
	$(BIN)/trainwright generate stories@latest "Once upon a time" --max-tokens 80
	@echo "To look at it in a browser: $(BIN)/trainwright serve, then open http://127.0.0.1:8765"

test: $(VENV)/.installed-dev  ## everything that runs in minutes, offline
	$(BIN)/python -m pytest -q -m "not slow" -p no:cacheprovider -n 2 --dist loadscope --no-loadscope-reorder tests

test-all: $(VENV)/.installed-interop  ## and what needs longer, or other people's tools
	-scripts/install_browser.sh
	-scripts/install_containers.sh
	-scripts/install_actionlint.sh
	$(BIN)/python -m pytest -q -m "slow or extra" -p no:cacheprovider -n 2 --dist loadscope --no-loadscope-reorder tests

test-tinygrad: $(VENV)/.installed-dev  ## the tests of the tinygrad backend, which compiles for minutes
	$(INSTALL) '.[torch,dev,tinygrad]'
	$(BIN)/python -m pytest -q -k tinygrad -p no:cacheprovider -n 2 --dist loadscope --no-loadscope-reorder tests

test-tunix: pyproject.toml      ## the tests of the tunix backend, in an environment of their own: it brings 1.6 GB
	$(PYTHON) -m venv $(VENV)-tunix
	$(VENV)-tunix/bin/pip install -q --no-compile -e '.[dev,tunix,transformers]'
	$(VENV)-tunix/bin/python -m pytest -q -k tunix -p no:cacheprovider -n 2 --dist loadscope --no-loadscope-reorder tests

lint: $(VENV)/.installed-dev  ## ruff, mypy strict, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed     ## tokens per second beside plain PyTorch, in one run (BENCH="--nanogpt DIR" adds nanoGPT)
	$(BIN)/python bench/training_speed.py $(BENCH)

clean:
	rm -rf $(VENV) $(VENV)-tunix .mypy_cache .ruff_cache .pytest_cache
