# Everything here works as the first command in a fresh clone with nothing but python3.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
ARGS ?=

# The interpreter is the one found here, never a downloaded one.
export UV_PYTHON_DOWNLOADS := never
# Modules are compiled once, not at every start: 10 s of each command otherwise.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint docs audit clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

quickstart: $(STAMP) ## Install, train a small text-to-video model on the embedded clips, show where its samples are
	$(PY) train.py +experiment=quickstart $(ARGS)

test: $(STAMP) ## Install and run the tests; make test ARGS="-m slow" runs the long ones
	$(PY) -m pytest $(ARGS)

lint: $(STAMP) ## Check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

docs: $(STAMP) ## Build the docs site into site/, a warning being an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict $(ARGS)

audit: $(STAMP) ## Ask for advisories on every pin, by pip-audit in an environment of its own
	@test -x $(VENV)/audit/bin/pip-audit || { $(PY) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet pip-audit; }
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt $(ARGS)

clean: ## Delete the environment and caches; runs/ is kept
	rm -rf $(VENV) .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --seed --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV); \
	elif $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  $(PYTHON) -m venv $(VENV); \
	else \
	  echo "$(PYTHON) cannot make a virtual environment: install its venv package (python3-venv) or uv" >&2; exit 1; \
	fi

# uv takes torch and torchvision as builds that match; pip is the way without it.
$(STAMP): pyproject.toml constraints.txt | $(PY)
	@uv="$$(command -v uv || echo $(VENV)/bin/uv)"; \
	[ -x "$$uv" ] || $(PY) -m pip install --quiet --disable-pip-version-check uv || echo "no uv: installing with pip" >&2; \
	if [ -x "$$uv" ] && "$$uv" pip install --quiet --python $(PY) -e '.[dev]' -c constraints.txt; then :; \
	else $(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt; fi
	@touch $@
