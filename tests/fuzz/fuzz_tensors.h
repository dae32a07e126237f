/* Any bytes as a file of tensors, for the targets of each format: the shapes of what is accepted agree with its sizes, and
 * every byte of it can be read. */
#ifndef ESPL_TESTS_FUZZ_TENSORS_H
#define ESPL_TESTS_FUZZ_TENSORS_H

#include "host/file/tensors.h"
#include "tests/fuzz/fuzz.h"
#include <limits.h>

static inline int fuzz_tensors(const uint8_t *data, size_t bytes) {
    espl_context *ctx = fuzz_context();
    espl_tensors *set;
    if (espl_tensors_open_memory(ctx, data, bytes, "fuzz", &set) == ESPL_OK) {
        unsigned sum = 0;
        for (size_t i = 0; i < espl_tensors_count(set); i++) {
            espl_tensor_view view, again;
            if (espl_tensors_at(set, i, &view) != ESPL_OK) continue;
            size_t values = 1;
            for (uint32_t d = 0; d < view.rank; d++) values *= view.shape[d];
            FUZZ_CHECK(values * espl_dtype_bytes(view.dtype) == view.bytes);
            for (size_t k = 0; k < view.bytes; k++) sum += view.data[k];
            FUZZ_CHECK(espl_tensors_find(set, espl_tensors_name(set, i), &again) == ESPL_OK && again.data == view.data);
        }
        FUZZ_CHECK(sum != UINT_MAX); /* the sum must be needed, or the reads are not made */
        (void)espl_tensors_metadata(set, "format");
    } else {
        FUZZ_CHECK(set == NULL && espl_context_message(ctx)[0]);
    }
    espl_tensors_destroy(&set);
    espl_context_destroy(&ctx);
    return 0;
}

#endif
