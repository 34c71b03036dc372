.PHONY: install quickstart test lint check check-links docs format
BIN := .venv/bin
# Start Ray, engines or learners: one after the other, so that what they share starts once. The others go two at a time.
REAL := tests/rollout/test_pool.py tests/rollout/test_ray_actors.py tests/trainer/learner/test_driver.py tests/trainer/real
PARALLEL := $(BIN)/pytest -n 2 --dist loadfile $(REAL:%=--ignore=%)
CLUSTER := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu1 || echo cpu)

install:
	@scripts/install

quickstart: install
	@$(BIN)/stepcredit quickstart cluster=$(CLUSTER)

test: install
	@$(PARALLEL)
	@$(BIN)/pytest $(REAL)

lint: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(MAKE) --no-print-directory docs

check: lint
	@$(PARALLEL) -m "not slow and not gpu"
	@$(BIN)/pytest -m "not slow and not gpu" tests/rollout/test_pool.py

check-links: install
	@$(BIN)/pytest tests/docs

docs: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "the site is in build/site"

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
