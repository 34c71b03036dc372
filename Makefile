.PHONY: install quickstart test check check-links docs format
BIN := .venv/bin
CLUSTER := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu1 || echo cpu)

install:
	@scripts/install

quickstart: install
	@$(BIN)/stepcredit quickstart cluster=$(CLUSTER)

test: install
	@$(BIN)/pytest

check: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/pytest -m "not slow and not gpu"
	@$(MAKE) --no-print-directory docs

check-links: install
	@$(BIN)/pytest tests/docs

docs: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "the site is in build/site"

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
