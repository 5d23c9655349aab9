# Every target builds the environment it needs first; a fresh clone needs no other step.
# Variables stand on the command line, with values as in a shell: make run POLICY='my $1.onnx'.
# Those of the environment do not count: a SEED or PORT exported there means something else.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# The firmware's own Makefile gets what it knows and no more.
MAKEOVERRIDES :=

PY := .venv/bin/python
MINITAUR := .venv/bin/minitaur
# Two sizes of environment: all but training, and everything.
PLAY := .venv/.play
READY := .venv/.ready

# ------------------------------------------------------------------- variables of the command line

# What a target with NAME.variables := takes; every target that builds an environment takes these.
common := PYTHON TORCH_INDEX
# Yes or no.
flags := GUI VIEW ARM CLEAR_FAULT YES
yes := 1 y yes true on
no := 0 n no false off

given = $(if $(filter command,$(firstword $(origin $(1)))),$(value $(1)))
quoted = '$(subst ','\'',$(1))'
# The option is passed on only if its variable is given; a flag only if it says yes.
option = $(if $(call given,$(2)),--$(1)=$(call quoted,$(call given,$(2))))
flag = $(if $(filter $(yes),$(call given,$(2))),--$(1))
# Words for the shell, which may have blanks in quotes, and patterns.
shell_words = $(call given,$(1))
args = $(call shell_words,ARGS)
commits = $(if $(call shell_words,COMMIT),--commit $(call shell_words,COMMIT))

# PyBullet has wheels for CPython 3.11 only.
python = $(or $(call given,PYTHON),$(shell for p in python3.11 python3 python; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
  2>/dev/null && command -v $$p && break; done))

# Another PYTHON than that of .venv builds it anew.
which := import sys; print(sys.version, sys.base_prefix)
rebuild := $(if $(call given,PYTHON),$(if $(wildcard $(PY)),$(shell \
  [ "$$($(PY) -c '$(which)')" = "$$($(call quoted,$(python)) -c '$(which)' 2>/dev/null)" ] || \
  echo rebuild)))

# ----------------------------------------------------------------------------------------- targets

targets := help setup demo train sweep curves originals export run replay eval zero wiggle latency \
  report reports pictures transfer ablation walk-ablation explain calibrate firmware board hil soak \
  test check format bench clean
.PHONY: $(targets) rebuild

help: ## list the targets and their variables
	@awk '/^[a-z-]+\.variables :=/ {while (sub(/\\$$/, "")) {getline more; sub(/^ */, "", more); \
	    $$0 = $$0 more}; variables = $$0; sub(/.*:= */, "", variables)} \
	  /^[a-z-]+:.*## / {split($$0, line, ":.*## "); \
	    printf "  make %-13s %s\n", line[1], line[2]; \
	    if (variables != "") printf "  %-18s %s\n", "", variables; variables = ""}' Makefile
	@echo; echo "  All but help and clean: PYTHON=python3.11, TORCH_INDEX=URL (see make setup)"
	@echo "  ARGS='--flag value': any other option; .venv/bin/minitaur COMMAND --help lists them"

setup: $(READY) ## build the whole environment in .venv; PYTHON=python3.13 builds it anew with that

$(PLAY): pyproject.toml constraints.txt $(rebuild)
	@python=$(call quoted,$(python)); \
	if [ -z "$$python" ]; then \
	  echo "error: no CPython 3.11 found (Debian 12: apt-get install python3.11-venv; macOS: brew" \
	    "install python@3.11; anywhere: pyenv install 3.11, or uv python install 3.11), the only one" \
	    "with PyBullet; or take MuJoCo alone: make setup PYTHON=python3.13" >&2; exit 1; \
	elif ! command -v "$$python" >/dev/null; then \
	  echo "error: PYTHON: there is no $$python" >&2; exit 1; \
	elif ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  echo "error: PYTHON: this needs Python 3.11 or newer, $$python is $$("$$python" -V)" >&2; exit 1; \
	fi; \
	echo "building .venv with $$("$$python" -V), all but training: this fetches about $(play_size)"; \
	"$$python" -m venv --clear .venv || { \
	  echo "error: $$python cannot make a venv; on Debian: apt-get install python3.11-venv" >&2; exit 1; }
	@$(pip) -e '.[play]'
	@touch $@

$(READY): $(PLAY)
	@$(if $(call given,TORCH_INDEX),\
	  $(pip) --no-deps --index-url $(call quoted,$(call given,TORCH_INDEX)) torch,\
	  if [ "$$(uname -s)" = Linux ]; then \
	    echo "fetching PyTorch and what else training needs: by pip's default 5.5 GB, with CUDA for an" \
	      "NVIDIA GPU. Its CPU build is 0.3 GB and as fast here: make setup TORCH_INDEX=URL, with the" \
	      "index of CPU wheels that pytorch.org names under Get Started"; fi)
	@$(pip) -e '.[dev]'
	@touch $@

# Quiet, but for somebody who waits.
pip = if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
  $(PY) -m pip install $$quiet --disable-pip-version-check -c constraints.txt
play_size := 0.3 GB

demo: $(READY) ## the whole job in small: train some minutes, export, run in the simulator, report
	@$(MINITAUR) train --config demo --logdir build/demo --timestamp run
	@$(MINITAUR) curves build/demo/run-demo --out build/demo/curves.png
	@$(MINITAUR) export --run build/demo/run-demo --out build/demo/trot.onnx
	@$(MINITAUR) run --policy build/demo/trot.onnx --robot sim --seconds 10 \
	  --report build/demo/run.json --video build/demo/run.gif

train.variables := CONFIG LOGDIR TIMESTAMP WORKERS SAMPLER ADDRESS LOGGER SEED STEPS START_FROM \
  PLANT PARAMS RANDOMIZATION ARGS
train: $(READY) ## train CONFIG (trot) into LOGDIR (runs)/TIMESTAMP-CONFIG; resumes what was stopped
	@$(MINITAUR) train --config=$(call quoted,$(or $(call given,CONFIG),trot)) \
	  $(call option,logdir,LOGDIR) $(call option,timestamp,TIMESTAMP) \
	  $(call option,workers,WORKERS) $(call option,sampler,SAMPLER) \
	  $(call option,address,ADDRESS) $(call option,logger,LOGGER) \
	  $(call option,seed,SEED) $(call option,total-steps,STEPS) \
	  $(call option,start-from,START_FROM) $(call option,plant,PLANT) $(call option,params,PARAMS) \
	  $(call option,randomization,RANDOMIZATION) $(args)

sweep.variables := CONFIG VARY SEEDS TRIALS STEPS SCORE OUT WORKERS START_FROM PLANT PARAMS \
  RANDOMIZATION ARGS
sweep: $(READY) ## train CONFIG (trot) over SEEDS and VARY="name=1,2 name=1e-4..1e-3:log"; resumes
	@$(MINITAUR) sweep --config=$(call quoted,$(or $(call given,CONFIG),trot)) \
	  $(if $(call given,VARY),--vary $(call shell_words,VARY)) $(call option,seeds,SEEDS) \
	  $(call option,trials,TRIALS) $(call option,total-steps,STEPS) $(call option,score,SCORE) \
	  $(call option,out,OUT) $(call option,workers,WORKERS) $(call option,start-from,START_FROM) \
	  $(call option,plant,PLANT) $(call option,params,PARAMS) \
	  $(call option,randomization,RANDOMIZATION) $(args)

curves.variables := RUNS OUT ARGS
curves: $(READY) ## draw the learning curves of RUNS="runs/... runs/..." to OUT (build/curves.png)
	@$(MINITAUR) curves $(call shell_words,RUNS) $(call option,out,OUT) $(args)

# Two names in front, since a timestamp is that of one configuration's run.
original = $(MINITAUR) train --logdir=$(logdir) $(call option,total-steps,STEPS) \
  $(call option,workers,WORKERS) $(args)
logdir = $(call quoted,$(or $(call given,LOGDIR),runs))
originals.variables := LOGDIR STEPS WORKERS OUT ARGS
originals: $(READY) ## train minitaur and duck in the original environments, curves into docs/results
	@$(original) --config=minitaur --timestamp=original
	@$(original) --config=duck --timestamp=laden
	@$(MINITAUR) curves $(logdir)/original-minitaur $(logdir)/laden-duck \
	  --out=$(call quoted,$(or $(call given,OUT),docs/results/originals.png))

export.variables := RUN CONFIG LOGDIR OUT ARGS
export: $(READY) ## write the policy of RUN (newest run of CONFIG) to OUT, checked against torch
	@$(MINITAUR) export --config=$(call quoted,$(or $(call given,CONFIG),trot)) \
	  $(call option,logdir,LOGDIR) $(call option,run,RUN) $(call option,out,OUT) $(args)

# A film is made where it can be: PyBullet draws it.
film = $(if $(filter-out sim,$(call given,ROBOT))$(call given,VIDEO),$(call option,video,VIDEO),$(if \
  $(wildcard .venv/lib/python3*/site-packages/pybullet_data),--video=mp4))
run.variables := POLICY ALSO ROBOT BOARD PORT BAUD ARM CLEAR_FAULT ROBOT_FILE WIRING COMMAND \
  REACTIONS SECONDS PLANT PARAMS RANDOMIZATION SEED PUSH TERRAIN REPORT LOGDIR GUI VIEW \
  VIDEO VIDEO_HEIGHT ARGS
run: $(PLAY) ## run POLICY on ROBOT=sim|emulator|serial|minitaur; ARM=1 energises a physical one
	@$(MINITAUR) run $(call option,policy,POLICY) \
	  $(if $(call given,ALSO),--also $(call shell_words,ALSO)) $(call option,robot,ROBOT) \
	  $(call option,board,BOARD) $(call option,port,PORT) $(call option,baud,BAUD) \
	  $(call flag,arm,ARM) $(call flag,clear-fault,CLEAR_FAULT) \
	  $(call option,robot-file,ROBOT_FILE) $(call option,wiring,WIRING) \
	  $(call option,command,COMMAND) $(call option,reactions,REACTIONS) \
	  $(call option,seconds,SECONDS) $(call option,plant,PLANT) $(call option,params,PARAMS) \
	  $(call option,randomization,RANDOMIZATION) $(call option,seed,SEED) \
	  $(call option,push,PUSH) $(call option,terrain,TERRAIN) \
	  $(call option,report,REPORT) $(call option,logdir,LOGDIR) $(call flag,gui,GUI) \
	  $(call flag,view,VIEW) $(film) $(call option,video-height,VIDEO_HEIGHT) $(args)

replay.variables := LOG POLICY ARGS
replay: $(PLAY) ## run LOG=runs-robot/last through its policy again, or POLICY; or the dump of a NaN
	@$(MINITAUR) replay $(call shell_words,LOG) $(call option,policy,POLICY) $(args)

eval.variables := POLICY PLANT PARAMS RANDOMIZATION EPISODES SECONDS SEED REPORT WORKERS COURSE \
  PUSH TERRAIN ARGS
eval: $(PLAY) ## evaluate POLICY on PLANT=pybullet|mujoco|emulator, PARAMS=FILE|NAME, TERRAIN=
	@$(MINITAUR) eval $(call option,policy,POLICY) $(call option,plant,PLANT) \
	  $(call option,params,PARAMS) $(call option,randomization,RANDOMIZATION) \
	  $(call option,episodes,EPISODES) \
	  $(call option,seconds,SECONDS) $(call option,seed,SEED) $(call option,report,REPORT) \
	  $(call option,workers,WORKERS) $(call option,course,COURSE) $(call option,push,PUSH) \
	  $(call option,terrain,TERRAIN) $(args)

which_robot = $(call option,robot,ROBOT) $(call option,board,BOARD) $(call option,port,PORT) \
  $(call option,baud,BAUD) $(call flag,clear-fault,CLEAR_FAULT) \
  $(call option,robot-file,ROBOT_FILE) $(call option,wiring,WIRING) $(call flag,yes,YES)
zero.variables := ROBOT BOARD PORT BAUD CLEAR_FAULT ROBOT_FILE WIRING YES ARGS
zero: $(PLAY) ## measure the motor zeros of a limp robot in a jig, into ROBOT_FILE
	@$(MINITAUR) zero $(which_robot) $(args)

wiggle.variables := ROBOT BOARD PORT BAUD CLEAR_FAULT ROBOT_FILE WIRING YES ARGS
wiggle: $(PLAY) ## nudge each motor of a robot on a stand: are plugs, order and signs right?
	@$(MINITAUR) wiggle $(which_robot) $(args)

latency.variables := ROBOT BOARD PORT BAUD CLEAR_FAULT ROBOT_FILE WIRING YES ARGS
latency: $(PLAY) ## measure how late a command moves a motor of a robot on a stand
	@$(MINITAUR) latency $(which_robot) $(args)

report.variables := LOG OUT ARGS
report: $(PLAY) ## one HTML page of LOG (runs-robot/last): a run, an evaluation or a training
	@$(MINITAUR) report $(if $(call given,LOG),$(call quoted,$(call given,LOG))) \
	  $(call option,out,OUT) $(args)

# Of the plants that ship, by name, on both engines.
calibrated := $(basename $(notdir $(sort $(wildcard sim/plant/data/*.json))))
# Where a steered policy walks straight on, on both engines.
grounds := ahead blocks40 blocks20-table1 shove130
reports.variables := ARGS
reports: $(READY) ## reports of the shipped policies into policies/, and the tables made of them
	@$(MINITAUR) transfer --policies trot gallop steer \
	  --conditions table1 push130 mujoco-table1 --reports policies $(args)
	@$(MINITAUR) transfer --policies steer-stock --conditions table1 mujoco-table1 \
	  --reports policies $(args)
	@$(MINITAUR) transfer --policies steer-stock --episodes 20 --conditions nominal mujoco \
	  --reports policies $(args)
	@$(MINITAUR) transfer --policies trot gallop steer --episodes 20 \
	  --conditions nominal mujoco $(calibrated) $(calibrated:%=mujoco-%) --reports policies $(args)
	@$(MINITAUR) transfer --policies trot-stock \
	  --conditions nominal table1 mujoco mujoco-table1 --reports policies $(args)
	@for policy in trot trot-stock steer steer-stock; do \
	  $(MINITAUR) eval --policy policies/$$policy.onnx --plant mujoco --randomization table1 \
	    --reference-only --report policies/$$policy.reference.json; done
	@$(MINITAUR) eval --policy policies/walk.onnx --randomization table1 --terrain blocks20 --course ahead \
	  --reference-only --report policies/walk.reference.json
	@$(MINITAUR) transfer --policies walk --conditions $(grounds) $(grounds:%=mujoco-%) \
	  --reports policies $(args)
	@$(MINITAUR) transfer --policies trot trot-stock steer-stock gallop steer walk \
	  --conditions table1 push130 mujoco --episodes 2 --seconds 2 --workers 0 --reports policies/short $(args)
	@$(PY) -m studies.readme

pictures: $(PLAY) ## the README's film and plots, and good and bad runs on emulated boards, into docs/
	@$(MINITAUR) run --policy trot --no-realtime --seconds 4 --report build/pictures/film.json --no-plot \
	  --video docs/trot.gif --video-height 270
	@$(MINITAUR) run --policy trot --seconds 10 --report build/pictures/run.json
	@cp build/pictures/run.png docs/run.png
	@$(PY) -m studies.pictures

transfer.variables := EPISODES SECONDS WORKERS OUT COMMIT ARGS
transfer: $(READY) ## every policy under every condition, into docs/results; takes hours, resumes
	@$(MINITAUR) transfer $(call option,episodes,EPISODES) $(call option,seconds,SECONDS) \
	  $(call option,workers,WORKERS) $(call option,out,OUT) $(commits) $(args)

ablation.variables := SEEDS STEPS WORKERS OUT COMMIT ARGS
ablation: $(READY) ## what each part of the simulator is worth; resumes
	@$(MINITAUR) ablation $(call option,seeds,SEEDS) $(call option,steps,STEPS) \
	  $(call option,workers,WORKERS) $(call option,out,OUT) $(commits) $(args)

walk-ablation.variables := SEEDS STEPS WORKERS OUT COMMIT ARGS
walk-ablation: $(READY) ## what each part of the walk's recipe is worth; resumes
	@$(MINITAUR) walk-ablation $(call option,seeds,SEEDS) $(call option,steps,STEPS) \
	  $(call option,workers,WORKERS) $(call option,out,OUT) $(commits) $(args)

explain.variables := LOG PARAMS PLANT OUT ARGS
explain: $(PLAY) ## how well the simulator predicts the robot of LOG="robot.log ...", into OUT
	@$(MINITAUR) explain $(if $(call given,LOG),--log $(call shell_words,LOG)) $(call option,params,PARAMS) \
	  $(call option,plant,PLANT) $(call option,out,OUT) $(args)

calibrate.variables := LOG OUT PARAMS PLANT KNOWN WORKERS SEED ARGS
calibrate: $(PLAY) ## fit the simulator to the robot of LOG="robot.log ...", into OUT (params.json)
	@$(MINITAUR) calibrate $(if $(call given,LOG),--log $(call shell_words,LOG)) \
	  $(call option,out,OUT) $(call option,params,PARAMS) $(call option,plant,PLANT) \
	  $(if $(call given,KNOWN),--known $(call shell_words,KNOWN)) $(call option,workers,WORKERS) \
	  $(call option,seed,SEED) $(args)

firmware.variables := BUILD CROSS
firmware: $(PLAY) ## build the firmware: the library for this computer, the image for the Cortex-M4
	@command -v cc >/dev/null || { \
	  echo "error: no C compiler for this computer's library (Debian: apt-get install gcc)" >&2; exit 1; }
	@$(PY) -c 'from robot_firmware_bridge.firmware.library import build_library; print(build_library())'
	@$(MAKE) -C robot_firmware_bridge/firmware $(foreach name,BUILD CROSS,$(if \
	  $(call given,$(name)),$(name)=$(call quoted,$(call given,$(name)))))

board.variables := SEED BAUD PLANT PARAMS RANDOMIZATION PUSH TERRAIN WIRING ARGS
board: $(PLAY) ## start the emulated motor controller on a serial port; type help into it
	@$(MINITAUR) board $(call option,seed,SEED) $(call option,baud,BAUD) \
	  $(call option,plant,PLANT) $(call option,params,PARAMS) \
	  $(call option,randomization,RANDOMIZATION) $(call option,push,PUSH) \
	  $(call option,terrain,TERRAIN) $(call option,wiring,WIRING) $(args)

hil.variables := RUNGS PORT BAUD YES SECONDS REPORT ARGS
hil: $(PLAY) ## hardware-in-the-loop checks of RUNGS=emulated,qemu,stock or of the board on PORT
	@$(MINITAUR) hil $(call option,port,PORT) $(call option,baud,BAUD) $(call flag,yes,YES) \
	  $(call option,seconds,SECONDS) $(call option,report,REPORT) $(call option,boards,RUNGS) $(args)

soak.variables := MINUTES SEED SECONDS POLICY FOLDER ARGS
soak: $(PLAY) ## an hour of runs on the emulated board, something broken in each; resumes
	@$(MINITAUR) soak $(call option,minutes,MINUTES) $(call option,seed,SEED) \
	  $(call option,seconds,SECONDS) $(call option,policy,POLICY) $(call option,folder,FOLDER) $(args)

test.variables := ARGS
test: $(READY) ## run the tests
	@$(PY) -m pytest -n 2 --dist worksteal $(args)

check: $(READY) ## formatting, lint, types, import floors
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: $(READY) ## format the code
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

bench.variables := ARGS
bench: $(READY) ## run the benchmarks, peers included, into build/bench.json
	@$(PY) -m bench $(args)

clean: ## remove environments and build outputs; keeps runs/
	rm -rf .venv .venv-peer build

# ------------------------------------------------------------ nothing on the command line is ignored

goals := $(or $(MAKECMDGOALS),help)
on_command_line := $(foreach name,$(.VARIABLES),$(if \
  $(filter command,$(firstword $(origin $(name)))),$(name)))
known := $(if $(filter-out help clean,$(goals)),$(common)) \
  $(foreach goal,$(goals),$($(goal).variables))
nearest := import difflib, sys; name, *known = sys.argv[1:]; \
  near = difflib.get_close_matches(name.upper(), known, 1, 0.5); \
  print(*(f"did you mean {n}?" for n in near))
hint = $(shell $(or $(wildcard $(PY)),$(call quoted,$(python))) -c '$(nearest)' \
  $(call quoted,$(1)) $(known) 2>/dev/null)

ifeq ($(filter-out $(targets),$(goals)),)
$(foreach name,$(filter-out $(known),$(on_command_line)),$(error \
  make $(goals) knows no $(name); $(or $(call hint,$(name)),make help lists what it knows)))
$(foreach name,$(filter-out ARGS,$(on_command_line)),$(if $(value $(name)),,$(error \
  $(name) is empty; leave it out for its default)))
$(foreach name,$(filter $(flags),$(on_command_line)),$(if \
  $(filter $(yes) $(no),$(value $(name))),,$(error $(name) is 1 or 0, not $(value $(name)))))
endif
