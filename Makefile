# make book   build the book and print the page to open
# make test   lint, types and all tests (fetches Chromium where it is missing)
# make quick  lint, types and the tests that need no book, browser or mutants: minutes
# make pdf    build the book and print it into _build/tigerdiff.pdf
# make slides write the slides of each chapter, HTML and PDF, into _build/slides
# make lint   ruff and mypy alone
# make bench  compare with other libraries and write bench/results (25 minutes of a quiet machine)
# make assignments  write the graded assignments to grading/ (ROSTER=ids.txt for one variant each)
# make offline  one archive in build/offline: wheels, course, book, assignments, for a room without
#             network (with the small CPU build of torch: PIP_EXTRA_INDEX_URL as in the README)
# make gpu    what only a GPU can show, in 8 minutes, needs no network (HALF=1, HALF=2: one half;
#             DRY=1: a tiny size on the CPU); python -m bench.gpu_wheels fetches what is missing
# make clean  remove everything made here, .venv included
#
# Each does all it needs on a machine with Python 3.10 to 3.13, git and make.
# Another interpreter:  make book PYTHON=python3.12
# As on a plain laptop (AVX2, no bfloat16), on any machine:  make book LAPTOP=1

PYTHON ?= python3
COURSE ?= grading
BIN := .venv/bin
READY := .venv/.ready

# Threads that wait for each other must not spin: beside another program that costs tenfold.
export OMP_WAIT_POLICY ?= PASSIVE
ifdef LAPTOP
export ATEN_CPU_CAPABILITY := avx2
export ONEDNN_MAX_CPU_ISA := AVX2
export MKL_ENABLE_INSTRUCTIONS := AVX2
endif

# Two processes with one thread each run the tests, each file in one of them.
TWO := -n 2 --dist loadfile
test quick: export OMP_NUM_THREADS := 1

.PHONY: book pdf slides test quick lint bench assignments offline gpu clean

book: $(READY)
	$(BIN)/python tools/execute_pages.py $(if $(CHECK),--check)
	rm -rf _build/html
	$(BIN)/python tools/live_assets.py
	$(BIN)/jupyter-book build book --toc "$(CURDIR)/_toc.yml" --all -W --keep-going
	$(BIN)/python tools/plain_notebooks.py _build/html/_sources
	@echo
	@echo "The book is ready. Open this page in a browser:"
	@echo "  file://$(CURDIR)/_build/html/index.html"

pdf: book
	$(BIN)/python tools/chromium.py
	$(BIN)/python tools/book_pdf.py

slides: $(READY)
	$(BIN)/python tools/chromium.py
	$(BIN)/python tools/slides.py

test: lint
	$(BIN)/python tools/chromium.py
	$(BIN)/python -m pytest $(TWO)

quick: lint
	$(BIN)/python -m pytest $(TWO) -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tigerdiff

bench: $(READY)
	$(BIN)/python -m pip install --quiet -r bench/requirements.txt
	$(BIN)/python -m bench $(PARTS)

assignments: $(READY)
	$(BIN)/python instructor/assignments/make.py $(COURSE) $(if $(ROSTER),--roster $(ROSTER))

offline: book
	$(BIN)/python tools/slides.py --fetch
	$(BIN)/python instructor/assignments/make.py build/course
	$(BIN)/python tools/offline.py

# With the environment, if it is there, else with what the machine has: nothing is installed.
gpu:
	$(if $(wildcard $(READY)),$(BIN)/python,$(PYTHON)) -m bench.gpu $(if $(HALF),--half $(HALF)) $(if $(DRY),--dry)

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "tigerdiff needs Python 3.10 to 3.13 as '$(PYTHON)'; name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

clean:
	rm -rf .venv _build build dist plain tigerdiff.egg-info .pytest_cache .mypy_cache .ruff_cache book/.ruff_cache \
	  bench/__pycache__
	find tigerdiff tests tools instructor -name __pycache__ -prune -exec rm -rf {} +
