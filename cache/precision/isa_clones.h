#pragma once

// Before a function's return type: compiled once for each of some instruction sets, of which the
// machine's best is taken when the program starts. Sums keep their order and no step is fused with
// the next (-ffp-contract=off), so that the results are the same with all of them. Not where
// sanitizers run: the choice is made before they are ready.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CONCERTINA_ISA_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CONCERTINA_ISA_CLONES
#endif
