/* What the tests of compositions share: a small model of tests/golden with adapters a and b whose values are random, and rows for it. */
#ifndef ESPL_PAIR_TEST_H
#define ESPL_PAIR_TEST_H

#include "host/model/composition.h"
#include "tests/model/model_test.h"

enum { PAIR_ROWS = 5, PAIR_TOKENS = 9 };

typedef struct test_pair {
    const char *model, *a, *b;
} test_pair;

extern const int32_t test_pair_lengths[PAIR_ROWS];
/* f32 sums of the same numbers in another order, through a few blocks. */
extern const double test_pair_bound;

/* Random numbers are added to what is trained of an adapter. */
void test_pair_fill(espl_adapter *adapter, uint64_t seed);
espl_model *test_pair_load(const test_pair *pair);
/* Random ids below the vocabulary of the pair loaded last. */
void test_pair_ids(int32_t ids[PAIR_ROWS * PAIR_TOKENS]);
/* tasks may be NULL. */
espl_dataset *test_pair_rows(const int32_t *tasks);
/* Outputs of the rows with adapters as the expression says: replicas * PAIR_ROWS * *out_row values, from malloc. */
float *test_pair_predict(espl_model *model, const char *expression, const int32_t *tasks, size_t *out_row);
/* Norm of a - b over norm of b. */
double test_pair_off(const float *a, const float *b, size_t count);
/* How many outputs of a row are compared: padding is nobody's. */
size_t test_pair_compared(const espl_model *model, size_t row, int r);

#endif
