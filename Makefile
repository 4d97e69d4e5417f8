# frozenvis. `make demo` and `make test` see to their own set-up; `make help` lists the rest.
# Output goes to build/. CC, CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS are respected; CBLAS=1 and FROZENVIS_OPENMP=1 opt in.
.DEFAULT_GOAL := all
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g
B ?= build
STD = -std=c99
WARN = -Wall -Wextra -Wconversion -Wshadow -pedantic
WERROR_FLAG = $(if $(WERROR),-Werror)

ifneq ($(FROZENVIS_OPENMP),)
OPT_FLAGS += -DFROZENVIS_OPENMP -fopenmp
OPT_LIBS += -fopenmp
endif
ifneq ($(CBLAS),)
CBLAS_LIBS ?= -lopenblas
OPT_FLAGS += -DFROZENVIS_CBLAS
OPT_LIBS += $(CBLAS_LIBS)
endif

# What this machine has, found out once: HAVE_FLAGS and HAVE_LIBS. See tools/probe.sh.
GOALS = $(or $(MAKECMDGOALS),all)
ifneq ($(filter all asan cuda test-cuda bench-cuda examples fuzz demo-run demo-run-% test-run bench bench-growth install config $(B)/%,$(GOALS)),)
CONFIG := $(shell CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' LDFLAGS='$(LDFLAGS)' sh tools/probe.sh $(B)/config.mk)
include $(B)/config.mk
endif

FV_SOURCES = $(wildcard tools/*.c tools/tasks/*.c tools/data/*.c)
FV_OBJECTS = $(FV_SOURCES:%.c=$(B)/obj/%.o)
EXAMPLES = $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))
COMPILE = $(CC) $(STD) $(WARN) $(WERROR_FLAG) -I. -Itools -I$(B) $(HAVE_FLAGS) $(OPT_FLAGS) $(CPPFLAGS) $(CFLAGS)
LIBS = $(HAVE_LIBS) $(OPT_LIBS) $(LDLIBS) -lm -lpthread

NVCC ?= nvcc
CUDA_ARCH ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]

.PHONY: all help config examples asan cuda test-cuda bench-cuda test test-run fuzz demo demo-run evidence bench bench-growth install uninstall clean FORCE

all: $(B)/fv

help:
	@echo 'make            build/fv'
	@echo 'make demo       fetch data and LLM, train with and without the frozen block, table and pictures'
	@echo 'make demo-TASK  the same for points video volumes motion vqa retrieval scene-qa: train, measure, a picture'
	@echo 'make evidence   does the block help? tables, plots, heat maps: hours, resumable, one part: make evidence-image'
	@echo 'make test       everything that is checked (CI runs the same)'
	@echo 'make fuzz        explores the readers for crashes: FUZZ_SECONDS (60) each, FUZZ_TARGETS (all)'
	@echo 'make examples   build/examples/*'
	@echo 'make bench      speed here, as shares of the peak and beside PyTorch and onnxruntime (PEER_PYTHON=python; QUICK=1)'
	@echo 'make bench-growth  how cost grows with tokens, batch, blocks and threads: a table and a plot'
	@echo 'make asan       build/asan/fv with the sanitizers and our assertions on'
	@echo 'make cuda       build/cuda/fv, which computes on a GPU too (--device cuda); wants nvcc and cuBLASLt'
	@echo 'make test-cuda  what can be checked on a GPU only; make bench-cuda: its speed, beside PyTorch'
	@echo 'make install    PREFIX=$(PREFIX): bin/fv, include/frozenvis.h; uninstall takes them away'
	@echo 'make clean      removes build/'
	@echo 'options         CC=clang  CFLAGS=-O3  NCCL=DIR  CBLAS=1  FROZENVIS_OPENMP=1  WERROR=1'

$(B)/fv: $(FV_OBJECTS) $(B)/command
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(FV_OBJECTS) $(LIBS)

$(B)/obj/%.o: %.c $(B)/command
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c -o $@ $<

# the list of tasks: whoever defines one in tools/tasks/
$(B)/obj/tools/tasks/tasks.o: $(B)/tasks.inc
$(B)/tasks.inc: FORCE
	@mkdir -p $(@D)
	@sed -n 's/^const task task_\([a-z0-9_]*\) = {$$/TASK(\1)/p' tools/tasks/*.c >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

examples: $(EXAMPLES)
$(B)/examples/%: examples/%.c frozenvis.h $(B)/command
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $< $(LIBS)

# another compiler or other flags rebuild everything: this file changes when the command does
$(B)/command: FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE) $(LDFLAGS) $(LIBS)' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

config: FORCE
	@cat $(B)/config.mk

asan:
	$(MAKE) all B=$(B)/asan CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined' \
	    CPPFLAGS='$(CPPFLAGS) -DFROZENVIS_DEBUG'

# The same program with the library compiled as CUDA: machine code for sm_80 and sm_90, PTX for later ones; warnings are errors.
cuda: $(B)/cuda/fv
$(B)/cuda/fv: $(B)/cuda/frozenvis.o $(filter-out %/frozenvis.o,$(FV_OBJECTS))
	$(NVCC) -o $@ $^ $(filter-out -fopenmp,$(LIBS)) -lcublasLt $(if $(HAVE_NCCL),$(NCCL_AT) -lnccl)
$(B)/cuda/frozenvis.o: tools/frozenvis.c frozenvis.h $(B)/cuda/nccl
	$(NVCC) -x cu -std=c++17 -O2 $(CUDA_ARCH) -Werror all-warnings -DFROZENVIS_CUDA $(if $(HAVE_NCCL),-DFROZENVIS_NCCL $(NCCL_AT)) -I. -c -o $@ $<
# several GPUs (--gpus N) go by NCCL, where nvcc finds it; NCCL=DIR says where its include/ and lib/ are
NCCL_AT = $(if $(NCCL),-I$(NCCL)/include -L$(NCCL)/lib)
HAVE_NCCL = $(shell cat $(B)/cuda/nccl)
$(B)/cuda/nccl: FORCE
	@mkdir -p $(@D)
	@printf '#include <nccl.h>\nint main(void) { return ncclGetVersion(0); }\n' >$@.cu
	@if $(NVCC) $(NCCL_AT) -o $@.probe $@.cu -lnccl >/dev/null 2>&1; then echo yes; fi >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
test-cuda: all cuda
	@NVCC='$(NVCC)' NCCL='$(NCCL)' FV_CUDA=$(B)/cuda/fv sh tests/test_cuda.sh
bench-cuda: cuda
	@CC='$(CC)' FV='$(B)/cuda/fv' BENCH_OUT='$(B)/bench' sh tools/bench_cuda.sh

# set-up may install what the build looks for: hence a make of its own after it
test:
	@sh tools/setup.sh test
	@$(MAKE) --no-print-directory test-run
test-run: all
	@CC='$(CC)' HAVE_FLAGS='$(HAVE_FLAGS)' HAVE_LIBS='$(HAVE_LIBS)' sh tests/run $(T)

# needs clang and its libFuzzer (Debian: libclang-rt-14-dev); what was found stays in build/fuzz/TARGET
fuzz: $(B)/command
	@HAVE_FLAGS='$(HAVE_FLAGS)' HAVE_LIBS='$(HAVE_LIBS)' sh tests/fuzz/run $(FUZZ_TARGETS)

demo:
	@sh tools/setup.sh demo
	@$(MAKE) --no-print-directory demo-run
demo-run: all
	@sh tools/demo.sh
# demo-points, demo-video, demo-volumes, demo-motion, demo-vqa, demo-retrieval, demo-scene-qa
demo-%:
	@sh tools/setup.sh demo
	@$(MAKE) --no-print-directory demo-run-$*
demo-run-%: all
	@sh tools/demo_task.sh $*

# a few hours, resumable; evidence-PART does one part: see tools/evidence.sh
evidence:
	@sh tools/setup.sh demo
	@$(MAKE) --no-print-directory all
	@sh tools/evidence.sh
evidence-%:
	@sh tools/setup.sh demo
	@$(MAKE) --no-print-directory all
	@sh tools/evidence.sh $*

bench: all
	@CC='$(CC)' FV='$(B)/fv' BENCH_OUT='$(B)/bench' sh tools/bench.sh
bench-growth: all
	@FV='$(B)/fv' BENCH_OUT='$(B)/bench' sh tools/bench_growth.sh

install: all
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/include'
	install -m 755 $(B)/fv '$(DESTDIR)$(PREFIX)/bin/fv'
	install -m 644 frozenvis.h '$(DESTDIR)$(PREFIX)/include/frozenvis.h'
	install -d '$(DESTDIR)$(PREFIX)/share/frozenvis'
	install -m 755 tools/fetch.sh '$(DESTDIR)$(PREFIX)/share/frozenvis/fetch.sh'
uninstall:
	rm -f '$(DESTDIR)$(PREFIX)/bin/fv' '$(DESTDIR)$(PREFIX)/include/frozenvis.h' '$(DESTDIR)$(PREFIX)/share/frozenvis/fetch.sh'

clean:
	rm -rf $(B)

-include $(FV_OBJECTS:.o=.d)
