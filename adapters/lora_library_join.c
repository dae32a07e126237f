/* What the Adapters library's LoRA computes, and what is merged of it: see lora_library.h. */
#include "adapters/lora_library.h"
#include "host/ops/op_add.h"
#include "host/ops/op_fusion.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_row_norm.h"
#include "host/ops/op_scale.h"
#include <math.h>

library_lora *espl_library_lora(const espl_adapter *adapter) {
    return ((const lora_state *)adapter->state)->own;
}

/* ---- Operators ---- */

static espl_tensor *gated(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, const espl_gate *gate,
                          uint32_t which, espl_tensor *u, uint32_t from, uint32_t count) {
    if (!espl_library_lora(adapter) || !espl_library_lora(adapter)->gated) return u;
    return espl_graph_scale(builder->graph, &(espl_scale){.x = u, .s = espl_gate_apply(builder, adapter, gate, which, joint->x),
                                                          .from = from, .count = count});
}

/* Each of q, k and v that is a target by its own rows of A, B and gates. */
static espl_tensor *join_fused(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const lora_group *group = &state->groups[joint->block][joint->linear];
    const espl_gate *gate = &espl_library_lora(adapter)->targets[joint->block][joint->linear][0].gate;
    const uint32_t each = adapter->model->linear[joint->linear].part[0].count / ESPL_LINEAR_PARTS;
    espl_tensor *x = espl_build_dropout(builder, joint->x, state->dropout);
    for (uint32_t p = 0, have = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        if (!target->rank) continue;
        espl_tensor *a = espl_build_rows(builder, &adapter->store, group->a, target->from, target->rank);
        espl_tensor *b = espl_build_rows(builder, &adapter->store, target->b, have * each, each);
        espl_tensor *u = espl_graph_matmul(builder->graph, &(espl_matmul){.a = x, .b = a, .orientation = MATMUL_NT});
        u = espl_build_share(builder, joint, gated(builder, adapter, joint, gate, have, u, 0, 0));
        y = espl_graph_matmul(builder->graph, &(espl_matmul){.a = u, .b = b, .orientation = MATMUL_NT, .into = y,
                                                             .into_from = p * each, .scale = target->scale});
        have++;
    }
    return y;
}

typedef struct factors {
    espl_tensor *left, *right; /* L [out, r], R [r, in] */
} factors;

/* B_i weighed and times the task's values: [out, r], however many B_i there are. */
static espl_tensor *mix(espl_builder *builder, const espl_adapter *adapter, const library_target *own, uint32_t b) {
    const library_lora *library = espl_library_lora(adapter);
    const espl_store *store = &adapter->store;
    espl_graph *graph = builder->graph;
    espl_tensor *each[ESPL_FUSION_MAX];
    const uint32_t out = store->matrices[own->ones].rows;
    const espl_matmul scores = {.a = espl_build_leaf(builder, store, own->ones), .b = espl_build_leaf(builder, store, own->weights),
                                .orientation = MATMUL_NN, .scale = 1 / library->sharpness};
    for (uint32_t i = 0; i < library->ups; i++) each[i] = espl_build_rows(builder, store, b, i * out, out);
    espl_graph_value_dtype(graph, ESPL_DTYPE_F32); /* as exact as parameters are */
    espl_tensor *left = each[0];
    if (library->ups > 1) left = espl_graph_fusion_mix(graph, espl_graph_matmul(graph, &scores), each, library->ups, NULL);
    left = espl_graph_scale(graph, &(espl_scale){.x = left, .s = espl_build_leaf(builder, store, own->values)});
    espl_graph_value_dtype(graph, adapter->model->value_dtype);
    return left;
}

static factors factors_of(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, const lora_group *group, uint32_t part) {
    const library_lora *library = espl_library_lora(adapter);
    const library_target *own = library ? &library->targets[joint->block][joint->linear][part] : NULL;
    const lora_target *target = &group->target[part];
    const espl_store *store = &adapter->store;
    if (!library || !library->vera)
        return (factors){library && library->ups ? mix(builder, adapter, own, target->b) : espl_build_leaf(builder, store, target->b),
                         espl_build_rows(builder, store, group->a, target->from, target->rank)};
    const espl_matmul left = {.a = espl_build_leaf(builder, store, own->b), .b = espl_build_leaf(builder, store, library->b),
                              .orientation = MATMUL_NN};
    const espl_matmul right = {.a = espl_build_leaf(builder, store, own->d), .b = espl_build_leaf(builder, store, library->a),
                               .orientation = MATMUL_NN};
    espl_graph_value_dtype(builder->graph, ESPL_DTYPE_F32); /* as exact as parameters are */
    const factors both = {espl_graph_matmul(builder->graph, &left), espl_graph_matmul(builder->graph, &right)};
    espl_graph_value_dtype(builder->graph, adapter->model->value_dtype);
    return both;
}

/* The columns of a target times m / n. */
static espl_tensor *bring_to_length(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, const lora_target *target,
                                    const espl_columns *part, const factors *f, espl_tensor *y) {
    espl_graph *graph = builder->graph;
    espl_graph_value_dtype(graph, ESPL_DTYPE_F32);
    espl_tensor *inverse = espl_graph_row_norm(graph, &(espl_row_norm){.w = joint->weight, .a = f->right, .b = f->left,
                                                                       .orientation = MATMUL_NT, .w_from = part->from, .scale = 1,
                                                                       .inverse = true});
    espl_tensor *factor = espl_graph_scale(graph, &(espl_scale){.x = inverse,
                                                                .s = espl_build_leaf(builder, &adapter->store, target->magnitude)});
    espl_graph_value_dtype(graph, adapter->model->value_dtype);
    return espl_graph_scale(graph, &(espl_scale){.x = y, .s = factor, .from = part->from, .count = part->count});
}

static espl_tensor *join_parts(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, const lora_group *group,
                               espl_tensor *y) {
    const lora_state *state = adapter->state;
    const library_lora *library = espl_library_lora(adapter);
    espl_tensor *x = espl_build_dropout(builder, joint->x, state->dropout);
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        const espl_columns *part = &adapter->model->linear[joint->linear].part[p];
        if (!target->rank) continue;
        const factors f = factors_of(builder, adapter, joint, group, p);
        espl_tensor *u = espl_graph_matmul(builder->graph, &(espl_matmul){.a = x, .b = f.right, .orientation = MATMUL_NT});
        u = gated(builder, adapter, joint, &library->targets[joint->block][joint->linear][p].gate, 0, u, 0, 0);
        u = espl_build_share(builder, joint, u);
        y = espl_graph_matmul(builder->graph, &(espl_matmul){.a = u, .b = f.left, .orientation = MATMUL_NT, .into = y,
                                                             .into_from = part->from, .scale = target->scale});
        if (library->dora) y = bring_to_length(builder, adapter, joint, target, part, &f, y);
    }
    return y;
}

/* What others have made of y stays as it is: DoRA is about the base's own product. */
static espl_tensor *join_alone(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, const lora_group *group,
                               espl_tensor *y) {
    espl_graph *graph = builder->graph;
    if (y == joint->product) return join_parts(builder, adapter, joint, group, y);
    const espl_matmul product = {.a = joint->x, .b = joint->weight, .orientation = MATMUL_NT, .bias = joint->bias};
    espl_tensor *base = espl_graph_matmul(graph, &product);
    espl_tensor *rest = espl_graph_add(graph, &(espl_add_args){y, espl_graph_scale(graph, &(espl_scale){.x = base, .number = -1})});
    return espl_graph_add(graph, &(espl_add_args){join_parts(builder, adapter, joint, group, base), rest});
}

espl_tensor *espl_library_lora_join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const library_lora *library = espl_library_lora(adapter);
    const lora_group *group = &state->groups[joint->block][joint->linear];
    bool any = false;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) any |= group->target[p].rank != 0;
    if (!any) return y;
    if (joint->linear == ESPL_LINEAR_QKV && library->fused) return join_fused(builder, adapter, joint, y);
    if (library->dora) return join_alone(builder, adapter, joint, group, y);
    if (library->vera) return join_parts(builder, adapter, joint, group, y);
    espl_tensor *u = espl_lora_down(builder, adapter, group, espl_build_dropout(builder, joint->x, state->dropout));
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        if (target->rank)
            u = gated(builder, adapter, joint, &library->targets[joint->block][joint->linear][p].gate, 0, u, target->from, target->rank);
    }
    espl_tensor *mixed[ESPL_LINEAR_PARTS] = {NULL};
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && library->ups; p++) {
        const lora_target *target = &group->target[p];
        if (target->rank) mixed[p] = mix(builder, adapter, &library->targets[joint->block][joint->linear][p], target->b);
    }
    return espl_lora_up(builder, adapter, joint, group, library->ups ? mixed : NULL, u, y);
}

/* ---- One behind the other ---- */

static const lora_target *target_of(const espl_adapter *adapter, const espl_joint *joint, uint32_t part) {
    const lora_state *state = adapter->state;
    const lora_target *target = &state->groups[joint->block][joint->linear].target[part];
    return target->rank ? target : NULL;
}

static espl_status check_stack(const espl_adapter *adapter, const espl_joint *joint, uint32_t part, bool first) {
    const espl_model *model = adapter->model;
    const library_lora *library = espl_library_lora(adapter);
    const uint32_t in = model->linear[joint->linear].in, out = model->linear[joint->linear].part[part].count;
    if (library && (library->dora || (library->fused && joint->linear == ESPL_LINEAR_QKV)))
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": %s cannot be stacked with another LoRA%s", adapter->name,
                         adapter->method->name, library->dora ? "" : " where queries, keys and values are one map");
    if (first || in == out) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": of stacked LoRAs it would take what another adds to a map from %u to %u "
                     "values; only maps between equal widths have that (a+b adds both)", adapter->name, in, out);
}

/* Of one map: s_n B_n A_n ... s_1 B_1 A_1 x is added to y. */
static espl_tensor *stack_part(espl_builder *builder, const espl_adapter *const *adapters, uint32_t count, const espl_joint *joint,
                               uint32_t part, espl_tensor *y) {
    espl_tensor *h = joint->x;
    uint32_t last = 0;
    for (uint32_t i = 0; i < count; i++) last = target_of(adapters[i], joint, part) ? i : last;
    for (uint32_t i = 0; i <= last; i++) {
        const espl_adapter *adapter = adapters[i];
        const lora_target *target = target_of(adapter, joint, part);
        const lora_state *state = adapter->state;
        if (!target) continue;
        const espl_status status = check_stack(adapter, joint, part, h == joint->x);
        if (status != ESPL_OK) return espl_graph_fail(builder->graph, status);
        const factors f = factors_of(builder, adapter, joint, &state->groups[joint->block][joint->linear], part);
        espl_tensor *u = espl_graph_matmul(builder->graph, &(espl_matmul){.a = espl_build_dropout(builder, h, state->dropout), .b = f.right,
                                                                          .orientation = MATMUL_NT});
        const library_lora *library = espl_library_lora(adapter);
        if (library) u = gated(builder, adapter, joint, &library->targets[joint->block][joint->linear][part].gate, 0, u, 0, 0);
        espl_matmul up = {.a = u, .b = f.left, .orientation = MATMUL_NT, .scale = target->scale};
        if (i < last) {
            h = espl_graph_matmul(builder->graph, &up);
            continue;
        }
        up.a = espl_build_share(builder, joint, u);
        up.into = y, up.into_from = adapter->model->linear[joint->linear].part[part].from;
        y = espl_graph_matmul(builder->graph, &up);
    }
    return y;
}

espl_tensor *espl_library_lora_stack(espl_builder *builder, const espl_adapter *const *adapters, uint32_t count, const espl_joint *joint,
                                     espl_tensor *y) {
    for (uint32_t part = 0; part < ESPL_LINEAR_PARTS; part++) y = stack_part(builder, adapters, count, joint, part, y);
    return y;
}

/* ---- Merging ---- */

/* The matrix's rows from, from + 1, ... as doubles, freed with espl_free. */
static espl_status read(espl_adapter *adapter, uint32_t matrix, uint32_t from, uint32_t count, double **out_values) {
    espl_context *ctx = adapter->model->ctx;
    const size_t n = (size_t)count * adapter->store.matrices[matrix].cols;
    float *values = NULL;
    espl_status status = ESPL_OK;
    *out_values = NULL;
    ESPL_GOTO(espl_new(ctx, n * sizeof *values, &values));
    ESPL_GOTO(espl_new(ctx, n * sizeof **out_values, out_values));
    ESPL_GOTO(espl_store_read(&adapter->store, &(espl_entry){.matrix = matrix, .from = from, .count = count}, values));
    for (size_t i = 0; i < n; i++) (*out_values)[i] = values[i];
fail:
    espl_free(ctx, &values);
    return status;
}

/* a [rows, inner] b [inner, cols], which is freed for it. */
static espl_status multiply(espl_context *ctx, const double *a, double **in_out_b, size_t rows, size_t inner, size_t cols) {
    double *c;
    ESPL_TRY(espl_new(ctx, rows * cols * sizeof *c, &c));
    for (size_t i = 0; i < rows; i++) {
        for (size_t k = 0; k < inner; k++) {
            for (size_t j = 0; j < cols; j++) c[i * cols + j] += a[i * inner + k] * (*in_out_b)[k * cols + j];
        }
    }
    espl_free(ctx, in_out_b);
    *in_out_b = c;
    return ESPL_OK;
}

static espl_status read_vector(espl_adapter *adapter, uint32_t matrix, float *out_values) {
    const espl_entry all = {.matrix = matrix, .count = adapter->store.matrices[matrix].cols, .vector = true};
    return espl_store_read(&adapter->store, &all, out_values);
}

/* MTL-LoRA's L, in place of its B's. */
static espl_status mix_read(espl_adapter *adapter, const library_target *own, uint32_t rows, double *in_out_b) {
    const library_lora *library = espl_library_lora(adapter);
    const size_t each = (size_t)rows * library->rank;
    float weights[ESPL_FUSION_MAX], *values;
    double shares[ESPL_FUSION_MAX], sum = 0, largest = -INFINITY;
    ESPL_TRY(espl_new(adapter->model->ctx, library->rank * sizeof *values, &values));
    espl_status status = read_vector(adapter, own->values, values);
    if (status == ESPL_OK) status = read_vector(adapter, own->weights, weights);
    for (uint32_t i = 0; i < library->ups && status == ESPL_OK; i++) largest = fmax(largest, weights[i]);
    for (uint32_t i = 0; i < library->ups && status == ESPL_OK; i++)
        sum += shares[i] = exp((weights[i] - largest) / (double)library->sharpness);
    for (size_t j = 0; j < each && status == ESPL_OK; j++) {
        double mixed = 0;
        for (uint32_t i = 0; i < library->ups; i++) mixed += shares[i] / sum * in_out_b[i * each + j];
        in_out_b[j] = mixed * values[j % library->rank];
    }
    espl_free(adapter->model->ctx, &values);
    return status;
}

static espl_status read_factors(espl_adapter *adapter, const espl_place *place, const lora_group *group, uint32_t rows, uint32_t b_from,
                                double **out_left, double **out_right) {
    espl_context *ctx = adapter->model->ctx;
    const library_lora *library = espl_library_lora(adapter);
    const library_target *own = &library->targets[place->block][place->linear][place->part];
    const uint32_t rank = library->rank;
    double *change = NULL;
    espl_status status = ESPL_OK;
    if (!library->vera) {
        ESPL_TRY(read(adapter, group->a, group->target[place->part].from, rank, out_right));
        ESPL_TRY(read(adapter, group->target[place->part].b, b_from, rows * espl_library_lora_ups(library), out_left));
        return library->ups ? mix_read(adapter, own, rows, *out_left) : ESPL_OK;
    }
    ESPL_GOTO(read(adapter, library->a, 0, rank, out_right));
    ESPL_GOTO(read(adapter, library->b, 0, rows, out_left));
    ESPL_GOTO(read(adapter, own->d, 0, rank, &change));
    ESPL_GOTO(multiply(ctx, change, out_right, rank, rank, place->in));
    espl_free(ctx, &change);
    ESPL_GOTO(read(adapter, own->b, 0, rows, &change));
    status = multiply(ctx, change, out_left, rows, rows, rank);
fail:
    espl_free(ctx, &change);
    return status;
}

/* A row of W + s L R, and its bias, as DoRA has them: times m over the norm of W + L R; magnitude NULL: the row as it is. */
static void merge_row(float *weight, float *bias, const double *change, uint32_t in, float scale, const double *magnitude) {
    double square = 0;
    for (uint32_t i = 0; i < in; i++) square += (weight[i] + change[i]) * (weight[i] + change[i]);
    const double factor = magnitude ? *magnitude / sqrt(square) : 1;
    for (uint32_t i = 0; i < in; i++) weight[i] = (float)(factor * (weight[i] + scale * change[i]));
    if (bias) *bias = (float)(factor * *bias);
}

/* rows of the place, from its row `from`; b_from: their first row of B. */
static espl_status merge_rows(espl_adapter *adapter, const espl_place *place, const lora_group *group, uint32_t from, uint32_t rows,
                              uint32_t b_from, float *weight, float *bias) {
    espl_context *ctx = adapter->model->ctx;
    const library_lora *library = espl_library_lora(adapter);
    const lora_target *target = &group->target[place->part];
    double *left = NULL, *right = NULL, *magnitude = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(read_factors(adapter, place, group, rows, b_from, &left, &right));
    ESPL_GOTO(multiply(ctx, left, &right, rows, library->rank, place->in));
    if (library->dora) ESPL_GOTO(read(adapter, target->magnitude, 0, 1, &magnitude));
    for (uint32_t o = 0; o < rows; o++)
        merge_row(weight + (size_t)(from + o) * place->in, bias ? bias + from + o : NULL, right + (size_t)o * place->in, place->in,
                  library->scale, magnitude ? magnitude + o : NULL);
fail:
    espl_free(ctx, &left);
    espl_free(ctx, &right);
    espl_free(ctx, &magnitude);
    return status;
}

espl_status espl_library_lora_merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    const lora_state *state = adapter->state;
    const library_lora *library = espl_library_lora(adapter);
    *out_changed = false;
    if (library->gated)
        return espl_fail(adapter->model->ctx, ESPL_UNSUPPORTED, "%s: what gates weigh anew for each sequence cannot be merged",
                         adapter->method->name);
    if (place->block == ESPL_NO_BLOCK) return ESPL_OK;
    const lora_group *group = &state->groups[place->block][place->linear];
    if (!(library->fused && place->linear == ESPL_LINEAR_QKV)) {
        *out_changed = group->target[place->part].rank != 0;
        return *out_changed ? merge_rows(adapter, place, group, 0, place->out, 0, weight, bias) : ESPL_OK;
    }
    const uint32_t each = place->out / ESPL_LINEAR_PARTS;
    for (uint32_t p = 0, have = 0; p < ESPL_LINEAR_PARTS; p++) {
        espl_place third = *place;
        third.part = p;
        if (!group->target[p].rank) continue;
        ESPL_TRY(merge_rows(adapter, &third, group, p * each, each, have++ * each, weight, bias));
        *out_changed = true;
    }
    return ESPL_OK;
}
