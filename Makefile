# Every target builds the environment it needs first; a fresh clone needs no other step.
# Variables are given on the command line: make run POLICY=policies/trot.onnx SECONDS=20

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CONFIG ?= trot
LOGDIR ?= runs
POLICY ?= policies/trot.onnx
ROBOT ?= sim
PLANT ?= pybullet
RANDOMIZATION ?= none
ARGS ?=

# PyBullet has wheels up to CPython 3.11, so that is the interpreter this project runs on.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
  2>/dev/null && command -v $$p && break; done)
PY := .venv/bin/python
READY := .venv/.ready

# An option is passed on only when its variable is set.
option = $(if $($(2)),--$(1) "$($(2))")

.PHONY: help setup demo train curves originals export run eval reports pictures transfer ablation firmware hil test check format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  More options: ARGS='--flag value', and --help of python -m training.train | deploy.run"

setup: $(READY) ## build the environment in .venv and nothing else

$(READY): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
	  echo "error: no CPython 3.11 found, and PyBullet has no wheels for newer ones." >&2; \
	  echo "Install it (Debian 12: apt-get install python3.11-venv; macOS: brew install python@3.11;" >&2; \
	  echo "anywhere: pyenv install 3.11, or uv python install 3.11) or name it: make setup PYTHON=..." >&2; \
	  exit 1; fi
	@echo "building .venv with $(PYTHON); the first time this fetches some hundred MB"
	@$(PYTHON) -m venv --clear .venv || { \
	  echo "error: $(PYTHON) cannot make a venv; on Debian: apt-get install python3.11-venv" >&2; exit 1; }
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## the whole job in small: train a few minutes, export, run in the simulator, report
	@$(PY) -m training.train --config trot --logdir build/demo --timestamp demo --total-steps 150000
	@$(PY) -m training.export --run build/demo/demo-trot --out build/demo/trot.onnx
	@$(PY) -m deploy.run --policy build/demo/trot.onnx --robot sim --seconds 10 \
	  --report build/demo/run.json --video build/demo/run.gif

train: $(READY) ## train CONFIG (default trot) into LOGDIR/<timestamp>-CONFIG; resumes what was killed
	@$(PY) -m training.train --config "$(CONFIG)" --logdir "$(LOGDIR)" $(call option,timestamp,TIMESTAMP) \
	  $(call option,workers,WORKERS) $(call option,seed,SEED) $(call option,total-steps,STEPS) \
	  $(call option,start-from,START_FROM) $(ARGS)

curves: $(READY) ## draw the learning curves of RUNS="runs/... runs/..." to OUT (build/curves.png)
	@$(PY) -m training.runs.curves $(RUNS) $(call option,out,OUT) $(ARGS)

# Two names in front, since a timestamp is that of one configuration's run.
originals: $(READY) ## train minitaur and duck in the original environments, curves into docs/results
	@for run in original-minitaur laden-duck; do $(PY) -m training.train --config $${run#*-} \
	  --logdir "$(LOGDIR)" --timestamp $${run%-*} $(call option,total-steps,STEPS) \
	  $(call option,workers,WORKERS) $(ARGS); done
	@$(PY) -m training.runs.curves "$(LOGDIR)/original-minitaur" "$(LOGDIR)/laden-duck" \
	  --out "$(or $(OUT),docs/results/originals.png)"

export: $(READY) ## write the policy of RUN (default: newest run of CONFIG) to OUT, checked against torch
	@$(PY) -m training.export --config "$(CONFIG)" --logdir "$(LOGDIR)" $(call option,run,RUN) \
	  $(call option,out,OUT) $(ARGS)

run: $(READY) ## run POLICY on ROBOT=sim|emulator|serial; COMMAND, PORT, BAUD, CLEAR_FAULT=1, SECONDS, REPORT
	@$(PY) -m deploy.run --policy "$(POLICY)" --robot "$(ROBOT)" $(call option,port,PORT) \
	  $(call option,baud,BAUD) $(if $(CLEAR_FAULT),--clear-fault) $(call option,command,COMMAND) \
	  $(call option,seconds,SECONDS) $(call option,report,REPORT) $(if $(GUI),--gui) \
	  $(if $(filter sim,$(ROBOT)),--video "$(or $(VIDEO),build/run.mp4)") \
	  $(if $(filter serial,$(ROBOT)),,--randomization "$(RANDOMIZATION)" $(call option,seed,SEED)) \
	  $(ARGS)

eval: $(READY) ## evaluate POLICY: PLANT=pybullet|mujoco|emulator, RANDOMIZATION, EPISODES, SECONDS, REPORT
	@$(PY) -m training.evaluate --policy "$(POLICY)" --plant "$(PLANT)" \
	  --randomization "$(RANDOMIZATION)" $(call option,episodes,EPISODES) \
	  $(call option,seconds,SECONDS) $(call option,seed,SEED) \
	  $(call option,report,REPORT) $(call option,workers,WORKERS) $(call option,course,COURSE) $(ARGS)

reports: $(READY) ## reports of the shipped policies into policies/, and the tables made of them
	@$(PY) -m studies.transfer --policies trot gallop steer \
	  --conditions nominal table1 push60 mujoco mujoco-table1 --reports policies $(ARGS)
	@$(PY) -m training.evaluate --policy policies/trot.onnx --randomization table1 --reference-only \
	  --report policies/trot.reference.json
	@$(PY) -m studies.transfer --policies trot gallop steer --conditions table1 push130 mujoco \
	  --episodes 2 --seconds 2 --workers 0 --reports policies/short $(ARGS)
	@$(PY) -m studies.readme

pictures: $(READY) ## the README's film and plots of the shipped trot, into docs/
	@$(PY) -m deploy.run --policy policies/trot.onnx --robot sim --no-realtime --seconds 4 \
	  --report build/pictures/film.json --no-plot --video docs/trot.gif
	@$(PY) -m deploy.run --policy policies/trot.onnx --robot sim --seconds 10 \
	  --report build/pictures/run.json
	@cp build/pictures/run.png docs/run.png

transfer: $(READY) ## every policy under every condition, into docs/results; takes hours, resumes
	@$(PY) -m studies.transfer $(call option,episodes,EPISODES) $(call option,seconds,SECONDS) \
	  $(call option,workers,WORKERS) $(call option,out,OUT) $(if $(COMMIT),--commit $(COMMIT)) $(ARGS)

ablation: $(READY) ## what each part of the simulator is worth; SEEDS, STEPS, OUT, COMMIT; resumes
	@$(PY) -m studies.ablation $(call option,seeds,SEEDS) $(call option,steps,STEPS) \
	  $(call option,workers,WORKERS) $(call option,out,OUT) $(if $(COMMIT),--commit $(COMMIT)) $(ARGS)

firmware: $(READY) ## build the firmware: the library for this computer, the image for the Cortex-M4
	@command -v cc >/dev/null || { \
	  echo "error: no C compiler for this computer's library (Debian: apt-get install gcc)" >&2; exit 1; }
	@$(PY) -c 'from robot_firmware_bridge.firmware.library import build_library; print(build_library())'
	@$(MAKE) -C robot_firmware_bridge/firmware

hil: $(READY) ## hardware-in-the-loop checks: RUNGS=emulated,qemu or PORT=...; SECONDS, YES=1, REPORT
	@$(PY) -m hil $(call option,port,PORT) $(call option,baud,BAUD) $(if $(YES),--yes) \
	  $(call option,seconds,SECONDS) $(call option,report,REPORT) $(call option,boards,RUNGS) $(ARGS)

test: $(READY) ## run the tests
	@$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

check: $(READY) ## formatting, lint, types, import floors
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: $(READY) ## format the code
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

bench: $(READY) ## run the benchmarks, peers included, into build/bench.json
	@$(PY) -m bench $(ARGS)

clean: ## remove environments and build outputs; keeps runs/
	rm -rf .venv .venv-peer build
