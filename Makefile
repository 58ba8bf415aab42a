# Two commands on a fresh machine with Python 3.10 or newer: make demo, make test.
VENV ?= .venv
PIP_OPTIONS ?=
TEST_PROCESSES ?= 2
ifeq ($(OS),Windows_NT)  # make needs a POSIX shell there, such as Git's bash
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
DEMO ?= demo
SHARD := $(DEMO)/demo-tile+random-random+mix-rand-seed0.h5
SPREAD := -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: test demo lint docs dist clean

$(VENV)/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) \
		-c constraints.txt -e '.[dev,matting,pretrained,examples,onnx,timm,ray,docs]'
	touch $@

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) tests/shadow

lint: $(VENV)/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy

demo: $(VENV)/installed
	rm -rf $(DEMO)
	$(BIN)/clp-augment --dataset demo --cf tile,random --f random,mix-rand --size 24 --out $(SHARD)
	$(BIN)/clp-inspect $(SHARD) --html $(DEMO)/sheet.html
	$(BIN)/clp-train --meta $(SHARD) --method erm --out $(DEMO)/erm
	$(BIN)/clp-train --meta $(SHARD) --method clp --out $(DEMO)/clp
	$(BIN)/clp-augment --audit --dataset demo --size 24 --remove tile --out $(DEMO)/audit.h5
	$(BIN)/clp-compare $(DEMO)/erm $(DEMO)/clp --meta $(DEMO)/audit.h5 --out $(DEMO)/compare.html
	@echo "Open $(DEMO)/compare.html: ERM and CLP side by side, and what each owes to the background."
	@echo "Open $(DEMO)/sheet.html to see what the meta set looks like."

docs: $(VENV)/installed
	$(BIN)/python docs/site/make_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "Open site/index.html."

clean:
	rm -rf $(VENV) $(DEMO) build dist site *.egg-info
