PYTHON ?= python

# What must pass on every backend of Keras.
CORE = tests/convert tests/models tests/tasks tests/training tests/explain \
	tests/test_batching.py tests/test_layers.py tests/test_masking.py

.PHONY: test test-all test-backends lint bench
test:            ## the default tests: minutes
	$(PYTHON) -m pytest
test-all:        ## every test, the slow ones too, then the core on the other backends
	$(PYTHON) -m pytest -m ""
	$(MAKE) test-backends
test-backends:   ## the core on JAX and on PyTorch
	@for backend in jax torch; do \
		if $(PYTHON) -c "import $$backend" 2>/dev/null; then \
			echo "== the core on $$backend"; \
			KERAS_BACKEND=$$backend $(PYTHON) -m pytest $(CORE) || exit 1; \
		else \
			echo "== the core on $$backend: SKIPPED, not installed (the extra '$$backend')"; \
		fi; \
	done
lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
bench:           ## rewrites the tables in benchmarks/results (paintings.py, period_artist.py, shared_crops.py, scoring.py need pictures or weights)
	$(PYTHON) benchmarks/conversion_parity.py
	$(PYTHON) benchmarks/conversion_sweep.py
	$(PYTHON) benchmarks/conversion_cost.py
	$(PYTHON) benchmarks/window_product.py
	$(PYTHON) benchmarks/dense_vs_sliding.py
	$(PYTHON) benchmarks/feature_cache.py
	$(PYTHON) benchmarks/feeding.py
	$(PYTHON) benchmarks/batching.py
	$(PYTHON) benchmarks/masks.py
	$(PYTHON) benchmarks/demo.py
	$(PYTHON) benchmarks/long_list.py
	$(PYTHON) benchmarks/explaining.py
	$(PYTHON) benchmarks/startup.py
