/* What the fuzz targets share: a context that says nothing and a check that ends the process. */
#ifndef ESPL_TESTS_FUZZ_H
#define ESPL_TESTS_FUZZ_H

#include <espalier/context.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define FUZZ_CHECK(condition)                                             \
    do {                                                                  \
        if (!(condition)) {                                               \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                      \
        }                                                                 \
    } while (0)

static inline void fuzz_log(void *user, espl_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}

static inline espl_context *fuzz_context(void) {
    const espl_context_params params = {.log = fuzz_log};
    espl_context *ctx;
    FUZZ_CHECK(espl_context_create(&params, &ctx) == ESPL_OK);
    return ctx;
}

#endif
