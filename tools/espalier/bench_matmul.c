/* A product is a graph of one node. Runs of ours and of OpenBLAS's sgemm take turns, so that what else the machine does
 * falls on both; quote the ratio. */
#include "tools/espalier/bench_matmul.h"
#include "host/base/os.h"
#include "host/ops/op_matmul.h"
#include <stdio.h>

typedef struct product {
    uint32_t rows, out, in; /* C[rows, out] = A[rows, in] W[out, in]^T */
    espl_dtype dtype;
    bool blas;         /* beside sgemm */
    espl_dtype values; /* of A and C */
    bool gradient;     /* C[rows, in] = A[rows, out] W instead */
} product;

static const product products[] = {
    {512, 4096, 1024, ESPL_DTYPE_F32, .blas = true},
    {1, 4096, 14336, ESPL_DTYPE_F16, .blas = false},
    {8, 4096, 14336, ESPL_DTYPE_F16, .blas = false},
    {512, 4096, 14336, ESPL_DTYPE_F16, .blas = false},
    {1, 4096, 14336, ESPL_DTYPE_F32, .blas = true},
    {8, 4096, 14336, ESPL_DTYPE_F32, .blas = true},
    /* Fast mode: forward with activations of 16 bits, backward with gradients of 32. */
    {512, 4096, 1024, ESPL_DTYPE_F16, .values = ESPL_DTYPE_F16},
    {512, 4096, 1024, ESPL_DTYPE_F16, .gradient = true},
    {512, 4096, 1024, ESPL_DTYPE_BF16, .values = ESPL_DTYPE_BF16},
    {512, 4096, 1024, ESPL_DTYPE_BF16, .gradient = true},
};

/* The C interface of every BLAS: row-major 101, no transposition 111, transposition 112. */
typedef void (*sgemm_function)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                               const float *a, int a_stride, const float *b, int b_stride, float beta, float *c,
                               int c_stride);

typedef struct measured {
    espl_context *ctx;
    espl_graph *graph;
    espl_arena arena;
    float *a, *b, *c; /* owned; for BLAS */
} measured;

static espl_status fill(espl_graph *graph, espl_tensor *t, espl_random *random, float *values) {
    const size_t count = (size_t)t->rows * t->cols;
    for (size_t i = 0; i < count; i++)
        values[i] = 2 * espl_random_uniform(random) - 1;
    return espl_tensor_write(graph, t, values);
}

static espl_status prepare(measured *m, espl_device *device, const product *p) {
    espl_span a_span, b_span;
    espl_random random = {.seed = 1};
    const uint32_t terms = p->gradient ? p->out : p->in;
    const uint64_t a_bytes = (uint64_t)p->rows * terms * espl_dtype_bytes(p->values),
                   b_bytes = (uint64_t)p->out * p->in * espl_dtype_bytes(p->dtype);
    espl_arena_init(&m->arena, device, ESPL_ARENA_WEIGHTS, "benchmark");
    ESPL_TRY(espl_arena_take(&m->arena, a_bytes, &a_span));
    ESPL_TRY(espl_arena_take(&m->arena, b_bytes, &b_span));
    a_span.bytes = a_bytes, b_span.bytes = b_bytes;
    ESPL_TRY(espl_graph_create(device, "benchmark", &m->graph));
    espl_graph_value_dtype(m->graph, p->values);
    ESPL_TRY(espl_graph_layer(m->graph, "product", ESPL_PHASE_MICRO, false));
    espl_tensor *a = espl_graph_leaf(m->graph, ESPL_ROLE_WEIGHT, "a", p->rows, terms, 0, p->values, a_span);
    espl_tensor *b = espl_graph_leaf(m->graph, ESPL_ROLE_WEIGHT, "w", p->out, p->in, 0, p->dtype, b_span);
    espl_tensor *c = espl_graph_matmul(m->graph, &(espl_matmul){.a = a, .b = b, .orientation = p->gradient ? MATMUL_NN : MATMUL_NT});
    if (c) c->keep = true;
    ESPL_TRY(espl_graph_plan(m->graph));
    ESPL_TRY(espl_new(m->ctx, (size_t)p->rows * terms * sizeof *m->a, &m->a));
    ESPL_TRY(espl_new(m->ctx, (size_t)p->out * p->in * sizeof *m->b, &m->b));
    ESPL_TRY(espl_new(m->ctx, (size_t)p->rows * p->out * sizeof *m->c, &m->c));
    ESPL_TRY(fill(m->graph, a, &random, m->a));
    return fill(m->graph, b, &random, m->b);
}

static espl_status measure(measured *m, espl_device *device, const product *p, sgemm_function sgemm, size_t repetitions,
                           bench_row row, void *user) {
    enum { MOST = 1000 };
    static const char *const names[] = {"f32", "f16", "bf16"};
    double ours[MOST], ratios[MOST], longest[MOST];
    char name[96];
    ESPL_TRY(prepare(m, device, p));
    const double work = 2.0 * p->rows * p->out * p->in * 1e-9;
    if (repetitions > MOST) repetitions = MOST;
    for (size_t i = 0; i <= repetitions; i++) {
        espl_ticket ticket;
        double begin = espl_os_seconds();
        ESPL_TRY(espl_graph_submit(m->graph, ESPL_PHASE_MICRO, &ticket));
        ESPL_TRY(espl_wait(device, ticket));
        const double seconds = espl_os_seconds() - begin;
        begin = espl_os_seconds();
        if (sgemm && p->blas)
            sgemm(101, 111, 112, (int)p->rows, (int)p->out, (int)p->in, 1, m->a, (int)p->in, m->b, (int)p->in, 0, m->c,
                  (int)p->out);
        if (i == 0) continue; /* kernels, pages */
        longest[i - 1] = espl_graph_longest_milliseconds(m->graph, ESPL_PHASE_MICRO);
        ours[i - 1] = work / seconds;
        ratios[i - 1] = (espl_os_seconds() - begin) / seconds;
    }
    snprintf(name, sizeof name, "%s %ux%ux%u%s", names[p->dtype], p->rows, p->out, p->in,
             p->gradient ? " gradient" : p->values ? " fast" : "");
    row(user, name, "GFLOP/s", ours, repetitions);
    if (longest[0] >= 0) row(user, name, "ms, longest", longest, repetitions);
    if (sgemm && p->blas) row(user, name, "of OpenBLAS", ratios, repetitions);
    return ESPL_OK;
}

espl_status bench_products(espl_device *device, size_t repetitions, bench_row row, void *user) {
    void *blas = espl_os_library_open("libopenblas.so.0");
    sgemm_function sgemm = NULL;
    void *symbol = blas ? espl_os_library_symbol(blas, "cblas_sgemm") : NULL;
    _Static_assert(sizeof sgemm == sizeof symbol, "a function is found as an object pointer");
    if (symbol) *(void **)(void *)&sgemm = symbol;
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(products) && status == ESPL_OK; i++) {
        measured m = {.ctx = espl_device_context(device)};
        status = measure(&m, device, &products[i], sgemm, repetitions, row, user);
        espl_graph_destroy(&m.graph);
        espl_arena_finish(&m.arena);
        espl_free(m.ctx, &m.a);
        espl_free(m.ctx, &m.b);
        espl_free(m.ctx, &m.c);
    }
    /* The library stays open: it has threads of its own. */
    return status;
}
