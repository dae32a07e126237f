/* The test body that every operator shares. A test lists cases: the leaves, how the operator is built, and its
 * double-precision reference; op_check then
 *   - runs it in memory filled with NaN and compares with the reference,
 *   - gives the output a random gradient and compares the gradient of every differentiable leaf with central finite
 *     differences of the reference; once with fresh gradient memory, once with gradients to add to,
 *   - does so with f32 values and, where values take part, with f16 and bf16 values (espl_graph_value_dtype): inputs are
 *     rounded before the reference sees them, so the output may be off by half a unit in the last place of its format
 *     plus what f32 arithmetic loses, and gradients, which are f32, by the latter alone,
 *   - looks at padding, guard bands and read-only leaves (untouched), and runs everything twice (same bits).
 * A validation message fails the test. On a software driver all tests run a second time with the variants that other
 * devices get, and wherever these had cooperative matrix, once more without. Environment: ESPL_TEST_DEVICE (espl_device_params.select), ESPL_TEST_VALIDATION=0,
 * ESPL_TEST_PRINT; ESPL_TEST_PLAN=1: kernels are made, graphs recorded, and nothing runs (tests/drivers). */
#ifndef ESPL_TESTS_OPS_HARNESS_H
#define ESPL_TESTS_OPS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* uses the four above */

#include "host/graph/graph.h"
#include "tests/ref/ref.h"

enum { OP_LEAVES_MAX = 8 };

/* One input matrix. Values: `values`, `integers`, else uniform in [low, high), else (both 0) uniform with magnitudes in
 * [0.05, 1) and random sign. They are rounded to dtype before the reference sees them. */
typedef struct op_leaf {
    const char *name;
    uint32_t rows, cols; /* rows 0: the leaf is absent, NULL for build and reference */
    /* VALUE (default): an activation, made by a node; differentiable. PARAMETER: differentiable, f32. WEIGHT, STATE,
     * STEP: given. */
    espl_role role;
    espl_dtype dtype; /* default F32; I32 for ids and lengths */
    uint32_t stride;  /* 0: cols rounded up to 4; not for VALUE and STEP */
    double low, high;
    const double *values;
    const int32_t *integers;
    bool frozen; /* VALUE without a gradient: made from a WEIGHT */
    bool as_value; /* STATE that is stored as values are: a cache */
    bool f32;      /* VALUE that is f32 whatever others are: stands for a weight */
} op_leaf;

typedef struct op_case {
    const char *name;
    op_leaf leaf[OP_LEAVES_MAX];
    /* Adds the operator and returns the tensor to compare. */
    espl_tensor *(*build)(espl_graph *graph, espl_tensor *const *leaves, const void *args);
    /* out has rows * cols values of that tensor, leaves theirs: no padding. out is zeroed before the call. */
    void (*reference)(const double *const *leaves, const void *args, double *out);
    const void *args;
    const uint32_t *step; /* ESPL_STEP_WORDS words of the step buffer, or NULL: zeros */
    double looser;        /* multiplies the bounds on errors; 0 means 1. Say why beside it. */
    bool output_reused;   /* the output's memory held another tensor before, so its padding says nothing */
    bool forward_only;    /* no gradients although leaves are differentiable */
    bool rounds_inside;   /* of several operators: values between them are rounded to 16 bits too */
    bool reads_output;    /* the backward pass reads the output, as it was rounded to 16 bits */
    bool output_sparse;   /* columns of the output that no node writes are NaN in reference and device */
} op_case;

/* Fails the running cmocka test with a sentence if anything is off. */
void op_check(const op_case *test);

/* main() of an operator's test: 77 when there is no device, else 0 or 1. */
int op_main(const char *name, const struct CMUnitTest *tests, size_t count);

/* ---- For tests that need more than op_check ---- */

espl_device *op_device(void);
espl_context *op_context(void);
/* Fails the test with the context's message unless status is OK. */
void op_ok(espl_status status);
/* The first words of the context's message when status is not OK: op_refused(status, ESPL_ARGUMENT, "rmsnorm: w has
 * 3"). */
void op_refused(espl_status status, espl_status expected, const char *message_part);
/* Fails if there were validation messages since the test began. */
void op_no_validation_messages(void);

/* op_check with so small a storage range that the operator takes windows: fails if it does not. Take sizes of which no
 * window is even, and leave room for what is bound whole. */
void op_check_windows(const op_case *test, uint64_t storage_range);
/* Lowers storage_range_max, so that windows are needed; 0: as the device has it. */
void op_storage_range(uint64_t bytes);

/* Memory of rows * stride elements from the test's arena, followed by a guard band. */
espl_span op_span(uint32_t rows, uint32_t stride, espl_dtype dtype);
/* Releases what op_span gave; op_check does it itself. */
void op_spans_finish(void);
/* Values of t (after planning) without padding; padding is written with / expected to be a NaN. Blocking. */
void op_write(const espl_tensor *t, const double *values);
void op_read(const espl_tensor *t, double *out_values);

/* Deterministic values: uniform in [low, high), or as op_leaf says when both are 0. */
void op_random(uint64_t stream, double low, double high, double *out_values, size_t count);
double op_round(double value, espl_dtype dtype);
/* Compares within the bounds of dtype: f32 arithmetic (times looser) and the rounding of the result. */
void op_compare(const char *label, const double *got, const double *expected, size_t count, espl_dtype dtype,
                double looser);

/* Whether the device must be given kernels with matrix units for factors of dtype; if not, says why by name. shader: the one
 * that this build has, or NULL. */
bool op_matrix_units(const char *name, espl_dtype dtype, const espl_shader *shader);

/* Submits phase MICRO of a planned graph and waits. With ESPL_TEST_PLAN the test ends here as skipped. */
void op_submit(espl_graph *graph);
/* Submits phase MICRO of a planned graph `times` times and returns the fastest milliseconds of one of them. */
double op_milliseconds(espl_graph *graph, uint32_t times);

#endif
