PYTHON ?= python

.PHONY: test test-all lint bench
test:            ## the default tests: minutes
	$(PYTHON) -m pytest
test-all:        ## every test, the slow ones too
	$(PYTHON) -m pytest -m ""
lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
bench:           ## rewrites the tables in benchmarks/results (paintings.py needs pictures and weights)
	$(PYTHON) benchmarks/conversion_parity.py
	$(PYTHON) benchmarks/demo.py
