/* What the files of the harness share. */
#ifndef ESPL_TESTS_OPS_HARNESS_PRIVATE_H
#define ESPL_TESTS_OPS_HARNESS_PRIVATE_H

#include "tests/ops/harness.h"

/* NaNs in every dtype but I32, told apart. */
enum { WORD_UNWRITTEN = 0x7fff7fff, WORD_PADDING = 0x7ffe7ffe, WORD_GUARD = 0x7ffd7ffd };

/* ---- memory.c ---- */

/* Zeroed host memory. */
void *op_memory(size_t bytes);
void op_fill_words(void *memory, uint32_t word, size_t bytes);
size_t op_leaf_count(const op_leaf *leaf);
/* Where a planned tensor lies. */
espl_span op_span_of(const espl_tensor *t);
void op_check_guards(const char *label);
/* rows * stride elements with a NaN in the padding; from malloc. */
void *op_padded(const espl_tensor *t, const double *values, size_t *out_bytes);
/* padding: what is expected between cols and stride; 0 for anything. made: by an operator, whose 16-bit stores may fill the
 * last quad of a row. */
void op_read_checked(const espl_tensor *t, double *out_values, uint32_t padding, bool made, const char *label);
void op_fill_tensor(const espl_tensor *t, uint32_t word, bool zero_values);

/* Half a unit in the last place, relative to the value; 0 for F32 and I32. */
double op_rounding(espl_dtype dtype);
/* Of sums of squares: what rounding and f32 arithmetic may make together. */
double op_bound_root_mean_square(double of_rounding, double looser);
/* Every error is at most of_element times the expected value plus (of_largest + what f32 may lose) times the largest. */
void op_compare_rounded(const char *label, const double *got, const double *expected, size_t count, double of_element,
                        double of_largest, double looser);

/* ---- wires.c ---- */

espl_tensor *op_wire(espl_graph *graph, espl_tensor *from, const char *name);
void op_wires_forget(void);
/* The gradient that came through the wire behind this parameter; NULL: there is none. */
const espl_tensor *op_wired_gradient(const espl_tensor *parameter);
/* in: `count` gradients to give, then the tensors that get them; out: copies of the gradients, then the "loss". */
espl_status op_seed(espl_graph *graph, espl_tensor *const *in, espl_tensor *const *out, uint32_t count);

/* ---- slopes.c ---- */

typedef struct op_expectation {
    const op_case *test;
    double **values;
    size_t output_count;
    const double *seed;
    double *plus, *minus;
} op_expectation;

/* What the gradient of one leaf should be: all elements, or its products with random directions of +-1. */
typedef struct op_leaf_slope {
    bool full;
    size_t count; /* of expected */
    double *expected;
} op_leaf_slope;

op_leaf_slope op_find_slope(op_expectation *e, uint32_t i);
/* extra: a second gradient of this leaf, or NULL. of_rounding: what 16-bit values that the backward pass reads again add to
 * the relative error. */
void op_check_gradient(const op_case *test, uint32_t i, const op_leaf_slope *slope, const double *got,
                       const double *extra, double of_rounding, const char *mode);

#endif
