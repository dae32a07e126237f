/* How a case is run: every differentiable leaf is a PARAMETER, an activation is one behind a "wire" (a node that
 * copies), and the output's gradient comes from a "seed" node that stands where a loss would. In the second kind of run
 * each activation also feeds a second wire whose gradient the seed node gives, so that the operator has to add to it.
 */
#include "tests/ops/harness.h"
#include "host/base/os.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest allowed sum(error^2) / sum(expected^2), and |error| / largest |expected|.
 * F32: sums of some thousand terms in any order, each step rounding by 6e-8, and functions good to a few units in the
 * last place. F16 and BF16: the rounding of the result, half a unit of 2^-10 and 2^-7. I32: exact. */
static const struct {
    double mean_square, largest;
} bounds[ESPL_DTYPE_COUNT] = {
    [ESPL_DTYPE_F32] = {1e-12, 1e-5},
    [ESPL_DTYPE_F16] = {1e-7, 6e-4},
    [ESPL_DTYPE_BF16] = {7e-6, 5e-3},
};

/* NaNs in every dtype but I32, told apart. */
enum { WORD_UNWRITTEN = 0x7fff7fff, WORD_PADDING = 0x7ffe7ffe, WORD_GUARD = 0x7ffd7ffd, GUARD_BYTES = 256 };
enum { DIRECTIONS = 12, FULL_ELEMENTS = 400 };

static espl_context *context;
static espl_device *device;
static unsigned validation_messages;
static uint64_t storage_range;
static espl_arena arena;
static espl_span guards[64];
static size_t guard_count;
static espl_graph *running; /* left behind by a test that failed */

static void on_log(void *user, espl_log_level level, const char *line) {
    (void)user;
    if (strncmp(line, "validation:", 11) == 0) validation_messages++;
    if (level <= ESPL_LOG_WARNING) fprintf(stderr, "%s\n", line);
}

espl_device *op_device(void) {
    return device;
}

espl_context *op_context(void) {
    return context;
}

/* The device is not const and nobody else looks while a test runs. */
static espl_capabilities *capabilities(void) {
    return (espl_capabilities *)espl_device_capabilities(device);
}

void op_storage_range(uint64_t bytes) {
    capabilities()->storage_range_max = bytes ? bytes : storage_range;
}

void op_ok(espl_status status) {
    if (status != ESPL_OK) fail_msg("%s: %s", espl_status_name(status), espl_context_message(context));
}

void op_refused(espl_status status, espl_status expected, const char *message_part) {
    if (status != expected || !strstr(espl_context_message(context), message_part))
        fail_msg("expected %s \"%s\", got %s \"%s\"", espl_status_name(expected), message_part,
                 espl_status_name(status), espl_context_message(context));
}

void op_no_validation_messages(void) {
    if (validation_messages) fail_msg("%u validation messages", validation_messages);
}

/* ---- Values ---- */

void op_random(uint64_t stream, double low, double high, double *out_values, size_t count) {
    espl_random random = {.seed = 0x65737061, .stream = stream};
    bool plain = low == 0 && high == 0;
    for (size_t i = 0; i < count; i++) {
        double unit = espl_random_u32(&random) * 0x1p-32;
        if (plain) {
            double magnitude = 0.05 + 0.95 * unit;
            out_values[i] = espl_random_u32(&random) & 1 ? magnitude : -magnitude;
        } else {
            out_values[i] = low + (high - low) * unit;
        }
    }
}

double op_round(double value, espl_dtype dtype) {
    switch (dtype) {
    case ESPL_DTYPE_F32: return (double)(float)value;
    case ESPL_DTYPE_F16: return (double)espl_f32_from_f16(espl_f16_from_f32((float)value));
    case ESPL_DTYPE_BF16: return (double)espl_f32_from_bf16(espl_bf16_from_f32((float)value));
    default: return value;
    }
}

static void store(void *to, size_t index, espl_dtype dtype, double value) {
    float single = (float)value;
    int32_t integer = dtype == ESPL_DTYPE_I32 ? (int32_t)value : 0;
    uint16_t half = dtype == ESPL_DTYPE_F16 ? espl_f16_from_f32(single) : espl_bf16_from_f32(single);
    switch (dtype) {
    case ESPL_DTYPE_F32: memcpy((char *)to + index * 4, &single, 4); break;
    case ESPL_DTYPE_I32: memcpy((char *)to + index * 4, &integer, 4); break;
    default: memcpy((char *)to + index * 2, &half, 2); break;
    }
}

static double fetch(const void *from, size_t index, espl_dtype dtype) {
    float single;
    int32_t integer;
    uint16_t half;
    switch (dtype) {
    case ESPL_DTYPE_F32: memcpy(&single, (const char *)from + index * 4, 4); return (double)single;
    case ESPL_DTYPE_I32: memcpy(&integer, (const char *)from + index * 4, 4); return integer;
    default: memcpy(&half, (const char *)from + index * 2, 2); break;
    }
    return (double)(dtype == ESPL_DTYPE_F16 ? espl_f32_from_f16(half) : espl_f32_from_bf16(half));
}

void op_compare(const char *label, const double *got, const double *expected, size_t count, espl_dtype dtype,
                double looser) {
    double square = 0, error_square = 0, largest = 0, largest_error = 0, scale = looser == 0 ? 1 : looser;
    size_t worst = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(expected[i]) && isnan(got[i])) continue;
        double error = fabs(got[i] - expected[i]);
        if (!(error <= 1e300)) fail_msg("%s: [%zu] is %g, expected %g", label, i, got[i], expected[i]);
        square += expected[i] * expected[i], error_square += error * error;
        largest = fmax(largest, fabs(expected[i]));
        if (error > largest_error) largest_error = error, worst = i;
    }
    double mean_square = error_square == 0 ? 0 : error_square / square;
    if (getenv("ESPL_TEST_PRINT"))
        fprintf(stderr, "%s: mean square %.2e, largest %.2e\n", label, mean_square, largest_error / largest);
    if (!(mean_square <= bounds[dtype].mean_square * scale * scale) ||
        !(largest_error <= bounds[dtype].largest * scale * largest))
        fail_msg(
            "%s: normalised mean square error %.3g (bound %.3g), largest error %.3g of %.3g (bound %.3g) at [%zu]: "
            "%.9g, expected %.9g",
            label, mean_square, bounds[dtype].mean_square * scale * scale, largest_error, largest,
            bounds[dtype].largest * scale * largest, worst, got[worst], expected[worst]);
}

/* ---- Memory ---- */

static void *new_memory(size_t bytes) {
    void *memory = calloc(bytes ? bytes : 1, 1);
    assert_non_null(memory);
    return memory;
}

static void fill_words(void *memory, uint32_t word, size_t bytes) {
    for (size_t i = 0; i + 4 <= bytes; i += 4)
        memcpy((char *)memory + i, &word, 4);
}

espl_span op_span(uint32_t rows, uint32_t stride, espl_dtype dtype) {
    uint64_t bytes = espl_round_up((uint64_t)rows * stride * espl_dtype_bytes(dtype), 4);
    espl_span span;
    if (!arena.device) espl_arena_init(&arena, device, ESPL_ARENA_STATE, "test");
    op_ok(espl_arena_take(&arena, bytes + GUARD_BYTES, &span));
    unsigned char guard[GUARD_BYTES];
    fill_words(guard, WORD_GUARD, GUARD_BYTES);
    assert_true(guard_count < ESPL_COUNT(guards));
    guards[guard_count] = espl_span_part(span, bytes, GUARD_BYTES);
    op_ok(espl_upload(device, guards[guard_count++], guard, GUARD_BYTES));
    return espl_span_part(span, 0, bytes);
}

static void check_guards(const char *label) {
    uint32_t guard[GUARD_BYTES / 4];
    for (size_t g = 0; g < guard_count; g++) {
        op_ok(espl_download(device, guards[g], guard, GUARD_BYTES));
        for (size_t i = 0; i < GUARD_BYTES / 4; i++)
            if (guard[i] != WORD_GUARD) fail_msg("%s: wrote %zu bytes beyond tensor %zu", label, i * 4, g);
    }
}

void op_spans_finish(void) {
    guard_count = 0;
    espl_arena_finish(&arena);
    memset(&arena, 0, sizeof arena);
}

static espl_span span_of(const espl_tensor *t) {
    while (!t->span.block && t->base)
        t = t->base;
    assert_non_null(t->span.block);
    return espl_span_part(t->span, 0, (uint64_t)t->rows * t->stride * espl_dtype_bytes(t->dtype));
}

/* rows * stride elements with a NaN in the padding. */
static void *padded(const espl_tensor *t, const double *values, size_t *out_bytes) {
    size_t element = espl_dtype_bytes(t->dtype);
    *out_bytes = (size_t)t->rows * t->stride * element;
    void *memory = new_memory(*out_bytes);
    fill_words(memory, WORD_PADDING, *out_bytes);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = 0; c < t->cols; c++)
            store(memory, r * t->stride + c, t->dtype, values[r * t->cols + c]);
    return memory;
}

void op_write(const espl_tensor *t, const double *values) {
    size_t bytes;
    void *memory = padded(t, values, &bytes);
    op_ok(espl_upload(device, span_of(t), memory, bytes));
    free(memory);
}

/* padding: what is expected between cols and stride; 0 for anything. */
static void read_checked(const espl_tensor *t, double *out_values, uint32_t padding, const char *label) {
    size_t element = espl_dtype_bytes(t->dtype), bytes = (size_t)t->rows * t->stride * element;
    unsigned char *memory = new_memory(bytes), expected[4];
    memcpy(expected, &padding, 4);
    op_ok(espl_download(device, span_of(t), memory, bytes));
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = 0; c < t->stride; c++) {
            size_t i = r * t->stride + c;
            if (c < t->cols)
                out_values[r * t->cols + c] = fetch(memory, i, t->dtype);
            else if (padding && memcmp(memory + i * element, expected + i * element % 4, element) != 0)
                fail_msg("%s: %s: padding at row %zu column %zu was written", label, t->name, r, c);
        }
    free(memory);
}

void op_read(const espl_tensor *t, double *out_values) {
    read_checked(t, out_values, 0, "");
}

static void fill_tensor(const espl_tensor *t, uint32_t word, bool zero_values) {
    size_t element = espl_dtype_bytes(t->dtype), bytes = (size_t)t->rows * t->stride * element;
    unsigned char *memory = new_memory(bytes);
    fill_words(memory, word, bytes);
    if (zero_values)
        for (size_t r = 0; r < t->rows; r++)
            memset(memory + r * t->stride * element, 0, t->cols * element);
    op_ok(espl_upload(device, span_of(t), memory, bytes));
    free(memory);
}

/* ---- Test-only operators ---- */

static espl_status record_copies(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    (void)graph;
    for (size_t i = 0; i < ESPL_OUTPUTS_MAX && node->out[i]; i++)
        ESPL_TRY(espl_commands_copy(commands, span_of(node->in[i]), span_of(node->out[i])));
    return ESPL_OK;
}

static const espl_op espl_op_wire_bwd = {.name = "wire_bwd", .record = record_copies};

static struct { const espl_tensor *parameter, *gradient; } wired[OP_LEAVES_MAX];
static size_t wired_count;

/* The parameter behind a wire has no other use, so its zeroed gradient can be overwritten. */
static espl_status wire_vjp(espl_graph *graph, const espl_node *node) {
    if (!espl_grad_wanted(node->in[0])) return ESPL_OK;
    if (node->in[0]->role != ESPL_ROLE_PARAMETER) return espl_grad_pass(graph, node->out[0], node->in[0]);
    bool accumulate;
    espl_tensor *gradient = espl_grad_of(node->out[0]);
    espl_tensor *target = espl_grad_target(graph, node->in[0], 0, 0, &accumulate);
    wired[wired_count].parameter = node->in[0], wired[wired_count++].gradient = gradient;
    return espl_graph_node(graph, &espl_op_wire_bwd, (espl_tensor *[]){gradient, target}, 2, (espl_tensor *[]){target},
                           1, NULL, 0);
}

static const espl_op espl_op_wire = {.name = "wire", .record = record_copies, .vjp = wire_vjp};

static espl_tensor *wire(espl_graph *graph, espl_tensor *from, const char *name) {
    espl_tensor *to = espl_graph_value(graph, name, from->rows, from->cols, from->dtype);
    if (!to) return NULL;
    assert_int_equal(to->stride, from->stride);
    if (espl_graph_node(graph, &espl_op_wire, &from, 1, &to, 1, NULL, 0) != ESPL_OK) return NULL;
    return to;
}

/* in: gradients to give, then a place for each the tensor that gets it; out: copies of them, then the "loss". */
typedef struct seed_attribute {
    uint32_t count;
} seed_attribute;

static espl_status seed_record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    seed_attribute attribute;
    (void)graph;
    memcpy(&attribute, node->attribute, sizeof attribute);
    for (uint32_t i = 0; i < attribute.count; i++)
        ESPL_TRY(espl_commands_copy(commands, span_of(node->in[i]), span_of(node->out[i])));
    return espl_commands_fill(commands, span_of(node->out[attribute.count]), 0);
}

static espl_status seed_vjp(espl_graph *graph, const espl_node *node) {
    seed_attribute attribute;
    memcpy(&attribute, node->attribute, sizeof attribute);
    for (uint32_t i = 0; i < attribute.count; i++) {
        espl_tensor *input = node->in[attribute.count + i];
        if (espl_grad_wanted(input)) ESPL_TRY(espl_grad_give(graph, input, node->out[i]));
    }
    return ESPL_OK;
}

static const espl_op espl_op_seed = {.name = "seed", .record = seed_record, .vjp = seed_vjp};

/* ---- One run ---- */

enum { SEEDS_MAX = ESPL_OUTPUTS_MAX - 1 };

typedef struct run {
    const op_case *test;
    espl_graph *graph;
    espl_tensor *source[OP_LEAVES_MAX], *used[OP_LEAVES_MAX]; /* the leaf, and what build gets */
    espl_tensor *gradient[OP_LEAVES_MAX];                     /* a stand-in tensor over the gradient's memory */
    espl_tensor *output;
    espl_tensor *seed[SEEDS_MAX], *seeded[SEEDS_MAX];
    uint32_t seed_leaf[SEEDS_MAX]; /* whose second wire it is; the first is the output's */
    uint32_t seeds;
    /* In a first run the harness keeps its own values, so that no gradient begins in memory whose padding somebody
     * wrote. In a second one all memory is reused: what a node does not name as its input is gone. */
    bool compact;
    espl_tensor *given; /* the copy of the output's seed */
} run;

static size_t leaf_count_of(const op_leaf *leaf) {
    return (size_t)leaf->rows * leaf->cols;
}

static bool differentiable(const op_case *test, uint32_t i) {
    const op_leaf *leaf = &test->leaf[i];
    return !test->forward_only && leaf->rows && leaf->dtype == ESPL_DTYPE_F32 && !leaf->frozen &&
           (leaf->role == ESPL_ROLE_VALUE || leaf->role == ESPL_ROLE_PARAMETER);
}

static void make_leaf(run *r, uint32_t i) {
    const op_leaf *leaf = &r->test->leaf[i];
    if (!leaf->rows) return;
    espl_role role = leaf->role;
    if (role == ESPL_ROLE_VALUE)
        role = leaf->frozen || leaf->dtype != ESPL_DTYPE_F32 ? ESPL_ROLE_WEIGHT : ESPL_ROLE_PARAMETER;
    if (role == ESPL_ROLE_STEP) {
        r->source[i] = espl_graph_step_leaf(r->graph, leaf->name, leaf->rows, leaf->cols, leaf->dtype);
    } else {
        uint32_t stride = leaf->stride ? leaf->stride : (uint32_t)espl_round_up(leaf->cols, 4);
        r->source[i] = espl_graph_leaf(r->graph, role, leaf->name, leaf->rows, leaf->cols, stride, leaf->dtype,
                                       op_span(leaf->rows, stride, leaf->dtype));
        if (role == ESPL_ROLE_PARAMETER) {
            espl_span gradient = op_span(leaf->rows, stride, ESPL_DTYPE_F32);
            r->gradient[i] = espl_graph_leaf(r->graph, ESPL_ROLE_STATE, "gradient", leaf->rows, leaf->cols, stride,
                                             ESPL_DTYPE_F32, gradient);
            espl_graph_parameter_grad(r->graph, r->source[i], gradient);
        }
    }
    op_ok(espl_graph_status(r->graph));
    r->used[i] = leaf->role == ESPL_ROLE_VALUE ? wire(r->graph, r->source[i], leaf->name) : r->source[i];
    op_ok(espl_graph_status(r->graph));
    if (leaf->role == ESPL_ROLE_VALUE) r->used[i]->keep = !r->compact;
}

static void add_seed(run *r, espl_tensor *target, uint32_t leaf) {
    uint32_t i = r->seeds++;
    r->seed_leaf[i] = leaf;
    r->seeded[i] = target;
    r->seed[i] = espl_graph_leaf(r->graph, ESPL_ROLE_WEIGHT, "seed", target->rows, target->cols, target->stride,
                                 ESPL_DTYPE_F32, op_span(target->rows, target->stride, ESPL_DTYPE_F32));
    op_ok(espl_graph_status(r->graph));
}

/* first_leaf: of the activations that get a second gradient; OP_LEAVES_MAX: none. Returns the leaf after those. */
static uint32_t begin(run *r, const op_case *test, bool backward, uint32_t first_leaf) {
    memset(r, 0, sizeof *r);
    r->test = test;
    r->compact = first_leaf < OP_LEAVES_MAX;
    wired_count = 0;
    op_ok(espl_graph_create(device, test->name, &running));
    r->graph = running;
    op_ok(espl_graph_layer(r->graph, "test", ESPL_PHASE_MICRO, false));
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++)
        make_leaf(r, i);
    r->output = test->build(r->graph, r->used, test->args);
    op_ok(espl_graph_status(r->graph));
    assert_non_null(r->output);
    r->output->keep = true;
    uint32_t next = OP_LEAVES_MAX;
    if (backward) {
        assert_true(r->output->needs_grad);
        add_seed(r, r->output, OP_LEAVES_MAX);
        for (uint32_t i = first_leaf; i < OP_LEAVES_MAX; i++) {
            if (test->leaf[i].role != ESPL_ROLE_VALUE || !differentiable(test, i)) continue;
            if (r->seeds == SEEDS_MAX) {
                next = i;
                break;
            }
            add_seed(r, wire(r->graph, r->used[i], "second use"), i);
        }
        espl_tensor *in[2 * SEEDS_MAX], *out[SEEDS_MAX + 1];
        for (uint32_t i = 0; i < r->seeds; i++) {
            in[i] = r->seed[i], in[r->seeds + i] = r->seeded[i];
            out[i] = espl_graph_value(r->graph, "given gradient", r->seed[i]->rows, r->seed[i]->cols, ESPL_DTYPE_F32);
        }
        r->given = out[0];
        r->given->keep = !r->compact;
        espl_tensor *loss = out[r->seeds] = espl_graph_value(r->graph, "loss", 1, 1, ESPL_DTYPE_F32);
        loss->keep = !r->compact;
        seed_attribute attribute = {r->seeds};
        op_ok(espl_graph_node(r->graph, &espl_op_seed, in, 2 * r->seeds, out, r->seeds + 1, &attribute,
                              sizeof attribute));
        op_ok(espl_graph_backward(r->graph, loss));
    }
    op_ok(espl_graph_plan(r->graph));
    return next;
}

/* What the padding of leaf i's gradient must be afterwards; 0: anything. A wire brings that of the activation's
 * gradient, and a gradient that was passed on unchanged has that of the seed. */
static uint32_t gradient_padding(const run *r, uint32_t i) {
    for (size_t w = 0; w < wired_count; w++) {
        if (wired[w].parameter != r->source[i]) continue;
        const espl_span span = span_of(wired[w].gradient), given = span_of(r->given);
        return r->compact || span.offset == given.offset ? 0 : (uint32_t)WORD_UNWRITTEN;
    }
    return WORD_UNWRITTEN;
}

/* Fills everything, runs once, reads. gradients[i] is NULL or gets leaf i's. */
static void execute(run *r, double *const *values, double *const *seed_values, double *out_output,
                    double *const *gradients) {
    const op_case *test = r->test;
    uint64_t activation_bytes = espl_graph_activation_bytes(r->graph);
    espl_span activations = {r->output->role == ESPL_ROLE_VALUE ? r->output->span.block : NULL, 0, activation_bytes};
    if (activations.block) {
        void *memory = new_memory(activation_bytes);
        fill_words(memory, WORD_UNWRITTEN, activation_bytes);
        op_ok(espl_upload(device, activations, memory, activation_bytes));
        free(memory);
    }
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++) {
        if (!r->source[i]) continue;
        if (test->leaf[i].role == ESPL_ROLE_STEP) {
            size_t bytes;
            void *memory = padded(r->source[i], values[i], &bytes);
            memcpy(espl_graph_step_pointer(r->graph, r->source[i]), memory, bytes);
            free(memory);
        } else {
            op_write(r->source[i], values[i]);
        }
        if (r->gradient[i]) fill_tensor(r->gradient[i], WORD_UNWRITTEN, true);
    }
    for (uint32_t i = 0; i < r->seeds; i++)
        op_write(r->seed[i], seed_values[i]);
    if (test->step)
        memcpy(espl_graph_step_pointer(r->graph, espl_graph_step(r->graph)), test->step, ESPL_STEP_WORDS * 4);
    espl_ticket ticket;
    op_ok(espl_graph_submit(r->graph, ESPL_PHASE_MICRO, &ticket));
    op_ok(espl_wait(device, ticket));
    const bool fresh = r->output->role == ESPL_ROLE_VALUE && !r->compact && !test->output_reused;
    read_checked(r->output, out_output, fresh ? (uint32_t)WORD_UNWRITTEN : 0, test->name);
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++) {
        if (gradients && gradients[i]) {
            read_checked(r->gradient[i], gradients[i], gradient_padding(r, i), test->name);
        }
        if (r->source[i] && (r->source[i]->role == ESPL_ROLE_WEIGHT || r->source[i]->role == ESPL_ROLE_PARAMETER)) {
            double *after = new_memory(leaf_count_of(&test->leaf[i]) * sizeof *after);
            read_checked(r->source[i], after, WORD_PADDING, test->name);
            if (memcmp(after, values[i], leaf_count_of(&test->leaf[i]) * sizeof *after) != 0)
                fail_msg("%s: input %s was changed", test->name, test->leaf[i].name);
            free(after);
        }
    }
    check_guards(test->name);
}

static void end(run *r) {
    espl_graph_destroy(&r->graph);
    running = NULL;
    op_spans_finish();
    op_no_validation_messages();
}

/* ---- Gradients of the reference ---- */

typedef struct expectation {
    const op_case *test;
    double **values;
    size_t output_count;
    const double *seed;
    double *plus, *minus;
} expectation;

/* Derivative of sum(seed * output) along direction (of leaf i), by central differences: the step of 1e-4 leaves an
 * error near 1e-9 of smooth functions of numbers near one. */
static double slope(expectation *e, uint32_t i, const double *direction, size_t only) {
    const double step = 1e-4;
    size_t count = leaf_count_of(&e->test->leaf[i]);
    double *original = e->values[i], *moved = new_memory(count * sizeof *moved);
    double total = 0;
    for (int side = 0; side < 2; side++) {
        double h = side ? -step : step, *out = side ? e->minus : e->plus;
        memcpy(moved, original, count * sizeof *moved);
        if (direction)
            for (size_t c = 0; c < count; c++)
                moved[c] += h * direction[c];
        else
            moved[only] += h;
        e->values[i] = moved;
        memset(out, 0, e->output_count * sizeof *out);
        e->test->reference((const double *const *)e->values, e->test->args, out);
    }
    e->values[i] = original;
    for (size_t c = 0; c < e->output_count; c++)
        if (!isnan(e->plus[c])) total += e->seed[c] * (e->plus[c] - e->minus[c]);
    free(moved);
    return total / (2 * step);
}

/* What the gradient of one leaf should be: all elements, or its products with random directions of +-1. */
typedef struct leaf_slope {
    bool full;
    size_t count; /* of expected */
    double *expected;
} leaf_slope;

static void direction_of(uint32_t leaf, uint32_t number, double *out, size_t count) {
    op_random(1000 + leaf * 64 + number, 0, 0, out, count);
    for (size_t c = 0; c < count; c++)
        out[c] = out[c] < 0 ? -1 : 1;
}

static leaf_slope find_slope(expectation *e, uint32_t i) {
    size_t count = leaf_count_of(&e->test->leaf[i]);
    leaf_slope result = {.full = count <= FULL_ELEMENTS, .count = count <= FULL_ELEMENTS ? count : DIRECTIONS};
    result.expected = new_memory(result.count * sizeof(double));
    double *direction = new_memory(count * sizeof(double));
    for (size_t k = 0; k < result.count; k++) {
        if (!result.full) direction_of(i, (uint32_t)k, direction, count);
        result.expected[k] = slope(e, i, result.full ? NULL : direction, k);
    }
    free(direction);
    return result;
}

/* extra: a second gradient of this leaf, or NULL. */
static void check_gradient(const op_case *test, uint32_t i, const leaf_slope *slope, const double *got,
                           const double *extra, const char *mode) {
    size_t count = leaf_count_of(&test->leaf[i]);
    char label[256];
    snprintf(label, sizeof label, "%s: gradient of %s%s", test->name, test->leaf[i].name, mode);
    for (size_t c = 0; c < count; c++)
        if (isnan(got[c])) fail_msg("%s: [%zu] is NaN", label, c);
    double *expected = new_memory(slope->count * sizeof(double)), *direction = new_memory(count * sizeof(double));
    double *products = new_memory(slope->count * sizeof(double)), norm = 0, error = 0;
    for (size_t c = 0; c < count; c++)
        norm += got[c] * got[c];
    for (size_t k = 0; k < slope->count; k++) {
        expected[k] = slope->expected[k];
        if (slope->full) {
            expected[k] += extra ? extra[k] : 0;
            products[k] = got[k];
            continue;
        }
        direction_of(i, (uint32_t)k, direction, count);
        for (size_t c = 0; c < count; c++) {
            products[k] += got[c] * direction[c];
            expected[k] += extra ? extra[c] * direction[c] : 0;
        }
        error += (products[k] - expected[k]) * (products[k] - expected[k]) / (double)slope->count;
    }
    double scale = test->looser == 0 ? 1 : test->looser;
    if (slope->full) {
        op_compare(label, products, expected, slope->count, ESPL_DTYPE_F32, scale);
    } else {
        /* The mean square of products with +-1 is the sum of squares of what is multiplied. */
        if (getenv("ESPL_TEST_PRINT")) fprintf(stderr, "%s: mean square %.2e\n", label, error / norm);
        if (!(error <= 4 * bounds[ESPL_DTYPE_F32].mean_square * scale * scale * norm))
            fail_msg("%s: normalised mean square error about %.3g (bound %.3g)", label, error / norm,
                     4 * bounds[ESPL_DTYPE_F32].mean_square * scale * scale);
    }
    free(expected), free(direction), free(products);
}

/* ---- A case ---- */

static double *leaf_values(const op_leaf *leaf, uint32_t i) {
    size_t count = leaf_count_of(leaf);
    double *values = new_memory(count * sizeof *values);
    if (leaf->integers)
        for (size_t c = 0; c < count; c++)
            values[c] = leaf->integers[c];
    else if (leaf->values)
        memcpy(values, leaf->values, count * sizeof *values);
    else
        op_random(i, leaf->low, leaf->high, values, count);
    for (size_t c = 0; c < count; c++)
        values[c] = op_round(values[c], leaf->dtype);
    return values;
}

static void clean_up_after_failure(void) {
    if (running) espl_graph_destroy(&running);
    op_spans_finish();
    op_storage_range(0);
}

void op_check(const op_case *test) {
    if (running) clean_up_after_failure();
    double *values[OP_LEAVES_MAX] = {NULL}, *gradients[OP_LEAVES_MAX] = {NULL}, *again[OP_LEAVES_MAX] = {NULL};
    bool backward = false;
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++) {
        if (!test->leaf[i].rows) continue;
        values[i] = leaf_values(&test->leaf[i], i);
        if (!differentiable(test, i)) continue;
        backward = true;
        gradients[i] = new_memory(leaf_count_of(&test->leaf[i]) * sizeof(double));
        again[i] = new_memory(leaf_count_of(&test->leaf[i]) * sizeof(double));
    }

    run r;
    begin(&r, test, backward, OP_LEAVES_MAX);
    size_t count = (size_t)r.output->rows * r.output->cols;
    espl_dtype dtype = r.output->dtype;
    double *got = new_memory(count * sizeof *got), *expected = new_memory(count * sizeof *expected);
    double *seeds[SEEDS_MAX] = {new_memory(count * sizeof(double))};
    op_random(100, 0, 0, seeds[0], count);
    for (size_t c = 0; c < count; c++)
        seeds[0][c] = op_round(seeds[0][c], ESPL_DTYPE_F32);
    test->reference((const double *const *)values, test->args, expected);

    execute(&r, values, seeds, got, gradients);
    op_compare(test->name, got, expected, count, dtype, test->looser);
    double *got_again = new_memory(count * sizeof *got);
    execute(&r, values, seeds, got_again, again);
    for (size_t c = 0; c < count; c++)
        if (got[c] != got_again[c] && !(isnan(got[c]) && isnan(got_again[c])))
            fail_msg("%s: [%zu] differs between runs", test->name, c);
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++)
        if (gradients[i] && memcmp(gradients[i], again[i], leaf_count_of(&test->leaf[i]) * sizeof(double)) != 0)
            fail_msg("%s: the gradient of %s differs between runs", test->name, test->leaf[i].name);
    end(&r);

    expectation e = {
        test, values, count, seeds[0], new_memory(count * sizeof(double)), new_memory(count * sizeof(double))};
    leaf_slope slopes[OP_LEAVES_MAX] = {{0}};
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++)
        if (gradients[i]) {
            slopes[i] = find_slope(&e, i);
            check_gradient(test, i, &slopes[i], gradients[i], NULL, "");
        }

    for (uint32_t from = 0; backward && from < OP_LEAVES_MAX;) {
        from = begin(&r, test, true, from);
        if (r.seeds > 1) {
            for (uint32_t s = 1; s < r.seeds; s++) {
                size_t n = (size_t)r.seeded[s]->rows * r.seeded[s]->cols;
                seeds[s] = new_memory(n * sizeof(double));
                op_random(100 + s, 0, 0, seeds[s], n);
                for (size_t c = 0; c < n; c++)
                    seeds[s][c] = op_round(seeds[s][c], ESPL_DTYPE_F32);
            }
            execute(&r, values, seeds, got_again, again);
            for (uint32_t s = 1; s < r.seeds; s++)
                check_gradient(test, r.seed_leaf[s], &slopes[r.seed_leaf[s]], again[r.seed_leaf[s]], seeds[s],
                               ", added to another");
            for (uint32_t s = 1; s < r.seeds; s++)
                free(seeds[s]);
        }
        end(&r);
    }
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++)
        free(values[i]), free(gradients[i]), free(again[i]), free(slopes[i].expected);
    free(e.plus), free(e.minus), free(seeds[0]), free(got), free(got_again), free(expected);
}

double op_milliseconds(espl_graph *graph, uint32_t times) {
    double best = 1e300;
    for (uint32_t i = 0; i < times; i++) {
        espl_ticket ticket;
        double start = espl_os_seconds();
        op_ok(espl_graph_submit(graph, ESPL_PHASE_MICRO, &ticket));
        op_ok(espl_wait(device, ticket));
        best = fmin(best, (espl_os_seconds() - start) * 1e3);
    }
    return best;
}

int op_main(const char *name, const struct CMUnitTest *tests, size_t count) {
    if (espl_context_create(&(espl_context_params){.log = on_log}, &context) != ESPL_OK) return 1;
    const char *validation = getenv("ESPL_TEST_VALIDATION");
    espl_device_params params = {.select = getenv("ESPL_TEST_DEVICE"),
                                 .cache_folder = "",
                                 .validation = !validation || strcmp(validation, "0") != 0};
    espl_status status = espl_device_create(context, &params, &device);
    if (status == ESPL_UNSUPPORTED) {
        fprintf(stderr, "%s: skipped: %s\n", name, espl_context_message(context));
        espl_context_destroy(&context);
        return 77;
    }
    if (status != ESPL_OK) {
        fprintf(stderr, "%s: %s\n", name, espl_context_message(context));
        return 1;
    }
    fprintf(stderr, "%s on %s\n", name, espl_device_name(device));
    storage_range = capabilities()->storage_range_max;
    int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    clean_up_after_failure();
    if (capabilities()->cpu) {
        fprintf(stderr, "%s with the variants of a GPU\n", name);
        espl_device_destroy(&device);
        params.limits = "cpu=0";
        if (espl_device_create(context, &params, &device) != ESPL_OK) {
            fprintf(stderr, "%s: %s\n", name, espl_context_message(context));
            return 1;
        }
        failed += _cmocka_run_group_tests(name, tests, count, NULL, NULL);
        clean_up_after_failure();
    }
    espl_device_destroy(&device);
    espl_context_destroy(&context);
    return failed || validation_messages ? 1 : 0;
}
