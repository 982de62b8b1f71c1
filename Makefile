# Each target sets up what it needs. `make demo` first, `make test` before a commit.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTS := $(VENV)/.tests
STUBS := build/stubs
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup demo test check bench bench-check fuzz soak clean

help:
	@echo "make demo    everything on this machine, no board: CA, broker, virtual Pico W, readings, refusals"
	@echo "make test    checks and all tests"
	@echo "make check   ruff and mypy only"
	@echo "make bench   speed and size against peers and limits: build/bench.md, .svg, .json"
	@echo "make bench-check  the same, against docs/bench-reference.json (a quiet machine, please)"
	@echo "make fuzz    long fuzzing of everything that reads bytes from outside"
	@echo "make soak    hours: 1,000 power cuts, 100 killed brokers, a fleet of 1,000, 15,000 broken connections, 200 deployments"
	@echo "make clean   remove build/ and .venv/"

setup: $(TESTS)

$(READY): pyproject.toml constraints.txt
	@sh host_tools/setup.sh $(PYTHON) $(VENV)

$(TESTS): $(READY)
	@sh host_tools/setup.sh $(PYTHON) $(VENV) tests

demo: $(READY)
	@$(BIN)/rootlet demo

check: $(TESTS) $(STUBS)/.ready
	$(BIN)/ruff check .
	$(BIN)/mypy host_tools tests/device_runner.py
	$(BIN)/mypy --config-file firmware/mypy.ini

# The stubs describe MicroPython's `socket`, `time`, …, so they live apart from the venv's own packages.
$(STUBS)/.ready: constraints.txt $(TESTS)
	@rm -rf $(STUBS)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(STUBS) -c constraints.txt \
		micropython-rp2-rpi_pico_w-stubs micropython-stdlib-stubs
	@touch $@

# Most of the time they wait. In the order of the folders: long files first, or the last of them would run alone at the end.
test: check
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

bench: $(READY)
	@$(BIN)/rootlet bench

bench-check: $(READY)
	@$(BIN)/rootlet bench --check

# Examples for each reader by hypothesis; inputs for each of the fast seeded ones (a million take two to six minutes each).
FUZZ_EXAMPLES ?= 200000
FUZZ_INPUTS ?= 1000000
fuzz: $(TESTS)
	ROOTLET_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) ROOTLET_FUZZ_INPUTS=$(FUZZ_INPUTS) $(BIN)/pytest tests/fuzz --timeout=3600
	ROOTLET_FUZZ_EXAMPLES=20000 $(BIN)/pytest tests/unit/test_live_hostile.py -k whatever --timeout=3600

soak: $(TESTS)
	ROOTLET_SOAK_SECONDS=3600 $(BIN)/pytest tests/integration/test_gateway.py -k soak --timeout=4000
	ROOTLET_BLE_FLOOD_S=60 $(BIN)/pytest tests/board/test_ble_gateway_on_board.py -k hundred -s --timeout=600
	ROOTLET_SOAK_PUBLISHES=2000000 ROOTLET_SOAK_RECONNECTS=5000 $(BIN)/pytest tests/soak -s --timeout=4000
	ROOTLET_DEPLOY_CUTS=200 $(BIN)/pytest tests/board/test_deploy_atomic.py -k random --timeout=4000
	ROOTLET_OUTBOX_CUTS=20000 $(BIN)/pytest tests/unit -k "outbox and lost" --timeout=4000
	ROOTLET_LIVE_DEVICES=200 ROOTLET_LIVE_TOPICS=1000000 $(BIN)/pytest tests/unit/test_live_hostile.py -s --timeout=4000
	ROOTLET_CHAOS_CUTS=1000 $(BIN)/pytest tests/chaos/test_power_cuts.py
	ROOTLET_CHAOS_KILLS=100 $(BIN)/pytest tests/chaos/test_broker_kills.py
	ROOTLET_RABBIT=1 $(BIN)/pytest tests/integration/test_rabbitmq.py
	ROOTLET_RABBIT=1 ROOTLET_CLUSTER_KILLS=20 ROOTLET_CLUSTER_DEVICES=100 $(BIN)/pytest tests/integration/test_cluster.py --timeout=2000
	ROOTLET_CHAOS_KICKS_S=60 $(BIN)/pytest tests/chaos/test_bad_wires.py -k throws_out
	ROOTLET_KILLS=200 ROOTLET_HISTORY_S=600 $(BIN)/pytest tests/unit/test_history.py -k 'kill_9 or thousand' -s --timeout=4000
	ROOTLET_FLEET=1000 $(BIN)/pytest tests/integration/test_fleet.py --timeout=400
	ROOTLET_EXAMPLES=all $(BIN)/pytest tests/board/test_examples.py -k battery --timeout=400
	ROOTLET_DOCS=all $(BIN)/pytest tests/docs -s --timeout=900
	ROOTLET_DASHBOARD_DEVICES=1000 $(BIN)/pytest tests/soak/test_dashboard_load.py -s

clean:
	rm -rf build $(VENV)
