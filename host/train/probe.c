/* The door for checking: what the device computes for one batch, in a file that other programs read. */
#include "host/model/adapter.h"
#include "host/train/data.h"
#include "host/train/pass.h"
#include <espalier/trainer.h>
#include <stdio.h>
#include <string.h>

typedef struct probe {
    espl_model *model;
    espl_store *store; /* borrowed: what is trained, or NULL */
    const espl_probe_params *params;
    espl_optimiser optimiser;
    espl_pass pass;
    int32_t *labels; /* owned: as the pass takes them, some for each row */
    uint32_t row_labels;
    uint64_t counted;
    float *logits; /* owned */
    espl_tensor_entry *entries; /* owned; the first four are ids or embeddings, labels, logits, loss */
    espl_store_source *sources; /* owned */
    float **copies;             /* owned: parameters or gradients as they were when read */
    float *scores;              /* owned: of all gates and fusions */
    char **score_names;         /* owned */
} probe;

enum { PROBE_FIXED = 4 };

/* Places in rows, of which those that do not count have none. */
static espl_status read_spans(probe *p) {
    const espl_probe_params *q = p->params;
    for (uint32_t r = 0; r < q->rows; r++) {
        const uint32_t length = q->lengths ? (uint32_t)q->lengths[r] : q->tokens;
        bool counts;
        ESPL_TRY(espl_span_check(p->model->ctx, r, q->labels + 2 * r, length, q->tokens, &counts));
        for (uint32_t i = 2 * r; i < 2 * r + 2; i++) p->labels[i] = counts ? q->labels[i] : ESPL_NO_LABEL;
        p->counted += counts ? 2 : 0;
    }
    return ESPL_OK;
}

/* A question's label goes to its first row. */
static espl_status read_choices(probe *p) {
    const espl_probe_params *q = p->params;
    const uint32_t choices = espl_head_choices(p->model);
    ESPL_TRY(espl_choices_check(p->model->ctx, q->rows, choices, q->labels));
    for (uint32_t r = 0; r < q->rows; r++) {
        p->labels[r] = r % choices ? ESPL_NO_LABEL : q->labels[r / choices];
        p->counted += p->labels[r] >= 0;
    }
    return ESPL_OK;
}

/* Of a language model labels[i] of the caller is the token at i; the pass wants the one after it. */
static espl_status read_labels(probe *p) {
    const espl_probe_params *q = p->params;
    const espl_model *model = p->model;
    const bool shift = model->task.kind == ESPL_HEAD_LANGUAGE, none = model->task.kind == ESPL_HEAD_NONE;
    const bool regression = model->task.kind == ESPL_HEAD_REGRESSION;
    const int32_t *from = shift && !q->labels ? q->ids : q->labels;
    p->row_labels = espl_head_row_labels(model, q->tokens);
    if ((!from && !none && !regression) || (!q->values && regression))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "%s are needed for the loss of this head", regression ? "values" : "labels");
    ESPL_TRY(espl_new(model->ctx, (size_t)q->rows * p->row_labels * sizeof *p->labels, &p->labels));
    if (model->task.kind == ESPL_HEAD_SPANS) return read_spans(p);
    if (model->task.kind == ESPL_HEAD_CHOICES) return read_choices(p);
    for (uint32_t i = 0; i < q->rows * p->row_labels; i++) {
        const bool last = shift && i % q->tokens == q->tokens - 1;
        const int32_t label = !from ? (none ? -100 : 0) : last ? -100 : from[i + shift];
        if (!regression && label >= 0 && (uint32_t)label >= espl_head_outputs(model))
            return espl_fail(model->ctx, ESPL_ARGUMENT, "label %d is not below %u", label, espl_head_outputs(model));
        p->labels[i] = label;
        p->counted += label >= 0;
    }
    return ESPL_OK;
}

static espl_status check_batch(const probe *p) {
    const espl_probe_params *q = p->params;
    const espl_config *c = &p->model->config;
    const uint32_t vocabulary = espl_model_vocabulary(p->model);
    ESPL_TRY(espl_embeddings_check(p->model->ctx, q->ids, q->embeddings, q->rows, q->tokens, c->embedding));
    for (uint32_t i = 0; i < q->rows * q->tokens; i++) {
        if (q->ids && (q->ids[i] < 0 || (uint32_t)q->ids[i] >= vocabulary))
            return espl_fail(p->model->ctx, ESPL_ARGUMENT, "token %d is not in the vocabulary of %u", q->ids[i], vocabulary);
        if (q->types && (q->types[i] < 0 || (uint32_t)q->types[i] >= (c->types ? c->types : 1)))
            return espl_fail(p->model->ctx, ESPL_ARGUMENT, "token type %d is not below %u", q->types[i], c->types);
    }
    for (uint32_t r = 0; q->lengths && r < q->rows; r++) {
        if (q->lengths[r] < 1 || (uint32_t)q->lengths[r] > q->tokens)
            return espl_fail(p->model->ctx, ESPL_ARGUMENT, "a length of %d is not from 1 to %u", q->lengths[r], q->tokens);
    }
    return ESPL_OK;
}

static espl_status one_step(probe *p, espl_ticket *out_ticket) {
    const espl_probe_params *q = p->params;
    const espl_batch batch = {.ids = q->ids, .embeddings = q->embeddings, .types = q->types, .lengths = q->lengths, .labels = p->labels,
                              .tasks = q->tasks, .values = q->values};
    ESPL_TRY(espl_graph_submit(p->pass.graph, ESPL_PHASE_BEGIN, out_ticket));
    return espl_pass_micro(&p->pass, &batch, out_ticket);
}

/* Reads every trained tensor (flat: parameters or gradients) into copies and names it. */
static espl_status read_group(probe *p, const char *format, espl_span flat, size_t first) {
    espl_context *ctx = p->model->ctx;
    const size_t n = p->store->entry_count;
    espl_tensor_entry *entries = p->entries + PROBE_FIXED + first;
    ESPL_TRY(espl_store_entries(p->store, format, flat, entries, p->sources + first));
    for (size_t i = 0; i < n; i++) {
        float **copy = &p->copies[first + i];
        ESPL_TRY(espl_new(ctx, (size_t)espl_entry_values(p->store, &p->store->entries[i]) * sizeof **copy, copy));
        ESPL_TRY(espl_store_read_like(p->store, &p->store->entries[i], flat, *copy));
        entries[i].data = *copy;
    }
    return ESPL_OK;
}

static espl_status run_steps(probe *p) {
    const espl_probe_params *q = p->params;
    espl_ticket ticket;
    char format[32];
    snprintf(format, sizeof format, "param%u.%%s", q->steps);
    espl_pass_set(&p->pass, ESPL_STEP_LEARNING_RATE, (float)q->learning_rate);
    espl_pass_set(&p->pass, ESPL_STEP_BETA1, 0.9f);
    espl_pass_set(&p->pass, ESPL_STEP_BETA2, 0.999f);
    espl_pass_set(&p->pass, ESPL_STEP_EPSILON, 1e-8f);
    espl_pass_set(&p->pass, ESPL_STEP_WEIGHT_DECAY, (float)q->weight_decay);
    for (uint32_t i = 0; i < q->steps; i++) {
        if (i) ESPL_TRY(one_step(p, &ticket));
        ESPL_TRY(espl_graph_submit(p->pass.graph, ESPL_PHASE_END, &ticket));
        /* With the penalties that the adapter's method adds before the step. */
        if (i == 0) ESPL_TRY(read_group(p, "grad.%s", p->optimiser.gradients, 0));
    }
    return q->steps ? read_group(p, format, p->store->flat, p->store->entry_count)
                    : read_group(p, "grad.%s", p->optimiser.gradients, 0);
}

/* Puts what is trained first and returns how many entries that are in all. */
static size_t trained_first(probe *p, size_t groups) {
    const size_t n = p->store ? p->store->entry_count : 0;
    size_t count = PROBE_FIXED;
    for (size_t i = 0; i < groups * n; i++) {
        espl_tensor_entry *at = &p->entries[PROBE_FIXED + i], *to = &p->entries[count], swapped = *to;
        const espl_matrix *m = &p->store->matrices[p->store->entries[i % n].matrix];
        if (m->frozen || m->owner) continue;
        *to = *at, *at = swapped;
        count++;
    }
    return count;
}

/* What adapters' gates gave, behind the entries there are. */
static espl_status read_scores(probe *p, size_t first) {
    espl_context *ctx = p->model->ctx;
    const uint32_t rows = p->params->rows * p->pass.replicas;
    const size_t count = p->pass.scores.count;
    size_t values_of_all = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        values_of_all += (size_t)p->pass.scores.items[i].values->rows * p->pass.scores.items[i].values->cols;
    ESPL_TRY(espl_new(ctx, values_of_all * sizeof *p->scores, &p->scores));
    ESPL_TRY(espl_new(ctx, count * sizeof *p->score_names, &p->score_names));
    for (size_t i = 0; i < count; i++) {
        const espl_tensor *t = p->pass.scores.items[i].values;
        float *values = p->scores + at;
        at += (size_t)t->rows * t->cols;
        ESPL_TRY(espl_tensor_read(p->pass.graph, t, values));
        ESPL_TRY(espl_format(ctx, &p->score_names[i], "score.%s", p->pass.scores.items[i].name));
        p->entries[first + i] = (espl_tensor_entry){.name = p->score_names[i], .dtype = ESPL_DTYPE_F32, .rank = t->cols == 1 ? 1 : 3,
                                                    .shape = {rows, t->rows / rows, t->cols}, .data = values};
    }
    return ESPL_OK;
}

static espl_status run(probe *p, const char *path) {
    const espl_probe_params *q = p->params;
    espl_context *ctx = p->model->ctx;
    const size_t n = p->store ? p->store->entry_count : 0;
    const bool per_token = espl_head_per_token(p->model);
    const uint32_t outputs = espl_head_outputs(p->model), places = q->rows * (per_token ? q->tokens : 1);
    if (p->store) ESPL_TRY(espl_optimiser_init(&p->optimiser, p->store));
    const espl_pass_params pass = {.batch = q->rows, .tokens = q->tokens, .optimisers = &p->optimiser, .optimiser_count = p->store != NULL,
                                   .recompute = q->recompute, .keep_logits = true, .keep_scores = true, .decay_all = true,
                                   .embeddings = q->embeddings != NULL};
    ESPL_TRY(espl_pass_init(&p->pass, p->model, &pass));
    ESPL_TRY(espl_new(ctx, (size_t)places * p->pass.replicas * outputs * sizeof *p->logits, &p->logits));
    const size_t scores = p->pass.scores.count;
    ESPL_TRY(espl_new(ctx, (PROBE_FIXED + 2 * n + scores) * sizeof *p->entries, &p->entries));
    ESPL_TRY(espl_new(ctx, 2 * n * sizeof *p->sources, &p->sources));
    ESPL_TRY(espl_new(ctx, 2 * n * sizeof *p->copies, &p->copies));
    espl_pass_set(&p->pass, ESPL_STEP_LOSS_SCALE, p->counted ? (float)(1.0 / (double)p->counted) : 0.0f);
    espl_ticket ticket;
    ESPL_TRY(one_step(p, &ticket));
    double sum;
    ESPL_TRY(espl_pass_loss(&p->pass, ticket, &sum));
    ESPL_TRY(espl_tensor_read(p->pass.graph, p->pass.logits, p->logits));
    ESPL_TRY(read_scores(p, PROBE_FIXED + 2 * n));
    const double loss = p->counted ? sum / (double)p->counted : 0;
    if (p->store) ESPL_TRY(run_steps(p));
    const espl_tensor_entry fixed[PROBE_FIXED] = {
        q->ids ? (espl_tensor_entry){.name = "ids", .dtype = ESPL_DTYPE_I32, .rank = 2, .shape = {q->rows, q->tokens},
                                     .data = q->ids}
               : (espl_tensor_entry){.name = "embeddings", .dtype = ESPL_DTYPE_F32, .rank = 3,
                                     .shape = {q->rows, q->tokens, p->model->config.embedding}, .data = q->embeddings},
        {.name = "labels", .dtype = ESPL_DTYPE_I32, .rank = p->row_labels > 1 || per_token ? 2 : 1,
         .shape = {q->rows / p->pass.choices, p->row_labels},
         .data = q->labels ? q->labels : p->model->task.kind == ESPL_HEAD_LANGUAGE ? q->ids : p->labels},
        {.name = "logits", .dtype = ESPL_DTYPE_F32, .rank = per_token ? 3 : 2,
         .shape = {q->rows * p->pass.replicas, per_token ? q->tokens : outputs, outputs}, .data = p->logits},
        {.name = "loss", .dtype = ESPL_DTYPE_F64, .rank = 1, .shape = {1}, .data = &loss}};
    memcpy(p->entries, fixed, sizeof fixed);
    const espl_tensors_metadata_pair format = {"format", "pt"};
    const size_t trained = trained_first(p, q->steps ? 2 : 1);
    espl_tensor_entry *written;
    ESPL_TRY(espl_new(ctx, (trained + scores) * sizeof *written, &written));
    memcpy(written, p->entries, trained * sizeof *written);
    memcpy(written + trained, p->entries + PROBE_FIXED + 2 * n, scores * sizeof *written);
    const espl_status status = espl_tensors_write(ctx, path, written, trained + scores, &format, 1);
    espl_free(ctx, &written);
    return status;
}

espl_status espl_probe(espl_model *model, espl_adapter *adapter, const espl_probe_params *params, const char *path) {
    espl_context *ctx = model->ctx;
    probe p = {.model = model, .params = params};
    if (adapter) ESPL_TRY(espl_adapters_own(&adapter, 1));
    p.store = adapter ? &adapter->store : model->params.trainable ? &model->store : NULL;
    if (params->steps && !p.store)
        return espl_fail(ctx, ESPL_ARGUMENT, "%u steps were asked for, but nothing is trainable", params->steps);
    if (params->rows == 0 || params->tokens == 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "a batch of %u rows of %u tokens is empty", params->rows, params->tokens);
    espl_status status = check_batch(&p);
    if (status == ESPL_OK) status = read_labels(&p);
    if (status == ESPL_OK) status = run(&p, path);
    const size_t n = p.store ? p.store->entry_count : 0;
    if (p.entries && p.sources) espl_store_entries_finish(ctx, p.entries + PROBE_FIXED, p.sources, 2 * n);
    for (size_t i = 0; p.copies && i < 2 * n; i++) espl_free(ctx, &p.copies[i]);
    for (size_t i = 0; p.score_names && i < p.pass.scores.count; i++) espl_free(ctx, &p.score_names[i]);
    espl_free(ctx, &p.score_names);
    espl_free(ctx, &p.scores);
    espl_free(ctx, &p.copies);
    espl_free(ctx, &p.entries);
    espl_free(ctx, &p.sources);
    espl_free(ctx, &p.labels);
    espl_free(ctx, &p.logits);
    espl_pass_finish(&p.pass);
    if (p.store) espl_optimiser_finish(&p.optimiser);
    return status;
}
