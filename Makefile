.PHONY: install quickstart test check format
BIN := .venv/bin

install:
	@scripts/install

quickstart: install
	@$(BIN)/stepcredit quickstart

test: install
	@$(BIN)/pytest

check: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/pytest -m "not slow and not gpu"

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
