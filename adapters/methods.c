/* Every method there is. Of rows with the same peft_type the first that recognises a configuration reads it. */
#include "host/model/adapter.h"

#define METHODS(X) \
    X(head) \
    X(bitfit) \
    X(ln) \
    X(dora) \
    X(dylora) \
    X(vera) \
    X(adalora) \
    X(lora) \
    X(ia3) \
    X(pasta) \
    X(adalink) \
    X(invertible) \
    X(houlsby) \
    X(pfeiffer) \
    X(parallel) \
    X(scaled_parallel) \
    X(adapterplus) \
    X(compacter) \
    X(compacter_pp) \
    X(mam) \
    X(unipelt) \
    X(union) \
    X(fusion) \
    X(embeddings) \
    X(library_dora) \
    X(library_vera) \
    X(library_lora) \
    X(mtl_lora) \
    X(library_prefix) \
    X(library_prompt) \
    X(loreft) \
    X(direft) \
    X(noreft) \
    X(prompt) \
    X(ptuning) \
    X(prefix) \
    X(ptuning2) \
    X(tiny_attention) \
    X(flop) \
    X(diff_pruning)

#define DECLARE(name) extern const espl_method espl_method_##name;
#define POINT(name) &espl_method_##name,
METHODS(DECLARE)

const espl_method *const espl_methods[] = {METHODS(POINT)};
const size_t espl_method_count = ESPL_COUNT(espl_methods);
