/* Which kernel and tile a product gets, and its gradients, which are products again. */
#include "host/ops/op_matmul.h"
#include "host/ops/op_colsum.h"
#include "host/ops/op_rmsnorm.h"
#include "host/ops/window.h"
#include "shaders/shaders.h"
#include <string.h>

/* Best first; the first row that fits is taken. Measured on lavapipe 26.1 and 22.3.6: lanes as rows (matmul) or columns
 * (matmul_col) with loads that all lanes share; on a GPU tiles in shared memory, and matrix units where there are any that
 * take B's dtype: never f32, so not in exact mode. */
typedef struct variant {
    bool cpu;
    uint32_t orientation;    /* ANY: each */
    uint32_t m_max, n_max;   /* sizes of C it is for */
    const espl_shader *shader[3]; /* by dtype of B: f32, f16, bf16; NULL: not for this one */
    uint32_t local, tile_m, tile_n, tile_k, lane_m, lane_n; /* of matmul_coopmat subgroups, not lanes */
} variant;

#define ANY UINT32_MAX
#define OPTIONAL(name) {NULL, ESPL_OPTIONAL_##name##_f16, ESPL_OPTIONAL_##name##_bf16}
#define SHADERS(name) {&espl_shader_##name##_f32, &espl_shader_##name##_f16, &espl_shader_##name##_bf16}
static const variant variants[] = {
    {true, MATMUL_NT, 1, ANY, SHADERS(matmul_few), 8, 1, 16, 32, 1, 16},
    {true, MATMUL_NT, 2, ANY, SHADERS(matmul_few), 8, 2, 16, 32, 2, 16},
    {true, MATMUL_NT, 4, ANY, SHADERS(matmul_few), 8, 4, 16, 32, 4, 16},
    {true, MATMUL_NT, 16, ANY, SHADERS(matmul_few), 8, 8, 16, 32, 8, 16},
    {true, MATMUL_NT, ANY, 8, SHADERS(matmul), 8, 64, 8, 4, 8, 8},
    {true, MATMUL_NT, ANY, 16, SHADERS(matmul), 8, 64, 16, 4, 8, 16},
    {true, MATMUL_NT, 48, ANY, SHADERS(matmul), 8, 32, 16, 8, 4, 16},
    {true, MATMUL_NT, ANY, ANY, SHADERS(matmul), 8, 64, 32, 4, 8, 32},
    {true, MATMUL_NN, 1, ANY, SHADERS(matmul_col), 8, 1, 64, 8, 1, 8},
    {true, MATMUL_NN, 8, ANY, SHADERS(matmul_col), 8, 8, 64, 8, 8, 8},
    {true, MATMUL_NN, ANY, 8, SHADERS(matmul), 8, 64, 8, 4, 8, 8},
    {true, MATMUL_NN, ANY, 16, SHADERS(matmul), 8, 64, 16, 4, 8, 16},
    {true, MATMUL_NN, ANY, ANY, SHADERS(matmul), 8, 64, 32, 4, 8, 32},
    {true, MATMUL_TN, ANY, 16, SHADERS(matmul), 8, 64, 8, 4, 8, 8},
    {true, MATMUL_TN, ANY, ANY, SHADERS(matmul_col), 8, 8, 32, 4, 8, 4},
    {false, MATMUL_NT, 1, ANY, SHADERS(matmul_few), 64, 1, 4, 256, 1, 4},
    {false, MATMUL_NT, 8, ANY, SHADERS(matmul_few), 64, 8, 4, 256, 8, 4},
    {false, ANY, ANY, ANY, OPTIONAL(matmul_coopmat), 4, 64, 64, 32, 32, 32},
    {false, ANY, ANY, ANY, SHADERS(matmul_tile), 128, 64, 64, 16, 8, 4},
};

static bool is_matrix(const variant *v) {
    return !v->shader[ESPL_DTYPE_F32]; /* matrix units take none */
}

/* What matmul_coopmat has of shared memory at most: A of f32 in three parts, or the sums of a matrix of 32 rows. */
enum { MATRIX_SHARED_BYTES = 20480 + 16 };

/* What a variant's tiles are made of on this device; NULL: not at all. */
static const espl_matrix_shape *shape_for(const espl_device *device, const variant *v, espl_dtype dtype) {
    const espl_capabilities *c = espl_device_capabilities(device);
    const uint32_t lanes = v->local * c->subgroup_size;
    if (c->shared_bytes_max < MATRIX_SHARED_BYTES || lanes > c->invocations_max || v->tile_m * v->tile_k / 4 % lanes)
        return NULL;
    return espl_device_matrix_shape(device, dtype, v->lane_m, v->lane_n, v->tile_k);
}

static bool fits(const espl_device *device, const variant *v, const espl_matmul_view *view) {
    return v->cpu == espl_device_capabilities(device)->cpu && (v->orientation == ANY || v->orientation == view->orientation) &&
           view->m <= v->m_max && view->n <= v->n_max && v->shader[view->b_dtype] &&
           (!is_matrix(v) || shape_for(device, v, view->b_dtype));
}

static const variant *choose(const espl_device *device, const espl_matmul_view *view) {
    const variant *v = variants;
    while (!fits(device, v, view)) v++; /* the last row of each kind of device takes everything */
    return v;
}

static bool is_few(const variant *v) {
    return v->shader[0] == &espl_shader_matmul_few_f32;
}

/* As many as hold what A has: 21 bits of an f32 or more in f16, all in bf16. */
static uint32_t matrix_parts(const espl_matmul_view *view) {
    if (view->a_dtype == view->b_dtype) return 1;
    return view->b_dtype == ESPL_DTYPE_F16 ? 2 : 3;
}

static espl_status record_window(espl_device *device, espl_commands *commands, const char *label,
                                 const espl_matmul_view *view) {
    const variant *v = choose(device, view);
    const bool few = is_few(v);
    const espl_matrix_shape none = {0}, *shape = is_matrix(v) ? shape_for(device, v, view->b_dtype) : &none;
    const uint32_t lanes = is_matrix(v) ? v->local * espl_device_capabilities(device)->subgroup_size : v->local;
    const uint32_t spec[] = {lanes,     1,         1,
                             v->tile_m, v->tile_n, v->tile_k,
                             v->lane_m, v->lane_n, view->orientation,
                             view->k % v->tile_k || view->n % 4,
                             view->bias.block != NULL, view->a_dtype, view->c_dtype,
                             view->norm.block != NULL,
                             shape->m,  shape->n,  shape->k,
                             matrix_parts(view)};
    const uint32_t spec_count = is_matrix(v) ? ESPL_COUNT(spec) : few ? MATMUL_SPEC_NORM + 1 : MATMUL_SPEC_NORM;
    const espl_kernel *kernel;
    ESPL_TRY(espl_device_kernel(device, v->shader[view->b_dtype], spec, spec_count, &kernel));
    const uint32_t rows = espl_ceil_div(view->m, v->tile_m), columns = espl_ceil_div(view->n, v->tile_n);
    const bool by_columns = v->shader[0] == &espl_shader_matmul_f32;
    const matmul_push push = {.m = view->m,
                              .n = view->n,
                              .k = view->k,
                              .a_offset = view->a_offset,
                              .b_offset = view->b_offset,
                              .bias_offset = view->bias_offset,
                              .residual_offset = view->accumulate ? view->c_offset : view->residual_offset,
                              .c_offset = view->c_offset,
                              .a_stride = view->a_stride,
                              .b_stride = view->b_stride,
                              .residual_stride = view->accumulate ? view->c_stride : view->residual_stride,
                              .c_stride = view->c_stride,
                              .scale = view->scale,
                              .eps = view->eps,
                              .add = view->accumulate || view->residual.block};
    const espl_dispatch dispatch = {.kernel = kernel,
                                    .label = label,
                                    .bind = {[MATMUL_BIND_A] = view->a,
                                             [MATMUL_BIND_B] = view->b,
                                             [MATMUL_BIND_BIAS] = view->bias,
                                             [MATMUL_BIND_RESIDUAL] = view->accumulate ? view->c : view->residual,
                                             [MATMUL_BIND_C] = view->c,
                                             [MATMUL_BIND_NORM] = view->norm},
                                    .bind_count = few ? MATMUL_BIND_COUNT_FEW : MATMUL_BIND_COUNT,
                                    .operations = 2.0 * view->m * view->n * view->k,
                                    .push = &push,
                                    .push_bytes = sizeof push,
                                    .groups = {by_columns ? columns : rows, by_columns ? rows : columns, 1}};
    return espl_commands_dispatch(commands, &dispatch);
}

/* ---- Windows: what is beyond the storage range is bound in rows, and so are too many workgroups ---- */

/* Groups of the smallest tiles on one axis: 4 columns (matmul_few), 8 rows. Multiples of 64. */
enum { M_MAX = 65535 / 64 * 64 * 8, N_MAX = 65535 / 64 * 64 * 4 };

/* Rows of a matrix that can be bound, wherever they begin; a multiple of 4 unless all can. */
static uint32_t rows_bound(uint64_t range, uint32_t rows, uint32_t row_elements, uint32_t stride, size_t item) {
    const uint64_t row = stride * item, last = espl_round_up(row_elements, 4) * item + ESPL_BINDING_ALIGNMENT;
    if (rows == 0 || (rows - 1) * row + last <= range) return rows;
    return range < last ? 0 : (uint32_t)(((range - last) / row + 1) / 4 * 4);
}

/* Narrows a span to rows of its matrix; a binding begins on 256 bytes, what is left over goes to the offset. */
static void narrow(espl_span *span, uint32_t *offset, uint64_t first, uint32_t rows, uint32_t row_elements, uint32_t stride,
                   size_t item) {
    if (!span->block) return;
    const uint64_t begin = (first + *offset) * item, base = begin / ESPL_BINDING_ALIGNMENT * ESPL_BINDING_ALIGNMENT;
    const uint64_t end = begin + ((uint64_t)(rows - 1) * stride + espl_round_up(row_elements, 4)) * item;
    *offset = (uint32_t)((begin - base) / item);
    *span = espl_span_part(*span, base, (end < span->bytes ? end : span->bytes) - base);
}

static espl_matmul_view part_of(const espl_matmul_view *view, uint32_t m, uint32_t m_count, uint32_t n, uint32_t n_count,
                                uint32_t k, uint32_t k_count) {
    const size_t a_item = espl_dtype_bytes(view->a_dtype), b_item = espl_dtype_bytes(view->b_dtype),
                 c_item = espl_dtype_bytes(view->c_dtype);
    const uint64_t a_stride = view->a_stride, b_stride = view->b_stride;
    espl_matmul_view part = *view;
    part.m = m_count, part.n = n_count, part.k = k_count;
    if (view->orientation == MATMUL_TN) narrow(&part.a, &part.a_offset, k * a_stride + m, k_count, m_count, view->a_stride, a_item);
    else narrow(&part.a, &part.a_offset, m * a_stride + k, m_count, k_count, view->a_stride, a_item);
    if (view->orientation == MATMUL_NT) narrow(&part.b, &part.b_offset, n * b_stride + k, n_count, k_count, view->b_stride, b_item);
    else narrow(&part.b, &part.b_offset, k * b_stride + n, k_count, n_count, view->b_stride, b_item);
    narrow(&part.c, &part.c_offset, m * (uint64_t)view->c_stride + n, m_count, n_count, view->c_stride, c_item);
    narrow(&part.residual, &part.residual_offset, m * (uint64_t)view->residual_stride + n, m_count, n_count,
           view->residual_stride, c_item);
    part.bias_offset += n;
    if (k > 0) {
        part.accumulate = true;
        part.bias.block = part.residual.block = NULL;
    }
    return part;
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

espl_status espl_record_matmul(espl_device *device, espl_commands *commands, const char *label,
                               const espl_matmul_view *view) {
    const uint64_t range = espl_device_capabilities(device)->storage_range_max;
    const size_t a_item = espl_dtype_bytes(view->a_dtype), b_item = espl_dtype_bytes(view->b_dtype),
                 c_item = espl_dtype_bytes(view->c_dtype);
    const bool nt = view->orientation == MATMUL_NT, tn = view->orientation == MATMUL_TN;
    const uint32_t b_rows = rows_bound(range, nt ? view->n : view->k, nt ? view->k : view->n, view->b_stride, b_item);
    const uint32_t a_rows = rows_bound(range, tn ? view->k : view->m, tn ? view->m : view->k, view->a_stride, a_item);
    uint32_t m = least(rows_bound(range, view->m, view->n, view->c_stride, c_item), M_MAX);
    if (view->residual.block) m = least(m, rows_bound(range, view->m, view->n, view->residual_stride, c_item));
    if (!tn) m = least(m, a_rows);
    const uint32_t n = nt ? least(b_rows, N_MAX) : view->n;
    const uint32_t k = nt ? view->k : tn ? least(a_rows, b_rows) : b_rows;
    if (m == 0 || n == 0 || k == 0)
        return espl_fail(espl_device_context(device), ESPL_LIMIT,
                         "%s: 4 rows of %u, %u and %u values are beyond the device's storage range of %llu bytes", label,
                         view->a_stride, view->b_stride, view->c_stride, (unsigned long long)range);
    for (uint32_t i = 0; i < view->m; i += m) {
        for (uint32_t j = 0; j < view->n; j += n) {
            for (uint32_t l = 0; l < view->k; l += k) {
                const espl_matmul_view part = part_of(view, i, least(m, view->m - i), j, least(n, view->n - j), l,
                                                      least(k, view->k - l));
                ESPL_TRY(record_window(device, commands, label, &part));
            }
        }
    }
    return ESPL_OK;
}

/* A node: in = a, b, bias, residual, (C before), (norm); out = C. */
typedef struct attribute {
    uint32_t orientation, m, n, k;
    uint32_t a_from, b_from, c_from;
    uint32_t accumulate;
    float scale, eps;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *a = node->in[0], *b = node->in[1], *bias = node->in[2], *residual = node->in[3], *norm = node->in[5];
    const espl_tensor *c = node->out[0];
    const espl_matmul_view view = {.orientation = at.orientation,
                                   .m = at.m,
                                   .n = at.n,
                                   .k = at.k,
                                   .a = a->span,
                                   .b = b->span,
                                   .bias = bias ? bias->span : (espl_span){0},
                                   .residual = residual ? residual->span : (espl_span){0},
                                   .c = c->span,
                                   .a_offset = at.a_from,
                                   .b_offset = at.b_from,
                                   .c_offset = at.c_from,
                                   .a_stride = a->stride,
                                   .b_stride = b->stride,
                                   .c_stride = c->stride,
                                   .residual_stride = residual ? residual->stride : 0,
                                   .a_dtype = a->dtype,
                                   .b_dtype = b->dtype,
                                   .c_dtype = c->dtype,
                                   .accumulate = at.accumulate,
                                   .scale = at.scale,
                                   .norm = norm ? norm->span : (espl_span){0},
                                   .eps = at.eps};
    return espl_record_matmul(espl_graph_device(graph), commands, node->op->name, &view);
}

static espl_status add_node(espl_graph *graph, const attribute *at, espl_tensor *a, espl_tensor *b, espl_tensor *bias,
                            espl_tensor *residual, espl_tensor *before, espl_tensor *c) {
    espl_tensor *in[] = {a, b, bias, residual, before};
    return espl_graph_node(graph, &espl_op_matmul, in, ESPL_COUNT(in), &c, 1, at, sizeof *at);
}

/* The gradient of x's columns [from, from + count) is scale * product of these two. */
static espl_status grad_product(espl_graph *graph, attribute at, espl_tensor *a, espl_tensor *b, espl_tensor *x, uint32_t from,
                                uint32_t count) {
    bool accumulate;
    at.c_from = from;
    espl_tensor *c = espl_grad_target(graph, x, from, count, &accumulate);
    if (!c) return espl_graph_status(graph);
    at.accumulate = accumulate;
    return add_node(graph, &at, a, b, NULL, NULL, accumulate ? c->base : NULL, c);
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    const attribute at = attribute_of(node);
    espl_tensor *a = node->in[0], *b = node->in[1], *bias = node->in[2], *residual = node->in[3], *before = node->in[4];
    espl_tensor *dc = espl_grad_of(node->out[0]);
    if (at.orientation == MATMUL_TN)
        return espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_INTERNAL, "matmul: TN has no gradient");
    if (espl_grad_wanted(a)) {
        attribute da = {.orientation = at.orientation == MATMUL_NT ? MATMUL_NN : MATMUL_NT, .m = at.m, .n = at.k,
                        .k = at.n, .a_from = at.c_from, .scale = at.scale};
        ESPL_TRY(grad_product(graph, da, dc, b, a, at.a_from, at.k));
    }
    if (espl_grad_wanted(b)) {
        attribute db = {.orientation = MATMUL_TN, .k = at.m, .scale = at.scale};
        if (at.orientation == MATMUL_NT) {
            db.m = at.n, db.n = at.k, db.a_from = at.c_from, db.b_from = at.a_from;
            ESPL_TRY(grad_product(graph, db, dc, a, b, 0, 0));
        } else {
            db.m = at.k, db.n = at.n, db.a_from = at.a_from, db.b_from = at.c_from;
            ESPL_TRY(grad_product(graph, db, a, dc, b, 0, 0));
        }
    }
    if (espl_grad_wanted(bias)) {
        bool accumulate;
        espl_tensor *target = espl_grad_target(graph, bias, 0, 0, &accumulate);
        ESPL_TRY(espl_graph_colsum(graph, &(espl_colsum){.x = dc, .from = at.c_from, .out = target, .fresh = !accumulate}));
    }
    if (residual) ESPL_TRY(espl_grad_pass(graph, node->out[0], residual));
    if (before) ESPL_TRY(espl_grad_pass(graph, node->out[0], before));
    return espl_graph_status(graph);
}

/* Few rows of a linear layer take the norm before it along: one dispatch less, which decides the speed of generation. */
static void fuse(espl_graph *graph, espl_node *node) {
    attribute at = attribute_of(node);
    const espl_tensor *a = node->in[0];
    const espl_matmul_view view = {.orientation = at.orientation, .m = at.m, .n = at.n, .k = at.k};
    espl_rmsnorm norm;
    if (at.a_from || at.k != a->cols || !a->producer || a->updated || !is_few(choose(espl_graph_device(graph), &view)) ||
        !espl_rmsnorm_of(a->producer, &norm) || norm.x->updated)
        return;
    node->in[0] = norm.x;
    node->in[5] = norm.w;
    at.eps = norm.eps;
    memcpy(node->attribute, &at, sizeof at);
}

const espl_op espl_op_matmul = {.name = "matmul", .record = record, .vjp = vjp, .fuse = fuse};

static espl_status check(espl_context *ctx, const espl_matmul *args, const attribute *at, uint32_t k_of_b) {
    const espl_tensor *a = args->a, *b = args->b;
    if (at->k != k_of_b)
        return espl_fail(ctx, ESPL_ARGUMENT, "matmul: a (%s) gives %u terms to a sum, b (%s) gives %u", a->name, at->k,
                         b->name, k_of_b);
    if (!espl_dtype_is_float(a->dtype) || !espl_dtype_is_float(b->dtype))
        return espl_fail(ctx, ESPL_ARGUMENT, "matmul: a (%s) is %s and b (%s) is %s", a->name, espl_dtype_name(a->dtype),
                         b->name, espl_dtype_name(b->dtype));
    if (at->a_from % 4 || at->b_from % 4 || at->c_from % 4)
        return espl_fail(ctx, ESPL_ARGUMENT, "matmul: first columns %u, %u and %u are not multiples of 4", at->a_from,
                         at->b_from, at->c_from);
    if (args->bias && args->bias->cols != at->n)
        return espl_fail(ctx, ESPL_ARGUMENT, "matmul: bias has %u values, a row of C has %u", args->bias->cols, at->n);
    if (args->residual && (args->residual->rows != at->m || args->residual->cols != at->n))
        return espl_fail(ctx, ESPL_ARGUMENT, "matmul: residual is %u x %u, C is %u x %u", args->residual->rows,
                         args->residual->cols, at->m, at->n);
    if (args->into && args->residual)
        return espl_fail(ctx, ESPL_ARGUMENT, "matmul: %s is added to and cannot have a residual too", args->into->name);
    if (args->into && (args->into->rows != at->m || args->into->cols < at->c_from + at->n))
        return espl_fail(ctx, ESPL_ARGUMENT, "matmul: columns %u to %u of %s, which is %u x %u, for a C of %u x %u",
                         at->c_from, at->c_from + at->n, args->into->name, args->into->rows, args->into->cols, at->m, at->n);
    if (args->into_cols && (args->into || args->residual || args->into_cols < at->c_from + at->n))
        return espl_fail(ctx, ESPL_ARGUMENT, "matmul: columns %u to %u of a fresh C of %u, which has no residual and is not added to",
                         at->c_from, at->c_from + at->n, args->into_cols);
    return ESPL_OK;
}

static attribute attribute_for(const espl_matmul *args, uint32_t *out_terms_of_b) {
    const espl_tensor *a = args->a, *b = args->b;
    const uint32_t a_cols = args->a_cols ? args->a_cols : a->cols - args->a_from;
    const uint32_t b_cols = args->b_cols ? args->b_cols : b->cols - args->b_from;
    const bool tn = args->orientation == MATMUL_TN, nt = args->orientation == MATMUL_NT;
    *out_terms_of_b = nt ? b_cols : b->rows;
    return (attribute){.orientation = args->orientation,
                       .m = tn ? a_cols : a->rows,
                       .n = nt ? b->rows : b_cols,
                       .k = tn ? a->rows : a_cols,
                       .a_from = args->a_from,
                       .b_from = args->b_from,
                       .c_from = args->into || args->into_cols ? args->into_from : 0,
                       .accumulate = args->into && !args->unset,
                       .scale = args->scale == 0.0f ? 1.0f : args->scale};
}

espl_status espl_grad_matmul(espl_graph *graph, const espl_matmul *args, espl_tensor *input) {
    uint32_t terms;
    const attribute at = attribute_for(args, &terms);
    ESPL_TRY(check(espl_device_context(espl_graph_device(graph)), args, &at, terms));
    return grad_product(graph, at, args->a, args->b, input, 0, 0);
}

espl_tensor *espl_graph_matmul(espl_graph *graph, const espl_matmul *args) {
    espl_tensor *a = args->a, *b = args->b;
    uint32_t terms;
    if (!a || !b || espl_graph_status(graph) != ESPL_OK) return NULL;
    const attribute at = attribute_for(args, &terms);
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args, &at, terms);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *c = args->into ? espl_graph_update(graph, args->into)
                                : espl_graph_output(graph, "matmul", at.m, args->into_cols ? args->into_cols : at.n);
    if (!c) return NULL;
    if (args->residual && args->residual->dtype != c->dtype)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "matmul: residual is %s, C is %s", espl_dtype_name(args->residual->dtype),
                                                espl_dtype_name(c->dtype)));
    return add_node(graph, &at, a, b, args->bias, args->residual, args->into, c) == ESPL_OK ? c : NULL;
}
