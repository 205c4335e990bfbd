# Everything on a fresh machine: Python 3.11 or later, a shell, and this file.
#   make gate            two models, all their recipes, the report in report/
#   make gate K=unet     one model
#   make gate-all        the whole zoo, all recipes
#   make test            the project's own tests, and the gates of every model's default recipe
#   make test-fast       everything collected, and tests that take minutes
#   make lint            ruff, and pyright on the product
#   make test-heavy      the tests of minutes or gigabytes that `make test` leaves out
#   make test-real       models that others trained, on data that others labelled: tests/real/README.md
PYTHON ?= python3
K ?= unet or mobilenet_v2
OPTIONS ?=
BIN = .venv/bin
TREE = build/types
# Tests that load no two frameworks into one process.
FAST = tests/unit/reporting tests/unit/calibration_data $(addprefix tests/unit/engine/test_, \
	cache.py code_identity.py extras.py names.py packages.py rooms.py worker.py)
export TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_ENABLE_ONEDNN_OPTS ?= 0
# The tests start pytest hundreds of times: each process would compile our modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: gate gate-all test test-fast test-heavy test-real lint types install
gate: install
	$(BIN)/python -m pytest -k "$(K)" --report report $(OPTIONS)

gate-all: install
	$(BIN)/python -m pytest --report report $(OPTIONS)

test: install
	$(BIN)/python -m pytest tests -n 2 -m "not heavy and not real" --recipe default -p _hypothesis_pytestplugin $(OPTIONS)

test-fast: install
	$(BIN)/python -m pytest tests --collect-only -qq -p _hypothesis_pytestplugin > /dev/null
	$(BIN)/python -m pytest $(FAST) -m "not heavy" -p _hypothesis_pytestplugin $(OPTIONS)

test-heavy: install
	$(BIN)/python -m pytest tests -m heavy -p _hypothesis_pytestplugin $(OPTIONS)

test-real: .venv/real
	$(BIN)/python -m pytest tests/real -p _hypothesis_pytestplugin $(OPTIONS)

lint: install types
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# In place an import hook finds model_zoo, quantizers and calibration_data, which pyright cannot follow.
types: install
	rm -rf $(TREE) && mkdir -p $(TREE) && cp -r int8gate pyrightconfig.json $(TREE)
	cp -r model_zoo quantizers calibration_data $(TREE)/int8gate
	$(BIN)/pyright --project $(TREE) --pythonpath $(BIN)/python

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	touch $@

.venv/real: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[real]"
	touch $@
