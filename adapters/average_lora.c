/* LoRAs combined by their products: each factor of all of them beside each other, as PEFT's add_weighted_adapter has it
 * (combination_type cat, svd, linear), but for the scales: they count once. */
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
    return in->strategy == ESPL_AVERAGE_NEGATE_B && is_a(entry) ? fabs(in->weights[i]) : in->weights[i];
}

/* Of the Adapters library's own, gates are not A and B, and one map's q, k and v are not one product. */
espl_status espl_average_lora_check(const average_inputs *in) {
    const espl_adapter *first = in->adapters[0];
    const char *method = first->method->name;
    const bool negate = in->strategy == ESPL_AVERAGE_NEGATE_B;
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

static espl_status choose_rank(average_inputs *in, uint32_t wanted) {
    espl_context *ctx = in->adapters[0]->model->ctx;
    uint32_t all = 0, largest = 0, first = 0;
    for (size_t i = 0; i < in->count; i++) {
        const espl_adapter *one = in->adapters[i];
        uint32_t least, most;
        ranks_of(one, &least, &most);
        if (least != most && in->strategy != ESPL_AVERAGE_SVD)
            return espl_fail(ctx, ESPL_UNSUPPORTED, "\"%s\" has ranks from %u to %u: only svd combines these", one->name, least, most);
        if (i == 0) first = most;
        if (most != first && in->strategy == ESPL_AVERAGE_ROOTS)
            return espl_fail(ctx, ESPL_ARGUMENT, "\"%s\" has rank %u, \"%s\" has rank %u: only cat and svd combine these",
                             in->adapters[0]->name, first, one->name, most);
        all += most;
        if (most > largest) largest = most;
    }
    in->rank = in->strategy == ESPL_AVERAGE_CAT ? all : wanted && in->strategy == ESPL_AVERAGE_SVD ? wanted : largest;
    return ESPL_OK;
}

espl_status espl_average_lora_config(average_inputs *in, uint32_t wanted, json_t *config) {
    const bool library = in->adapters[0]->library;
    espl_context *ctx = in->adapters[0]->model->ctx;
    ESPL_TRY(espl_average_lora_check(in));
    ESPL_TRY(choose_rank(in, wanted));
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

/* A [all, in]: rows of all under each other. B [out, all]: columns of all beside each other. */
typedef struct factors {
    double *a, *b; /* owned */
    uint32_t in, out, all;
} factors;

static espl_status read(espl_adapter *adapter, const espl_entry *entry, double factor, double *to, size_t rows, size_t cols,
                        size_t stride) {
    float *values;
    ESPL_TRY(espl_new(adapter->model->ctx, rows * cols * sizeof *values, &values));
    espl_status status = espl_store_read(&adapter->store, entry, values);
    for (size_t r = 0; status == ESPL_OK && r < rows; r++) {
        for (size_t c = 0; c < cols; c++) to[r * stride + c] += factor * values[r * cols + c];
    }
    espl_free(adapter->model->ctx, &values);
    return status;
}

/* Reads all of them; ROOTS: on top of each other, the root of the weight on both sides. */
static espl_status gather(const average_inputs *in, size_t entry, factors *f) {
    const bool roots = in->strategy == ESPL_AVERAGE_ROOTS;
    uint32_t from = 0;
    for (size_t i = 0; i < in->count; i++) {
        espl_adapter *one = in->adapters[i];
        const espl_entry *a = &one->store.entries[entry], *b = a + 1;
        const double weight = in->weights[i] * scale_of(one, a), root = sqrt(fabs(weight));
        ESPL_TRY(read(one, a, roots ? (weight < 0 ? -root : root) : weight, f->a + (size_t)from * f->in, a->count, f->in, f->in));
        ESPL_TRY(read(one, b, roots ? root : 1, f->b + from, f->out, a->count, f->all));
        if (!roots) from += a->count;
    }
    return ESPL_OK;
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

static espl_status combine(espl_adapter *result, const espl_entry *a, const average_inputs *in, const factors *f) {
    espl_context *ctx = result->model->ctx;
    double *best_a = NULL, *best_b = NULL;
    espl_status status = ESPL_OK;
    if (in->strategy != ESPL_AVERAGE_SVD) {
        ESPL_TRY(write(result, a, f->a));
        return write(result, a + 1, f->b);
    }
    ESPL_GOTO(espl_new(ctx, (size_t)in->rank * f->in * sizeof *best_a, &best_a));
    ESPL_GOTO(espl_new(ctx, (size_t)in->rank * f->out * sizeof *best_b, &best_b));
    ESPL_GOTO(espl_svd_product(ctx, f->a, f->b, f->in, f->out, f->all, in->rank, best_a, best_b));
    ESPL_GOTO(write(result, a, best_a));
    status = write(result, a + 1, best_b);
fail:
    espl_free(ctx, &best_a);
    espl_free(ctx, &best_b);
    return status;
}

espl_status espl_average_lora_fill(espl_adapter *result, size_t entry, const average_inputs *in, bool *out_done) {
    espl_context *ctx = result->model->ctx;
    const espl_entry *a = &result->store.entries[entry];
    espl_status status = ESPL_OK;
    *out_done = in->rank && (is_a(a) || strstr(a->name, ".lora_B"));
    if (!*out_done || !is_a(a)) return ESPL_OK; /* B is written with its A, which stands before it */
    factors f = {.in = result->store.matrices[a->matrix].cols, .out = a[1].count};
    if (in->strategy == ESPL_AVERAGE_ROOTS) f.all = in->rank;
    else
        for (size_t i = 0; i < in->count; i++) f.all += in->adapters[i]->store.entries[entry].count;
    ESPL_GOTO(espl_new(ctx, (size_t)f.all * f.in * sizeof *f.a, &f.a));
    ESPL_GOTO(espl_new(ctx, (size_t)f.all * f.out * sizeof *f.b, &f.b));
    ESPL_GOTO(gather(in, entry, &f));
    status = combine(result, a, in, &f);
fail:
    espl_free(ctx, &f.a);
    espl_free(ctx, &f.b);
    return status;
}
