/* Which maps are targets of the Adapters library's LoRA, and the tensors of each: see lora_library.h. */
#include "adapters/lora_library.h"
#include "adapters/library.h"

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static library_lora *own(const espl_adapter *adapter) {
    return espl_library_lora(adapter);
}

static bool is_target(const espl_adapter *adapter, uint32_t linear, uint32_t part) {
    return espl_library_selects(adapter->config, adapter->model->config.family, linear, part);
}

static espl_status entry(espl_adapter *adapter, const char *module, const char *name, uint32_t matrix, uint32_t from, uint32_t count,
                         bool vector) {
    char *whole;
    ESPL_TRY(espl_format(context(adapter), &whole, "%s.%s", module, name));
    espl_status status = espl_store_entry(&adapter->store, whole, matrix, from, count, vector);
    espl_free(context(adapter), &whole);
    return status;
}

/* VeRA's own matrices of a target. */
static espl_status declare_vera(espl_adapter *adapter, const char *module, uint32_t out, library_target *target) {
    const uint32_t rank = own(adapter)->rank;
    ESPL_TRY(espl_store_matrix(&adapter->store, "vera_D", rank, rank, ESPL_DTYPE_F32, true, &target->d));
    ESPL_TRY(espl_store_matrix(&adapter->store, "vera_B", out, out, ESPL_DTYPE_F32, true, &target->b));
    ESPL_TRY(entry(adapter, module, "vera_D", target->d, 0, rank, false));
    return entry(adapter, module, "vera_B", target->b, 0, out, false);
}

/* MTL-LoRA's of a target: of the task, and the weights of its B's. */
static espl_status declare_mtl(espl_adapter *adapter, const char *module, uint32_t out, library_target *target) {
    const library_lora *library = own(adapter);
    espl_store *store = &adapter->store;
    ESPL_TRY(espl_store_matrix(store, "values", 1, library->rank, ESPL_DTYPE_F32, true, &target->values));
    ESPL_TRY(espl_store_matrix(store, "weights", 1, library->ups, ESPL_DTYPE_F32, true, &target->weights));
    ESPL_TRY(espl_store_matrix(store, "ones", out, 1, ESPL_DTYPE_F32, false, &target->ones));
    store->matrices[target->ones].frozen = true;
    ESPL_TRY(entry(adapter, module, "weights", target->weights, 0, library->ups, true));
    return entry(adapter, module, "task_specific.values", target->values, 0, library->rank, true);
}

static espl_status declare_magnitude(espl_adapter *adapter, const char *module, uint32_t out, lora_target *target) {
    const uint32_t shape[] = {out, 1};
    ESPL_TRY(espl_store_matrix(&adapter->store, "m", 1, out, ESPL_DTYPE_F32, true, &target->magnitude));
    ESPL_TRY(entry(adapter, module, "m.weight", target->magnitude, 0, out, true));
    espl_store_shape(&adapter->store, 2, shape);
    return ESPL_OK;
}

/* The tensors of a target, or of several that files have as one: rows of A, rows of B, gates. */
static espl_status declare_module(espl_adapter *adapter, const char *module, uint32_t in, lora_target *target, library_target *more,
                                  uint32_t a, const uint32_t rows[2], uint32_t gates) {
    const library_lora *library = own(adapter);
    if (library->vera) ESPL_TRY(declare_vera(adapter, module, rows[1], more));
    else ESPL_TRY(entry(adapter, module, "lora_A", a, target->from, rows[0], false));
    if (!library->vera) ESPL_TRY(entry(adapter, module, "lora_B", target->b, 0, rows[1] * espl_library_lora_ups(library), false));
    if (library->ups) {
        const uint32_t shape[] = {library->ups, rows[1], library->rank};
        espl_store_shape(&adapter->store, 3, shape);
        ESPL_TRY(declare_mtl(adapter, module, rows[1], more));
    }
    if (library->dora) ESPL_TRY(declare_magnitude(adapter, module, rows[1], target));
    if (!library->gated) return ESPL_OK;
    char *gate;
    ESPL_TRY(espl_format(context(adapter), &gate, "%s.gate", module));
    espl_status status = espl_gate_declare(adapter, gate, in, gates, &more->gate);
    espl_free(context(adapter), &gate);
    return status;
}

static espl_status declare_tensors(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, lora_group *group,
                                   const uint32_t rows[2], uint32_t gates) {
    char *path, *module;
    ESPL_TRY(espl_model_module(adapter->model, block, linear, part, &path));
    espl_status status = espl_format(context(adapter), &module, "%s.loras.%s", path, adapter->file_name);
    espl_free(context(adapter), &path);
    ESPL_TRY(status);
    status = declare_module(adapter, module, adapter->model->linear[linear].in, &group->target[part],
                            &own(adapter)->targets[block][linear][part], group->a, rows, gates);
    espl_free(context(adapter), &module);
    return status;
}

/* One pair for all targets, which then are of one shape. */
static espl_status share(espl_adapter *adapter, uint32_t out, uint32_t in) {
    library_lora *library = own(adapter);
    espl_store *store = &adapter->store;
    char *module;
    if (library->in)
        return library->in == in && library->out == out ? ESPL_OK
               : espl_fail(context(adapter), ESPL_ARGUMENT, "%s: \"vera_d\" shares matrices among targets, but one is %u x %u, another "
                           "%u x %u", adapter->method->name, library->out, library->in, out, in);
    library->in = in, library->out = out;
    ESPL_TRY(espl_store_matrix(store, "lora_A", library->rank, in, ESPL_DTYPE_F32, false, &library->a));
    ESPL_TRY(espl_store_matrix(store, "lora_B", out, library->rank, ESPL_DTYPE_F32, false, &library->b));
    store->matrices[library->a].frozen = store->matrices[library->b].frozen = true;
    ESPL_TRY(espl_format(context(adapter), &module, "%sshared_parameters.%s", adapter->model->config.family->prefix, adapter->file_name));
    espl_status status = entry(adapter, module, "lora_A", library->a, 0, library->rank, false);
    if (status == ESPL_OK) status = entry(adapter, module, "lora_B", library->b, 0, out, false);
    espl_free(context(adapter), &module);
    return status;
}

static espl_status declare_target(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, lora_group *group) {
    lora_target *target = &group->target[part];
    const uint32_t rows[] = {target->rank, adapter->model->linear[linear].part[part].count};
    if (own(adapter)->vera) ESPL_TRY(share(adapter, rows[1], adapter->model->linear[linear].in));
    else ESPL_TRY(espl_store_matrix(&adapter->store, "lora_B", rows[1] * espl_library_lora_ups(own(adapter)), target->rank, ESPL_DTYPE_F32,
                                    true, &target->b));
    return declare_tensors(adapter, block, linear, part, group, rows, 1);
}

static espl_status declare_fused(espl_adapter *adapter, uint32_t block, lora_group *group) {
    const library_lora *library = own(adapter);
    const espl_linear_shape *shape = &adapter->model->linear[ESPL_LINEAR_QKV];
    const uint32_t each = shape->part[0].count / ESPL_LINEAR_PARTS;
    uint32_t count = 0, b;
    if (each % 4)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: q, k and v of %u columns in one map are not multiples of 4",
                         adapter->method->name, each);
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) count += is_target(adapter, ESPL_LINEAR_QKV, p);
    if (!count) return ESPL_OK;
    const uint32_t rows[] = {count * library->rank, count * each};
    ESPL_TRY(espl_store_matrix(&adapter->store, "lora_A", rows[0], shape->in, ESPL_DTYPE_F32, true, &group->a));
    ESPL_TRY(espl_store_matrix(&adapter->store, "lora_B", rows[1], library->rank, ESPL_DTYPE_F32, true, &b));
    for (uint32_t p = 0, have = 0; p < ESPL_LINEAR_PARTS; p++) {
        if (is_target(adapter, ESPL_LINEAR_QKV, p))
            group->target[p] = (lora_target){.rank = library->rank, .from = have++ * library->rank, .b = b, .scale = library->scale};
    }
    group->target[0].b = b; /* by which files are laid out, target or not */
    return declare_tensors(adapter, block, ESPL_LINEAR_QKV, 0, group, rows, count);
}

espl_status espl_library_lora_group(espl_adapter *adapter, uint32_t block, uint32_t linear, lora_group *group) {
    const library_lora *library = own(adapter);
    const espl_linear_shape *shape = &adapter->model->linear[linear];
    uint32_t rows = 0;
    group->a = ESPL_NO_MATRIX;
    if (linear == ESPL_LINEAR_QKV && library->fused) return declare_fused(adapter, block, group);
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++) {
        if (!is_target(adapter, linear, p)) continue;
        group->target[p] = (lora_target){.rank = library->rank, .from = (uint32_t)espl_round_up(rows, 4), .scale = library->scale};
        rows = group->target[p].from + library->rank;
    }
    if (!rows) return ESPL_OK;
    if (!library->vera) ESPL_TRY(espl_store_matrix(&adapter->store, "lora_A", rows, shape->in, ESPL_DTYPE_F32, true, &group->a));
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        if (group->target[p].rank) ESPL_TRY(declare_target(adapter, block, linear, p, group));
    }
    return ESPL_OK;
}
