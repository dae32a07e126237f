/* Choosing the next token from logits, as Hugging Face's processors do it in this order:
 *
 *   repetition penalty p   logit of every id in the history: l < 0 ? l * p : l / p, once per id
 *   temperature t          weight of an id: exp((l - largest) / t)
 *   top-k                  the k largest logits and what equals the last of them
 *   top-p                  an id stays while the ids above it hold less than p of the weight; among equals the lower id
 *                          is above (torch.sort leaves them in any order)
 *   min-p                  weights of at least min_p times the largest
 *
 * and a draw by weight from what is left. Nothing is sorted: the last id that stays is found by partial selection, in
 * time proportional to the vocabulary. */
#ifndef ESPL_SAMPLE_H
#define ESPL_SAMPLE_H

#include "host/base/base.h"
#include <espalier/session.h>

typedef struct espl_candidate {
    float logit, weight;
    uint32_t id;
} espl_candidate;

/* Memory for one vocabulary; init/finish, nothing is allocated in between. After espl_sample with a temperature,
 * candidates[0 .. count-1] are the ids that were drawn from, in the order of their numbers. */
typedef struct espl_sampler {
    espl_context *ctx; /* borrowed */
    espl_sampling params;
    uint32_t vocabulary, count;
    espl_candidate *candidates, *work; /* owned; [vocabulary] */
    uint8_t *seen;                     /* owned; one bit per id, all 0 between calls */
} espl_sampler;

/* Fails: ARGUMENT for values out of range, by name; HOST_MEMORY. */
espl_status espl_sampler_init(espl_context *ctx, const espl_sampling *params, uint32_t vocabulary,
                              espl_sampler *out_sampler);
void espl_sampler_finish(espl_sampler *sampler);

/* logits: one per id. history: prompt and output so far, for the repetition penalty; ids beyond the vocabulary are
 * passed over. Takes two numbers from random if temperature is above 0, else none.
 * Fails: FORMAT if a logit is not finite, with its id. */
espl_status espl_sample(espl_sampler *sampler, const float *logits, const int32_t *history, size_t history_count,
                        espl_random *random, int32_t *out_id);

#endif
