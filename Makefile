# make demo   opens glue with the bundled set cleaned and laid out for review (without a display: writes demo.png)
# make test   runs the whole suite, in two processes
# make lint   checks style and format
# make benchmark   accuracy and speed beside the peers, half an hour; see benchmarks/README.md
# make pictures   takes the pictures of README and guide anew, on a virtual screen
# make venv   what these need: system libraries, a virtual environment in .venv, the package in it (editable)
# make clean  removes what the others made
# Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test lint benchmark pictures venv system clean

demo: venv
	$(BIN)/glue-cleanset demo

test: venv
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -n 2 --dist loadfile

# one version, so that the format does not depend on the day
lint: venv
	$(BIN)/ruff --version 2>/dev/null | grep -q ' 0\.17\.' || $(BIN)/python -m pip install --quiet 'ruff==0.17.*'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

benchmark: venv
	$(BIN)/python -m pip install --quiet --editable '.[benchmark]'
	$(BIN)/python -m benchmarks

pictures: venv
	xvfb-run -a -s "-screen 0 1400x900x24" $(BIN)/python docs/pictures.py

venv: $(INSTALLED)

# order-only: looked at every time, but no reason to install the package again
$(INSTALLED): setup.cfg pyproject.toml Makefile | system
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable '.[pyqt6,test]'
	touch $@

system:
	@sh .ci/system $(PYTHON)

clean:
	rm -rf .venv build dist glue_cleanset_demo demo.png *.egg-info .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
