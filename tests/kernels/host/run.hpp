// Runs a kernel on the CPU: the threads of a block are fibres that take turns, switching at barriers only.
#pragma once
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "cuda_fp16.h"

uint3_ threadIdx, blockIdx, blockDim, gridDim;

struct Fibre {
  ucontext_t context;
  unsigned id;
  int waits = -1;  // scope of the barrier it stands at, -1: none
  bool done = false;
};
static std::vector<Fibre> fibres;
static std::vector<char> stacks;
static ucontext_t scheduler;
static Fibre* current;
static const std::function<void()>* body;
constexpr size_t STACK = 64 * 1024;

void host_barrier(int scope) {
  current->waits = scope;
  swapcontext(&current->context, &scheduler);
}

static void fibre_main() {
  (*body)();
  current->done = true;
}

static void resume(Fibre& f) {
  current = &f;
  threadIdx = {f.id, 0, 0};
  swapcontext(&scheduler, &f.context);
}

// Lets through the fibres [begin, end) if all that are left stand at a barrier of this scope.
static bool release(size_t begin, size_t end, int scope) {
  bool any = false;
  for (size_t i = begin; i < end; i++) {
    if (fibres[i].done) continue;
    if (fibres[i].waits != scope) return false;
    any = true;
  }
  for (size_t i = begin; i < end; i++) fibres[i].waits = -1;
  return any;
}

inline void host_launch(unsigned gx, unsigned gy, unsigned threads, const std::function<void()>& kernel) {
  gridDim = {gx, gy, 1};
  blockDim = {threads, 1, 1};
  body = &kernel;
  stacks.resize(threads * STACK);
  for (unsigned by = 0; by < gy; by++)
    for (unsigned bx = 0; bx < gx; bx++) {
      blockIdx = {bx, by, 0};
      fibres.assign(threads, Fibre{});
      for (unsigned i = 0; i < threads; i++) {
        Fibre& f = fibres[i];
        f.id = i;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = stacks.data() + i * STACK;
        f.context.uc_stack.ss_size = STACK;
        f.context.uc_link = &scheduler;
        makecontext(&f.context, fibre_main, 0);
      }
      for (bool left = true; left;) {
        left = false;
        bool moved = false;
        for (Fibre& f : fibres) {
          if (f.done || f.waits >= 0) continue;
          resume(f);
          moved = true;
        }
        for (const Fibre& f : fibres) left |= !f.done;
        for (size_t w = 0; w < threads; w += 32) moved |= release(w, w + 32 < threads ? w + 32 : threads, 1);
        moved |= release(0, threads, 0);
        if (left && !moved) {
          std::fprintf(stderr, "threads of a block wait at different barriers\n");
          std::abort();
        }
      }
    }
}
