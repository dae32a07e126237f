/* What the tests of this folder share: a quiet context, the tiny tokenizers, files written for one test. */
#ifndef ESPL_TRAIN_COMMON_H
#define ESPL_TRAIN_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these before it */
#include <cmocka.h>
#include <espalier/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    espl_context *ctx;
    espl_tokenizer *level, *spaced;
} fixture;

static inline void quiet(void *user, espl_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}

static inline espl_context *quiet_context(void) {
    espl_context *ctx;
    assert_int_equal(espl_context_create(&(espl_context_params){.log = quiet}, &ctx), ESPL_OK);
    return ctx;
}

static inline int load_fixture(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->ctx = quiet_context();
    assert_int_equal(espl_tokenizer_load(f->ctx, ESPL_TEST_FOLDER "/bytelevel", &f->level), ESPL_OK);
    assert_int_equal(espl_tokenizer_load(f->ctx, ESPL_TEST_FOLDER "/spaced", &f->spaced), ESPL_OK);
    *state = f;
    return 0;
}

static inline int drop_fixture(void **state) {
    fixture *f = *state;
    espl_tokenizer_destroy(&f->level);
    espl_tokenizer_destroy(&f->spaced);
    espl_context_destroy(&f->ctx);
    free(f);
    return 0;
}

/* In the test's working folder; removed by the test. */
static inline void put_file(const char *path, const char *text, size_t bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

#endif
