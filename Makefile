# The front doors. CMake and its presets do the work; see CONTRIBUTING.md for single steps.
.PHONY: help setup setup-build setup-test build demo test man recordings fit-demo bench-demo bench-grown bench-kernels bench-quality bench-flash bench-policies bench-exit bench-execution bench-sessions bench-serve bench-plan clean

help:
	@echo 'make build   set up and build: the program is build/release/lever'
	@echo 'make demo    set up, build, and run the main job on a small model pair'
	@echo 'make test    set up, build every variant, run all tests; ends with a count'
	@echo 'make bench-demo  speculation against plain decoding on the demo pair'
	@echo 'make bench-grown  the demo pair in the shapes of 8B and 0.6B models (5 GB in the cache folder)'
	@echo 'make bench-kernels  sweeps of an 8B shape by rows, beside llama-bench where it is on the PATH (17 GB)'
	@echo 'make bench-quality  perplexity of every weight type, beside llama-perplexity where it is on the PATH'
	@echo 'make bench-flash  streaming beside plain reads, fio and llama.cpp with mmap, where they are (5 GB)'
	@echo 'make bench-exit  early-exit pruning on held-out prompts'
	@echo 'make bench-execution  drafting in batches, projection on demand, drafting beside verification (5 GB)'
	@echo 'make bench-sessions  1, 2 and 4 conversations that share sweeps, on the grown pair (5 GB)'
	@echo 'make bench-policies  Lever beside the tree policies of the literature, on the grown pair (5 GB, an hour)'
	@echo 'make bench-serve  conversations at once over HTTP on the grown pair (5 GB), and a soak of the server'
	@echo 'make bench-plan  predictions of lever plan beside measurements, 34 configurations (19 GB, 90 minutes)'
	@echo 'make man     write the man page and completions anew from what the program says'
	@echo 'make recordings  record make demo and a talk of lever chat anew, for the README (docs/*.svg)'
	@echo 'make fit-demo  train the exit predictor of the demo target on text it writes itself (10 minutes)'
	@echo 'make setup   install the packages that building and testing need (Debian, Ubuntu)'
	@echo 'make clean   remove build/'

setup: setup-test

setup-build:
	@tools/setup.sh build

setup-test:
	@tools/setup.sh test
	@tools/setup.sh clients

build: setup-build
	cmake --preset release
	cmake --build --preset release

demo: build
	tools/demo.sh

# SECTIONS="dev asan" runs only these; see tools/run_tests.py.
test: setup-test
	python3 -B tools/run_tests.py $(SECTIONS)

# Benchmarks print their table, append CSV rows under bench/results/, and end with one BAR line per bar.
bench-demo: build
	python3 -B bench/bench_demo.py build/release/lever

bench-grown: build
	python3 -B bench/bench_grown.py build/release/lever

bench-kernels: build
	python3 -B bench/bench_kernels.py build/release

bench-quality: build
	python3 -B bench/bench_quality.py build/release/lever

bench-flash: build
	python3 -B bench/bench_flash.py build/release

bench-exit: build
	python3 -B bench/bench_exit.py build/release/lever

bench-execution: build
	python3 -B bench/bench_execution.py build/release/lever

bench-sessions: build
	python3 -B bench/bench_sessions.py build/release

bench-policies: build
	python3 -B bench/bench_policies.py build/release/lever

bench-serve: build
	python3 -B bench/bench_serve.py build/release/lever
	python3 -B bench/bench_serve.py build/release/lever --soak

bench-plan: build
	python3 -B bench/bench_plan.py build/release/lever

fit-demo: build
	python3 -B tools/fit_demo.py build/release/lever

man: build
	python3 -B tools/make_man.py build/release/lever

recordings: build
	python3 -B tools/term_svg.py docs/demo.svg "make demo" tools/demo.sh
	python3 -B tools/record_chat.py build/release/lever docs/chat.svg

clean:
	rm -rf build
