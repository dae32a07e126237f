/* LoRAs combined as PEFT's add_weighted_adapter has it: each factor of all of them beside each other (combination_type cat, svd),
 * A and B each (linear, ties, ...), or what they add to the weights (ties_svd, ...). */
#include "adapters/average.h"
#include "adapters/lora_library.h"
#include "adapters/svd.h"
#include <math.h>
#include <string.h>

bool espl_average_lora_key(const char *key) {
    static const char *const keys[] = {"r", "alpha", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"};
    for (size_t i = 0; i < ESPL_COUNT(keys); i++) {
        if (strcmp(key, keys[i]) == 0) return true;
    }
    return false;
}

static bool is_a(const espl_entry *entry) {
    return strstr(entry->name, ".lora_A") != NULL;
}

double espl_average_weight(const average_inputs *in, size_t i, const espl_entry *entry) {
    return in->params.strategy == ESPL_AVERAGE_NEGATE_B && is_a(entry) ? fabs(in->weights[i]) : in->weights[i];
}

/* Of the Adapters library's own, gates are not A and B, and one map's q, k and v are not one product. */
espl_status espl_average_lora_check(const average_inputs *in) {
    const espl_adapter *first = in->adapters[0];
    const char *method = first->method->name;
    const bool negate = in->params.strategy == ESPL_AVERAGE_NEGATE_B;
    const library_lora *own = strcmp(method, "library_lora") == 0 ? espl_library_lora(first) : NULL;
    if (strcmp(method, "lora") == 0 || (own && !own->gated && (negate || !own->fused))) return ESPL_OK;
    return espl_fail(first->model->ctx, ESPL_UNSUPPORTED, "\"%s\" is a %s: A and B are combined of LoRAs without gates%s", first->name,
                     method, negate ? "" : ", and not of parts of one map for q, k and v");
}

/* Smallest and largest rank of an adapter's targets. */
static void ranks_of(const espl_adapter *adapter, uint32_t *out_least, uint32_t *out_most) {
    *out_least = UINT32_MAX, *out_most = 0;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *entry = &adapter->store.entries[i];
        if (is_a(entry) && entry->count < *out_least) *out_least = entry->count;
        if (is_a(entry) && entry->count > *out_most) *out_most = entry->count;
    }
}

static espl_status choose_rank(average_inputs *in) {
    espl_context *ctx = in->adapters[0]->model->ctx;
    uint32_t all = 0, largest = 0, first = 0;
    for (size_t i = 0; i < in->count; i++) {
        const espl_adapter *one = in->adapters[i];
        uint32_t least, most;
        ranks_of(one, &least, &most);
        if (least != most && in->way->of != AVERAGE_CHANGES)
            return espl_fail(ctx, ESPL_UNSUPPORTED, "\"%s\" has ranks from %u to %u: %s needs one for all of it, svd does not",
                             one->name, least, most, in->way->name);
        if (i == 0) first = most;
        if (most != first && in->way->of == AVERAGE_FACTORS)
            return espl_fail(ctx, ESPL_ARGUMENT, "\"%s\" has rank %u, \"%s\" has rank %u: %s needs equal ones, cat and svd do not",
                             in->adapters[0]->name, first, one->name, most, in->way->name);
        all += most;
        if (most > largest) largest = most;
    }
    in->rank = in->way->of == AVERAGE_STACKS ? all : in->params.rank && in->way->of == AVERAGE_CHANGES ? in->params.rank : largest;
    return ESPL_OK;
}

espl_status espl_average_lora_config(average_inputs *in, json_t *config) {
    const bool library = in->adapters[0]->library;
    espl_context *ctx = in->adapters[0]->model->ctx;
    ESPL_TRY(espl_average_lora_check(in));
    ESPL_TRY(choose_rank(in));
    ESPL_TRY(espl_json_set(ctx, config, "r", json_integer(in->rank)));
    if (library) return espl_json_set(ctx, config, "alpha", json_integer(in->rank));
    ESPL_TRY(espl_json_set(ctx, config, "lora_alpha", json_integer(in->rank)));
    ESPL_TRY(espl_json_set(ctx, config, "use_rslora", json_false()));
    ESPL_TRY(espl_json_set(ctx, config, "rank_pattern", json_object()));
    return espl_json_set(ctx, config, "alpha_pattern", json_object());
}

/* ---- One target ---- */

static double scale_of(const espl_adapter *adapter, const espl_entry *a) {
    const lora_state *state = adapter->state;
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            const lora_group *group = &state->groups[block][l];
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && a->matrix == group->a; p++) {
                if (group->target[p].rank && group->target[p].from == a->from) return group->target[p].scale;
            }
        }
    }
    return 1;
}

/* A [rank, in], B [out, rank] of a product. */
typedef struct factors {
    double *a, *b; /* owned */
    uint32_t in, out, rank;
} factors;

static espl_status factors_init(espl_context *ctx, factors *f, uint32_t in, uint32_t out, uint32_t rank) {
    *f = (factors){.in = in, .out = out, .rank = rank};
    ESPL_TRY(espl_new(ctx, (size_t)rank * in * sizeof *f->a, &f->a));
    return espl_new(ctx, (size_t)rank * out * sizeof *f->b, &f->b);
}

static void factors_finish(espl_context *ctx, factors *f) {
    espl_free(ctx, &f->a);
    espl_free(ctx, &f->b);
}

static espl_status read(espl_adapter *adapter, const espl_entry *entry, double factor, double *to, size_t rows, size_t cols,
                        size_t stride) {
    float *values;
    ESPL_TRY(espl_new(adapter->model->ctx, rows * cols * sizeof *values, &values));
    espl_status status = espl_store_read(&adapter->store, entry, values);
    for (size_t r = 0; status == ESPL_OK && r < rows; r++) {
        for (size_t c = 0; c < cols; c++) to[r * stride + c] = factor * values[r * cols + c];
    }
    espl_free(adapter->model->ctx, &values);
    return status;
}

/* Its A and B in the ranks of f from `from` on, A times factor. */
static espl_status read_both(espl_adapter *adapter, const espl_entry *a, double factor, factors *f, uint32_t from) {
    ESPL_TRY(read(adapter, a, factor, f->a + (size_t)from * f->in, a->count, f->in, f->in));
    return read(adapter, a + 1, 1, f->b + from, f->out, a->count, f->rank);
}

static espl_status write(espl_adapter *result, const espl_entry *entry, const double *values) {
    const size_t count = (size_t)espl_entry_values(&result->store, entry);
    float *rounded;
    ESPL_TRY(espl_new(result->model->ctx, count * sizeof *rounded, &rounded));
    for (size_t i = 0; i < count; i++) rounded[i] = (float)values[i];
    espl_status status = espl_store_write(&result->store, entry, rounded, ESPL_DTYPE_F32);
    espl_free(result->model->ctx, &rounded);
    return status;
}

static espl_status write_both(espl_adapter *result, const espl_entry *a, const factors *f) {
    ESPL_TRY(write(result, a, f->a));
    return write(result, a + 1, f->b);
}

/* All ranks of all, or the closest to their product of the result's rank. */
static espl_status fill_stacked(espl_adapter *result, size_t entry, const average_inputs *in) {
    espl_context *ctx = result->model->ctx;
    const espl_entry *a = &result->store.entries[entry];
    const uint32_t cols = result->store.matrices[a->matrix].cols, rows = a[1].count;
    uint32_t all = 0, from = 0;
    factors f = {0}, best = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < in->count; i++) all += in->adapters[i]->store.entries[entry].count;
    ESPL_GOTO(factors_init(ctx, &f, cols, rows, all));
    for (size_t i = 0; i < in->count; i++) {
        const espl_entry *one = &in->adapters[i]->store.entries[entry];
        ESPL_GOTO(read_both(in->adapters[i], one, in->weights[i] * scale_of(in->adapters[i], one), &f, from));
        from += one->count;
    }
    if (in->way->of == AVERAGE_CHANGES) {
        ESPL_GOTO(factors_init(ctx, &best, cols, rows, in->rank));
        ESPL_GOTO(espl_svd_product(ctx, f.a, f.b, cols, rows, all, in->rank, best.a, best.b));
    }
    status = write_both(result, a, best.a ? &best : &f);
fail:
    factors_finish(ctx, &f);
    factors_finish(ctx, &best);
    return status;
}

/* change [out, in] = scale B A */
static espl_status read_change(espl_adapter *adapter, const espl_entry *a, uint32_t in, uint32_t out, double *change) {
    factors f;
    espl_status status = factors_init(adapter->model->ctx, &f, in, out, a->count);
    if (status == ESPL_OK) status = read_both(adapter, a, scale_of(adapter, a), &f, 0);
    for (size_t o = 0; status == ESPL_OK && o < out; o++) {
        for (size_t r = 0; r < f.rank; r++) {
            for (size_t i = 0; i < in; i++) change[o * in + i] += f.b[o * f.rank + r] * f.a[r * in + i];
        }
    }
    factors_finish(adapter->model->ctx, &f);
    return status;
}

/* What each adds to the weight, mixed value by value, and the closest to it of the result's rank. */
static espl_status fill_changes(espl_adapter *result, size_t entry, const average_inputs *in) {
    espl_context *ctx = result->model->ctx;
    const espl_entry *a = &result->store.entries[entry];
    const uint32_t cols = result->store.matrices[a->matrix].cols, rows = a[1].count;
    const size_t count = (size_t)rows * cols;
    double *values = NULL;
    factors best = {0};
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, in->count * count * sizeof *values, &values));
    for (size_t i = 0; i < in->count; i++)
        ESPL_GOTO(read_change(in->adapters[i], &in->adapters[i]->store.entries[entry], cols, rows, values + i * count));
    espl_average_mix(in, entry, in->weights, values, count);
    ESPL_GOTO(factors_init(ctx, &best, cols, rows, in->rank));
    ESPL_GOTO(espl_svd_matrix(ctx, values, cols, rows, in->rank, best.a, best.b));
    status = write_both(result, a, &best);
fail:
    espl_free(ctx, &values);
    factors_finish(ctx, &best);
    return status;
}

/* A or B: weight and scale count by their root in each, by their sign in A alone. */
static espl_status fill_factor(espl_adapter *result, size_t entry, const average_inputs *in) {
    espl_context *ctx = result->model->ctx;
    const espl_entry *to = &result->store.entries[entry];
    const bool a = is_a(to);
    const size_t count = (size_t)espl_entry_values(&result->store, to);
    double *values = NULL, *roots = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, in->count * count * sizeof *values, &values));
    ESPL_GOTO(espl_new(ctx, in->count * sizeof *roots, &roots));
    for (size_t i = 0; i < in->count; i++) {
        const espl_entry *one = &in->adapters[i]->store.entries[entry];
        const double weight = in->weights[i] * scale_of(in->adapters[i], a ? one : one - 1), root = sqrt(fabs(weight));
        roots[i] = a && weight < 0 ? -root : root;
        ESPL_GOTO(read(in->adapters[i], one, 1, values + i * count, 1, count, count));
    }
    espl_average_mix(in, entry, roots, values, count);
    status = write(result, to, values);
fail:
    espl_free(ctx, &values);
    espl_free(ctx, &roots);
    return status;
}

espl_status espl_average_lora_fill(espl_adapter *result, size_t entry, const average_inputs *in, bool *out_done) {
    const espl_entry *own = &result->store.entries[entry];
    *out_done = in->rank && (is_a(own) || strstr(own->name, ".lora_B"));
    if (!*out_done) return ESPL_OK;
    if (in->way->of == AVERAGE_FACTORS) return fill_factor(result, entry, in);
    if (!is_a(own)) return ESPL_OK; /* B is written with its A, which stands before it */
    return in->way->of == AVERAGE_CHANGES && espl_average_trims(in) ? fill_changes(result, entry, in) : fill_stacked(result, entry, in);
}
