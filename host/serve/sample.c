/* Sampling: see sample.h for the rule. */
#include "host/serve/sample.h"
#include <math.h>
#include <string.h>

static espl_status check(espl_context *ctx, const espl_sampling *params, uint32_t vocabulary) {
    const struct {
        const char *name;
        double value, largest;
    } rows[] = {
        {"temperature", params->temperature, 1e6},
        {"top_p", params->top_p, 1},
        {"min_p", params->min_p, 1},
        {"repetition_penalty", params->repetition_penalty, 1e6},
    };
    for (size_t r = 0; r < ESPL_COUNT(rows); r++) {
        if (!(rows[r].value >= 0 && rows[r].value <= rows[r].largest))
            return espl_fail(ctx, ESPL_ARGUMENT, "%s is %g, it must be from 0 to %g", rows[r].name, rows[r].value,
                             rows[r].largest);
    }
    if (vocabulary == 0 || vocabulary > INT32_MAX)
        return espl_fail(ctx, ESPL_ARGUMENT, "a vocabulary of %u ids cannot be drawn from", vocabulary);
    return ESPL_OK;
}

espl_status espl_sampler_init(espl_context *ctx, const espl_sampling *params, uint32_t vocabulary,
                              espl_sampler *out_sampler) {
    *out_sampler = (espl_sampler){.ctx = ctx, .params = *params, .vocabulary = vocabulary};
    ESPL_TRY(check(ctx, params, vocabulary));
    size_t bytes;
    if (!espl_mul(vocabulary, sizeof(espl_candidate), &bytes))
        return espl_fail(ctx, ESPL_LIMIT, "a vocabulary of %u ids is too large", vocabulary);
    espl_status status;
    ESPL_GOTO(espl_new(ctx, bytes, &out_sampler->candidates));
    ESPL_GOTO(espl_new(ctx, bytes, &out_sampler->work));
    ESPL_GOTO(espl_new(ctx, (size_t)vocabulary / 8 + 1, &out_sampler->seen));
    return ESPL_OK;
fail:
    espl_sampler_finish(out_sampler);
    return status;
}

void espl_sampler_finish(espl_sampler *sampler) {
    if (sampler->ctx) {
        espl_free(sampler->ctx, &sampler->candidates);
        espl_free(sampler->ctx, &sampler->work);
        espl_free(sampler->ctx, &sampler->seen);
    }
    *sampler = (espl_sampler){0};
}

static void penalize(espl_sampler *sampler, const int32_t *history, size_t history_count) {
    float penalty = (float)sampler->params.repetition_penalty;
    if (penalty == 0 || penalty == 1) return;
    for (size_t i = 0; i < history_count; i++) {
        uint32_t id = (uint32_t)history[i];
        if (id >= sampler->vocabulary || sampler->seen[id / 8] >> id % 8 & 1) continue;
        sampler->seen[id / 8] |= (uint8_t)(1u << id % 8);
        float *logit = &sampler->candidates[id].logit;
        *logit = *logit < 0 ? *logit * penalty : *logit / penalty;
    }
    for (size_t i = 0; i < history_count; i++) {
        if ((uint32_t)history[i] < sampler->vocabulary) sampler->seen[(uint32_t)history[i] / 8] = 0;
    }
}

/* Every id differs, so any two candidates have an order. */
static bool is_above(const espl_candidate *a, const espl_candidate *b) {
    return (a->logit > b->logit) | ((a->logit == b->logit) & (a->id < b->id));
}

static void swap(espl_candidate *a, espl_candidate *b) {
    espl_candidate other = *a;
    *a = *b;
    *b = other;
}

/* The last candidate that has less than `share` of weight above it; quickselect by weight. items are rearranged.
 * count > 0, share > 0. */
static espl_candidate find_last(espl_candidate *items, uint32_t count, double share) {
    uint32_t low = 0, high = count, state = 0x9e3779b9u;
    double above = 0; /* weight of items before low, all of which stay */
    espl_candidate last = items[0];
    while (low < high) {
        /* A pivot by chance: no arrangement of logits is slow for all vocabularies. */
        state = state * 1664525u + 1013904223u;
        swap(&items[low + (uint32_t)((uint64_t)state * (high - low) >> 32)], &items[high - 1]);
        espl_candidate pivot = items[high - 1];
        uint32_t middle = low;
        double weight = 0;
        /* Without branches, for no processor could guess them. */
        for (uint32_t i = low; i + 1 < high; i++) {
            uint32_t up = is_above(&items[i], &pivot);
            weight += (double)items[i].weight * up;
            swap(&items[i], &items[middle]);
            middle += up;
        }
        swap(&items[middle], &items[high - 1]);
        if (above + weight >= share) {
            high = middle;
            continue;
        }
        last = pivot;
        above += weight + pivot.weight;
        low = middle + 1;
    }
    return last;
}

static void keep_top_k(espl_sampler *sampler) {
    uint32_t k = sampler->params.top_k, kept = 0;
    if (k == 0 || k >= sampler->count) return;
    memcpy(sampler->work, sampler->candidates, sampler->count * sizeof *sampler->work);
    for (uint32_t i = 0; i < sampler->count; i++)
        sampler->work[i].weight = 1;
    float least = find_last(sampler->work, sampler->count, k).logit;
    for (uint32_t i = 0; i < sampler->count; i++) {
        if (sampler->candidates[i].logit >= least) sampler->candidates[kept++] = sampler->candidates[i];
    }
    sampler->count = kept;
}

static void keep_top_p(espl_sampler *sampler, double total) {
    double top_p = sampler->params.top_p;
    uint32_t kept = 0;
    if (top_p == 0 || top_p >= 1) return;
    memcpy(sampler->work, sampler->candidates, sampler->count * sizeof *sampler->work);
    espl_candidate last = find_last(sampler->work, sampler->count, top_p * total);
    for (uint32_t i = 0; i < sampler->count; i++) {
        if (!is_above(&last, &sampler->candidates[i])) sampler->candidates[kept++] = sampler->candidates[i];
    }
    sampler->count = kept;
}

static void keep_min_p(espl_sampler *sampler) {
    float least = (float)sampler->params.min_p; /* the largest weight is 1 */
    uint32_t kept = 0;
    if (least == 0) return;
    for (uint32_t i = 0; i < sampler->count; i++) {
        if (sampler->candidates[i].weight >= least) sampler->candidates[kept++] = sampler->candidates[i];
    }
    sampler->count = kept;
}

static uint32_t draw(const espl_sampler *sampler, espl_random *random) {
    double total = 0, below = 0;
    for (uint32_t i = 0; i < sampler->count; i++)
        total += sampler->candidates[i].weight;
    uint64_t high = espl_random_u32(random), low = espl_random_u32(random);
    double at = (double)((high << 32 | low) >> 11) * 0x1p-53 * total;
    uint32_t id = 0;
    for (uint32_t i = 0; i < sampler->count; i++) {
        if (sampler->candidates[i].weight == 0) continue; /* too small for a float */
        id = sampler->candidates[i].id;
        below += sampler->candidates[i].weight;
        if (at < below) break;
    }
    return id;
}

espl_status espl_sample(espl_sampler *sampler, const float *logits, const int32_t *history, size_t history_count,
                        espl_random *random, int32_t *out_id) {
    for (uint32_t i = 0; i < sampler->vocabulary; i++) {
        if (!isfinite(logits[i]))
            return espl_fail(sampler->ctx, ESPL_FORMAT, "logit %u of %u is %s; no token can be drawn", i,
                             sampler->vocabulary, isnan(logits[i]) ? "not a number" : "infinite");
        sampler->candidates[i] = (espl_candidate){.logit = logits[i], .id = i};
    }
    sampler->count = sampler->vocabulary;
    penalize(sampler, history, history_count);
    espl_candidate best = sampler->candidates[0];
    for (uint32_t i = 1; i < sampler->count; i++) {
        if (sampler->candidates[i].logit > best.logit) best = sampler->candidates[i];
    }
    *out_id = (int32_t)best.id;
    if (sampler->params.temperature == 0) return ESPL_OK;

    keep_top_k(sampler);
    /* Before the division: a small temperature must not overflow. */
    double total = 0;
    for (uint32_t i = 0; i < sampler->count; i++) {
        espl_candidate *c = &sampler->candidates[i];
        double power = ((double)c->logit - (double)best.logit) / sampler->params.temperature;
        c->weight = power < -150 ? 0 : expf((float)power);
        total += c->weight;
    }
    keep_top_p(sampler, total);
    keep_min_p(sampler);
    *out_id = (int32_t)draw(sampler, random);
    return ESPL_OK;
}
