/* Training: rows in the order of an epoch, micro-batches through the recorded pass, the schedule's rate, AdamW. */
#include "host/train/trainer.h"
#include "host/base/os.h"
#include "host/model/composition.h"
#include "host/train/schedule.h"
#include <math.h>
#include <string.h>

espl_store *espl_trainer_store(espl_trainer *trainer, uint32_t index) {
    return trainer->adapter_count ? &trainer->adapters[index]->store : &trainer->model->store;
}

static void fill_defaults(espl_trainer_params *p, const espl_model *model) {
    if (p->batch == 0) p->batch = espl_head_choices(model);
    if (p->accumulate == 0) p->accumulate = 1;
    if (p->learning_rate == 0) p->learning_rate = 2e-4;
    if (p->beta1 == 0) p->beta1 = 0.9;
    if (p->beta2 == 0) p->beta2 = 0.999;
    if (p->epsilon == 0) p->epsilon = 1e-8;
    if (p->max_norm == 0) p->max_norm = 1;
    if (p->epochs == 0) p->epochs = 1;
}

static espl_status check_params(espl_context *ctx, const espl_trainer_params *p) {
    if (!(p->learning_rate > 0) || !(p->beta1 >= 0 && p->beta1 < 1) || !(p->beta2 >= 0 && p->beta2 < 1) ||
        !(p->epsilon > 0) || !(p->piece_ms >= 0 && p->piece_ms < INFINITY) || !(p->weight_decay >= 0) || !(p->epochs > 0) ||
        !isfinite(p->learning_rate))
        return espl_fail(ctx, ESPL_ARGUMENT, "learning rate %g, betas %g and %g, epsilon %g, weight decay %g, epochs %g, piece_ms %g: "
                         "one is out of range", p->learning_rate, p->beta1, p->beta2, p->epsilon, p->weight_decay, p->epochs,
                         p->piece_ms);
    return ESPL_OK;
}

/* Adapters that are trained together share their steps: none may want steps of its own kind. */
static espl_status check_together(const espl_trainer *t, const espl_adapter *adapter, uint32_t index) {
    double weight;
    for (uint32_t i = 0; i < index; i++) {
        if (t->adapters[i] == adapter) return espl_fail(t->ctx, ESPL_ARGUMENT, "adapter \"%s\" is to be trained twice", adapter->name);
    }
    if (!espl_store_carried_count(&adapter->store) && !adapter->method->turn &&
        (!adapter->method->passes || adapter->method->passes(adapter, 0, &weight) == 1))
        return ESPL_OK;
    return espl_fail(t->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": %s has steps of its own kind and is trained alone", adapter->name,
                     adapter->method->name);
}

static espl_status check_trained(const espl_trainer *t) {
    for (uint32_t i = 0; i < t->adapter_count; i++) {
        const espl_adapter *adapter = t->adapters[i];
        if (adapter->merge_order)
            return espl_fail(t->ctx, ESPL_ARGUMENT, "adapter \"%s\" is merged into the base and cannot be trained", adapter->name);
        if (!adapter->active) return espl_fail(t->ctx, ESPL_ARGUMENT, "adapter \"%s\" is not active", adapter->name);
        if (t->adapter_count > 1) ESPL_TRY(check_together(t, adapter, i));
    }
    if (!t->adapter_count && !t->model->params.trainable)
        return espl_fail(t->ctx, ESPL_ARGUMENT, "the model was not loaded as trainable and no adapter was given");
    return ESPL_OK;
}

static espl_status check_order(const espl_trainer *t) {
    const espl_composition *composition = t->model->composition;
    if (t->params.group_by_length && espl_composition_goes_by_place(composition))
        return espl_fail(t->ctx, ESPL_ARGUMENT, "group_by_length moves rows, and which adapters they have goes by their place");
    if (!t->params.no_shuffle && espl_composition_has(composition, ESPL_COMPOSITION_BATCHSPLIT))
        return espl_fail(t->ctx, ESPL_ARGUMENT, "with batchsplit rows keep their places in a batch: no_shuffle is needed");
    return ESPL_OK;
}

static espl_status count_steps(espl_trainer *t) {
    const espl_trainer_params *p = &t->params;
    const uint64_t per_step = (uint64_t)p->batch * p->accumulate;
    t->rows = espl_dataset_rows(t->dataset, ESPL_PART_TRAIN);
    if (t->rows == 0) return espl_fail(t->ctx, ESPL_ARGUMENT, "the data has no rows to train on");
    ESPL_TRY(espl_batch_check(t->model, t->dataset, true));
    const double steps = p->steps ? p->steps : ceil(p->epochs * t->rows / (double)per_step);
    if (per_step > 1u << 24 || !(steps < 4e9))
        return espl_fail(t->ctx, ESPL_ARGUMENT, "%g steps of %llu rows are not possible", steps,
                         (unsigned long long)per_step);
    t->steps = steps < 1 ? 1 : (uint32_t)steps;
    return ESPL_OK;
}

/* Nothing of it lasts: with gradients of zero and a learning rate of zero the optimiser changes its counters alone. A method
 * with an update of its own may change more, so there the optimiser's times are learnt in the first step. */
static espl_status run_without_effect(espl_trainer *t) {
    espl_graph *graph = t->train.pass[0].graph;
    espl_ticket ticket = 0;
    ESPL_TRY(espl_graph_submit(graph, ESPL_PHASE_BEGIN, &ticket));
    for (uint32_t i = 0; i < t->train.count; i++)
        ESPL_TRY(espl_graph_submit(t->train.pass[i].graph, ESPL_PHASE_MICRO, &ticket));
    ESPL_TRY(espl_graph_submit(graph, ESPL_PHASE_BEGIN, &ticket));
    bool updates = false;
    for (uint32_t i = 0; i < t->adapter_count; i++) updates |= t->adapters[i]->method->update != NULL;
    if (!updates) ESPL_TRY(espl_graph_submit(graph, ESPL_PHASE_END, &ticket));
    return espl_wait(t->model->device, ticket);
}

/* Runs every phase, so that a budget finds times and drivers have compiled what they compile late, until nothing is cut or
 * joined any more. */
static espl_status measure(espl_trainer *t) {
    enum { ROUNDS_QUIET = 4, ROUNDS_MAX = 20 };
    for (uint32_t round = 0, quiet = 0; round < ROUNDS_MAX && quiet < ROUNDS_QUIET; round++) {
        const uint64_t before = espl_device_count(t->model->device).cut_again;
        ESPL_TRY(run_without_effect(t));
        quiet = espl_device_count(t->model->device).cut_again == before ? quiet + 1 : 0;
    }
    return espl_clear(t->model->device, t->optimisers[0].stats);
}

static espl_status create(espl_trainer *t) {
    const espl_trainer_params *p = &t->params;
    ESPL_TRY(check_params(t->ctx, p));
    ESPL_TRY(check_trained(t));
    ESPL_TRY(check_order(t));
    ESPL_TRY(count_steps(t));
    ESPL_TRY(espl_new(t->ctx, t->rows * sizeof *t->order, &t->order));
    if (p->group_by_length) ESPL_TRY(espl_new(t->ctx, 2 * (size_t)t->rows * sizeof *t->keys, &t->keys));
    t->order_epoch = UINT64_MAX;
    ESPL_TRY(espl_row_buffer_init(&t->buffer, t->ctx, t->dataset, p->batch * p->accumulate));
    const uint32_t stores = t->adapter_count ? t->adapter_count : 1;
    for (; t->store_count < stores; t->store_count++)
        ESPL_TRY(espl_optimiser_init(&t->optimisers[t->store_count], espl_trainer_store(t, t->store_count)));
    const espl_pass_params params = {.batch = p->batch,
                                     .optimisers = t->optimisers,
                                     .optimiser_count = t->store_count,
                                     .dropout = true,
                                     .recompute = p->recompute,
                                     .piece_ms = p->piece_ms};
    ESPL_TRY(espl_passes_init(&t->train, t->model, &params, t->dataset, ESPL_PART_TRAIN, p->group_by_length));
    espl_pass *pass = &t->train.pass[0];
    pass->step[ESPL_STEP_SEED_LOW] = (uint32_t)p->seed;
    pass->step[ESPL_STEP_SEED_HIGH] = (uint32_t)(p->seed >> 32);
    pass->info.steps = t->steps;
    pass->info.seed = p->seed;
    espl_pass_set(pass, ESPL_STEP_BETA1, (float)p->beta1);
    espl_pass_set(pass, ESPL_STEP_BETA2, (float)p->beta2);
    espl_pass_set(pass, ESPL_STEP_EPSILON, (float)p->epsilon);
    espl_pass_set(pass, ESPL_STEP_WEIGHT_DECAY, (float)p->weight_decay);
    espl_pass_set(pass, ESPL_STEP_MAX_NORM, p->max_norm < 0 ? 0 : (float)p->max_norm);
    return p->piece_ms > 0 ? measure(t) : ESPL_OK;
}

static espl_status take_adapters(espl_trainer *t, espl_adapter *adapter) {
    const uint32_t more = t->params.also_count;
    if (more >= ESPL_TRAINED_MAX || (more && !adapter))
        return espl_fail(t->ctx, ESPL_ARGUMENT, "%u adapters beside the first are to be trained, from 0 to %d can be", more,
                         adapter ? ESPL_TRAINED_MAX - 1 : 0);
    if (adapter) t->adapters[t->adapter_count++] = adapter;
    for (uint32_t i = 0; i < more; i++) t->adapters[t->adapter_count++] = t->params.also[i];
    ESPL_TRY(espl_adapters_own(t->adapters, t->adapter_count));
    t->params.also = NULL;
    return ESPL_OK;
}

espl_status espl_trainer_create(espl_model *model, espl_adapter *adapter, const espl_dataset *dataset,
                                const espl_trainer_params *params, espl_trainer **out_trainer) {
    *out_trainer = NULL;
    espl_trainer *t;
    ESPL_TRY(espl_new(model->ctx, sizeof *t, &t));
    t->ctx = model->ctx;
    t->model = model;
    t->dataset = dataset;
    if (params) t->params = *params;
    fill_defaults(&t->params, model);
    espl_status status = take_adapters(t, adapter);
    if (status == ESPL_OK) status = create(t);
    if (status != ESPL_OK) {
        espl_trainer_destroy(&t);
        return status;
    }
    *out_trainer = t;
    return ESPL_OK;
}

void espl_trainer_destroy(espl_trainer **trainer) {
    espl_trainer *t = *trainer;
    if (!t) return;
    espl_context *ctx = t->ctx;
    espl_passes_finish(&t->train);
    espl_passes_finish(&t->evaluation);
    while (t->store_count) espl_optimiser_finish(&t->optimisers[--t->store_count]);
    espl_free(ctx, &t->order);
    espl_free(ctx, &t->keys);
    espl_row_buffer_finish(&t->buffer);
    espl_free(ctx, trainer);
}

/* ---- A step ---- */

enum { STEPS_OF_A_GROUP = 50 }; /* as transformers' group_by_length has it */

/* A new epoch has a new order. */
static void make_order(espl_trainer *t, uint64_t epoch) {
    const espl_trainer_params *p = &t->params;
    espl_dataset_order(t->dataset, ESPL_PART_TRAIN, p->seed, epoch, t->order);
    t->order_epoch = epoch;
    if (!p->group_by_length) return;
    const espl_grouping by = {.seed = p->seed, .epoch = epoch, .batch = p->batch, .group = STEPS_OF_A_GROUP * p->accumulate};
    espl_dataset_group(t->dataset, ESPL_PART_TRAIN, &by, t->rows, t->order, t->keys);
}

/* The next row of the training part. */
static espl_row next_row(espl_trainer *t) {
    const uint64_t epoch = t->rows_done / t->rows;
    const uint32_t index = (uint32_t)(t->rows_done % t->rows);
    if (epoch != t->order_epoch && !t->params.no_shuffle) make_order(t, epoch);
    t->rows_done++;
    return espl_dataset_row(t->dataset, ESPL_PART_TRAIN, t->params.no_shuffle ? index : t->order[index]);
}

/* Gathers the rows of a whole step; returns how many labels count. */
static uint64_t gather(espl_trainer *t) {
    uint64_t labels = 0;
    t->tokens = 0;
    for (uint32_t r = 0; r < t->params.batch * t->params.accumulate; r++) {
        const espl_row row = next_row(t);
        labels += espl_row_buffer_set(&t->buffer, r, &row, true);
        t->tokens += row.length;
    }
    return labels;
}

/* How often the trained adapter's method wants each micro-batch, and the weight of the loss in this pass. */
static uint32_t passes(const espl_trainer *t, double *out_weight) {
    *out_weight = 1;
    const espl_adapter *one = t->adapter_count == 1 ? t->adapters[0] : NULL;
    return one && one->method->passes ? one->method->passes(one, t->pass, out_weight) : 1;
}

static espl_status begin_step(espl_trainer *t) {
    const espl_trainer_params *p = &t->params;
    for (uint32_t i = 0; i < t->adapter_count; i++) {
        if (t->adapters[i]->method->turn) ESPL_TRY(t->adapters[i]->method->turn(t->adapters[i], t->step, t->steps));
    }
    t->started = espl_os_seconds();
    const uint64_t labels = gather(t);
    espl_pass_set(&t->train.pass[0], ESPL_STEP_LEARNING_RATE,
                  espl_schedule_rate(p->schedule, p->learning_rate, p->warmup, t->steps, t->step));
    t->train.pass[0].info.step = t->step;
    t->loss_scale = labels ? 1 / (double)labels : 0;
    t->under_way = true;
    t->phase = ESPL_PHASE_BEGIN;
    t->micro = t->pass = 0;
    t->mark = (espl_mark){0};
    return ESPL_OK;
}

/* What of the step the budget takes. */
static espl_status submit_some(espl_trainer *t, espl_budget *budget) {
    espl_pass *pass = &t->train.pass[0];
    while (t->phase < ESPL_PHASE_COUNT) {
        const espl_phase phase = (espl_phase)t->phase;
        double weight;
        const uint32_t count = passes(t, &weight);
        pass->info.pass = t->pass;
        espl_pass_set(pass, ESPL_STEP_LOSS_SCALE, (float)(t->loss_scale * weight));
        if (phase == ESPL_PHASE_MICRO) {
            const espl_batch batch = espl_row_buffer_at(&t->buffer, t->micro * t->params.batch);
            ESPL_TRY(espl_passes_micro_some(&t->train, &batch, budget, &t->mark, &t->ticket));
            if (!espl_passes_are_submitted(&t->train, &t->mark)) return ESPL_OK;
        } else {
            ESPL_TRY(espl_graph_submit_some(pass->graph, phase, budget, &t->mark, &t->ticket));
            if (!espl_graph_is_submitted(pass->graph, phase, &t->mark)) return ESPL_OK;
        }
        t->mark = (espl_mark){0};
        if (phase == ESPL_PHASE_MICRO && ++t->pass < count) continue;
        t->pass = 0;
        if (phase == ESPL_PHASE_MICRO && ++t->micro < t->params.accumulate) continue;
        t->phase++;
    }
    return ESPL_OK;
}

static void report(espl_trainer *t, const float stats[ESPL_STATS_WORDS], espl_progress *out) {
    const uint32_t kept = (uint32_t)ESPL_COUNT(t->recent);
    const uint32_t count = t->recent_count < kept ? t->recent_count : kept;
    double seconds = 0, tokens = 0;
    for (uint32_t i = 0; i < count; i++) {
        seconds += t->recent[i].seconds;
        tokens += (double)t->recent[i].tokens;
    }
    *out = (espl_progress){.step = t->step,
                           .steps = t->steps,
                           .epoch = (double)t->rows_done / t->rows,
                           .loss = stats[ESPL_STATS_LOSS],
                           .gradient_norm = stats[ESPL_STATS_GRAD_NORM],
                           .rows = t->rows_done,
                           .tokens = t->tokens_done,
                           .tokens_per_second = seconds > 0 ? tokens / seconds : 0,
                           .seconds_left = count ? seconds / count * (t->steps - t->step) : 0,
                           .skipped = (uint32_t)stats[ESPL_STATS_SKIPPED]};
    float rate;
    memcpy(&rate, &t->train.pass[0].step[ESPL_STEP_LEARNING_RATE], sizeof rate);
    out->learning_rate = rate;
}

/* Waits for what is still running. */
static espl_status end_step(espl_trainer *t, espl_progress *out_progress) {
    float stats[ESPL_STATS_WORDS];
    ESPL_TRY(espl_pass_stats(&t->train.pass[0], t->ticket, stats));
    t->under_way = false;
    t->pending_ms = 0;
    t->step++;
    t->tokens_done += t->tokens;
    const uint32_t at = t->recent_count++ % ESPL_COUNT(t->recent);
    t->recent[at].seconds = espl_os_seconds() - t->started;
    t->recent[at].tokens = t->tokens;
    report(t, stats, out_progress);
    return ESPL_OK;
}

espl_status espl_trainer_step(espl_trainer *t, espl_progress *out_progress) {
    espl_budget all = {.left_ms = INFINITY};
    *out_progress = (espl_progress){.step = t->step, .steps = t->steps};
    if (espl_trainer_is_done(t)) return ESPL_OK;
    if (!t->under_way) ESPL_TRY(begin_step(t));
    ESPL_TRY(submit_some(t, &all));
    return end_step(t, out_progress);
}

espl_status espl_trainer_advance(espl_trainer *t, double budget_ms, espl_progress *out_progress, bool *out_done) {
    *out_progress = (espl_progress){.step = t->step, .steps = t->steps};
    *out_done = false;
    if (t->params.piece_ms == 0)
        return espl_fail(t->ctx, ESPL_ARGUMENT, "this trainer was made with piece_ms 0, for whole steps only");
    if (!(budget_ms < INFINITY))
        return espl_fail(t->ctx, ESPL_ARGUMENT, "a budget of %g ms is not a number of milliseconds", budget_ms);
    if (espl_trainer_is_done(t)) return ESPL_OK;
    if (!t->under_way) ESPL_TRY(begin_step(t));
    const bool idle = espl_is_done(t->model->device, t->ticket);
    if (idle) t->pending_ms = 0;
    if (idle && t->phase == ESPL_PHASE_COUNT) {
        *out_done = true;
        return end_step(t, out_progress);
    }
    espl_budget budget = {.left_ms = budget_ms - t->pending_ms, .used = !idle};
    const double left_ms = budget.left_ms;
    if (left_ms <= 0) return ESPL_OK;
    ESPL_TRY(submit_some(t, &budget));
    t->pending_ms += left_ms - budget.left_ms;
    return ESPL_OK;
}

espl_status espl_trainer_need_whole_step(espl_trainer *t, const char *what) {
    if (!t->under_way) return ESPL_OK;
    return espl_fail(t->ctx, ESPL_ARGUMENT,
                     "step %u is under way and cannot be %s: finish it with espl_trainer_advance or espl_trainer_step",
                     t->step + 1, what);
}

bool espl_trainer_is_done(const espl_trainer *t) {
    return t->step >= t->steps;
}

bool espl_trainer_is_settled(const espl_trainer *t) {
    for (uint32_t i = 0; i < t->adapter_count; i++) {
        const espl_method *method = t->adapters[i]->method;
        if (method->settled && !method->settled(t->adapters[i], t->step, t->steps)) return false;
    }
    return true;
}

uint64_t espl_trainer_activation_bytes(const espl_trainer *t) {
    return espl_graph_activation_bytes(t->train.pass[0].graph);
}
