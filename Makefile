# Two commands do all the set-up: `make repro` and `make test`. Everything else assumes `. .venv/bin/activate`.
PYTHON ?= python3
BIN = .venv/bin
RUN = PATH="$$PWD/$(BIN):$$PATH" DVC_NO_ANALYTICS=1

.PHONY: repro verify test test-slow lint format audit setup deps experiment reset show sweep benchmarks torture doctor clean help

SAME = -S split.protocol=auto -S train.epochs=60 -S train.patience=0 -S train.keep=best

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.installed  ## make .venv and install what the pipeline needs

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; call make with PYTHON=python3.12, say")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --progress-bar on -r requirements.txt
	$(BIN)/pip install --quiet --no-deps -e .
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(BIN)/pip install --quiet -r requirements-dev.txt
	@touch $@

.venv/.installed-slow: .venv/.installed-dev requirements-slow.txt
	$(BIN)/pip install --quiet -r requirements.txt -r requirements-dev.txt -r requirements-slow.txt
	@touch $@

repro: setup  ## run the pipeline for the corpora in params.yaml and print the scores
	@$(RUN) python -m stages.lock
	@$(RUN) python -m stages.download --changed
	$(RUN) dvc repro
	@$(RUN) python -m stages.report --scores

verify: setup  ## run the demo (or CORPORA="demo ravdess") again elsewhere, and compare with the last commit byte for byte
	@$(RUN) python -m stages.verify $(CORPORA)

lint: .venv/.installed-dev  ## style and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

test: lint  ## style, types and all tests but the slow ones
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder  # in the order of tests/conftest.py

test-slow: .venv/.installed-slow  ## slow tests, and property tests on new random inputs
	$(RUN) pytest -n 2 --dist loadfile -m slow
	$(RUN) pytest -n 2 --dist loadfile --hypothesis-profile anew $$(grep -rl '^@given' tests)

format: .venv/.installed-dev  ## reformat the code
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

audit: .venv/.installed-dev  ## known vulnerabilities, licences, credentials in the repository
	@test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/pip install --quiet 'pip-audit==2.10.1'; } || true
	$(RUN) python -m tests.audit .venv/audit/bin/pip-audit

deps: .venv/.installed-dev  ## write the dependencies of every stage on code into dvc.yaml
	$(RUN) python -m tests.dependencies

experiment: setup  ## run a known system: make experiment PRESET=paper
	overrides=$$($(RUN) python -m stages.preset '$(PRESET)') && $(RUN) dvc exp run $$overrides
	@$(RUN) python -m stages.changes

reset: setup  ## restore params.yaml from the last commit (experiments leave their settings in it)
	@$(RUN) python -m stages.changes --reset

show: setup  ## all results in one table: the last commit, the workspace and the experiments
	@$(RUN) python -m stages.table

sweep: setup  ## all fusions and three known systems on the same clips, queued, in one table
	fusions=$$($(RUN) python -m ser.model.fusions --names) && clean=$$($(RUN) python -m stages.preset clean) && \
	  $(RUN) dvc exp run --queue $$clean -S model.fusion=$$fusions
	for name in paper zenkov cnn_transformer; do \
	  overrides=$$($(RUN) python -m stages.preset $$name) && $(RUN) dvc exp run --queue -n $$name $$overrides $(SAME) || exit 1; done
	$(RUN) dvc exp run --run-all --jobs 2
	@$(RUN) python -m stages.table

benchmarks: .venv/.installed-dev  ## speed, memory and cost, printed and written to metrics/benchmarks
	for name in signal model training evaluation encode predict; do $(RUN) python -m benchmarks.$$name || exit 1; done

torture: .venv/.installed-dev  ## kill, damage, fill, fuzz and crowd the pipeline; writes metrics/benchmarks/torture.json
	$(RUN) python -m tests.torture

doctor: setup  ## check the hash of every output in dvc.lock and print repair commands
	$(RUN) python -m stages.doctor

clean:  ## remove generated files (not .venv)
	rm -rf data models exports reports dvc_plots .mypy_cache .ruff_cache .hypothesis
