.PHONY: install quickstart test lint check check-links docs format
BIN := .venv/bin
# Many containers set it. Each of the tests' hundred processes would then compile what it imports: vLLM for 17 s.
export PYTHONDONTWRITEBYTECODE :=
# Three workers for two cores: two begin with tests of real engines and actors, which wait more than they compute
# (tests/conftest.py).
PYTEST := $(BIN)/pytest -n $(or $(WORKERS),3) --dist loadfile --no-loadscope-reorder
CLUSTER = $(if $(shell grep -s ^gpu .venv/.installed),gpu1,cpu)

install:
	@scripts/install

quickstart: install
	@$(BIN)/stepcredit quickstart cluster=$(CLUSTER)

test: install
	@$(PYTEST)

lint: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/shellcheck scripts/install scripts/lock scripts/slurm/train.sbatch .ci/run
	@$(BIN)/hadolint docker/Dockerfile
	@$(MAKE) --no-print-directory docs

check: lint
	@$(PYTEST) -m "not slow and not gpu"

check-links: install
	@$(BIN)/pytest tests/docs

docs: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "the site is in build/site"

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
