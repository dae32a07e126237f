#include "host/train/passes.h"
#include <math.h>
#include <string.h>

enum {
    BATCHES_FOR_A_PASS = 8, /* of a part: fewer are over before another recording is worth its time */
    LENGTH_STEP = 4         /* lengths are multiples, so that data sets share compiled kernels */
};

static uint32_t longest(const int32_t *lengths, uint32_t rows) {
    int32_t most = 1;
    for (uint32_t r = 0; r < rows; r++) most = lengths[r] > most ? lengths[r] : most;
    return (uint32_t)most;
}

/* The length among lengths[0..count), the longest first, that rows of `length` take, and the next shorter one. */
static void around(const uint32_t *lengths, uint32_t count, uint32_t length, uint32_t *out_above, uint32_t *out_below) {
    uint32_t i = count;
    while (lengths[i - 1] < length) i--;
    *out_above = lengths[i - 1];
    *out_below = i < count ? lengths[i] : 0;
}

/* Beside the longest row's length, one by one the length that saves most tokens, out of multiples of LENGTH_STEP, the longest
 * first. rows_up_to[n]: rows of at most n tokens. Returns how many. */
static uint32_t choose_lengths(const uint32_t *rows_up_to, uint32_t longest_row, uint32_t most,
                               uint32_t lengths[ESPL_PASSES_MAX]) {
    uint32_t count = 1;
    lengths[0] = longest_row;
    while (count < most) {
        uint64_t most_saved = 0;
        uint32_t chosen = 0;
        for (uint32_t length = LENGTH_STEP; length < longest_row; length += LENGTH_STEP) {
            uint32_t above, below;
            around(lengths, count, length, &above, &below);
            const uint64_t saved = (uint64_t)(rows_up_to[length] - rows_up_to[below]) * (above - length);
            if (saved > most_saved) most_saved = saved, chosen = length;
        }
        if (!most_saved) break;
        uint32_t at = count++;
        for (; lengths[at - 1] < chosen; at--) lengths[at] = lengths[at - 1];
        lengths[at] = chosen;
    }
    return count;
}

static espl_status find_lengths(espl_context *ctx, const espl_dataset *dataset, espl_part part, uint32_t batch,
                                uint32_t lengths[ESPL_PASSES_MAX], uint32_t *out_count) {
    const uint32_t rows = espl_dataset_rows(dataset, part), context = espl_dataset_context(dataset);
    uint32_t *rows_up_to, longest_row = 0, most = 1 + rows / batch / BATCHES_FOR_A_PASS;
    if (most > ESPL_PASSES_MAX) most = ESPL_PASSES_MAX;
    ESPL_TRY(espl_new(ctx, (context + (size_t)1) * sizeof *rows_up_to, &rows_up_to));
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t length = espl_dataset_row(dataset, part, r).length;
        rows_up_to[length]++;
        if (length > longest_row) longest_row = length;
    }
    for (uint32_t n = 1; n <= context; n++) rows_up_to[n] += rows_up_to[n - 1];
    longest_row = (uint32_t)espl_round_up(longest_row, LENGTH_STEP);
    *out_count = choose_lengths(rows_up_to, longest_row < context ? longest_row : context, most, lengths);
    espl_free(ctx, &rows_up_to);
    return ESPL_OK;
}

espl_status espl_passes_init(espl_passes *passes, espl_model *model, const espl_pass_params *params,
                             const espl_dataset *dataset, espl_part part, bool by_length) {
    uint32_t lengths[ESPL_PASSES_MAX] = {espl_dataset_context(dataset)}, count = 1;
    espl_pass_params own = *params;
    own.embeddings = espl_dataset_shape_of(dataset).width > 0;
    *passes = (espl_passes){0};
    if (by_length && espl_dataset_rows(dataset, part))
        ESPL_TRY(find_lengths(model->ctx, dataset, part, params->batch, lengths, &count));
    espl_status status = ESPL_OK;
    for (uint32_t i = 0; i < count && status == ESPL_OK; i++) {
        own.tokens = lengths[i];
        own.shared = i ? passes->pass[0].graph : NULL;
        status = espl_pass_init(&passes->pass[i], model, &own);
        passes->count++;
    }
    if (status != ESPL_OK) espl_passes_finish(passes);
    return status;
}

void espl_passes_finish(espl_passes *passes) {
    while (passes->count) espl_pass_finish(&passes->pass[--passes->count]);
}

/* ---- Running ---- */

static void choose(espl_passes *passes, const espl_batch *batch) {
    const uint32_t length = longest(batch->lengths, passes->pass[0].info.batch);
    passes->now = passes->count - 1;
    while (passes->now && passes->pass[passes->now].info.tokens < length) passes->now--;
}

/* What the owner has said about the step to the first pass, to the one that runs. */
static void pass_on(const espl_pass *first, espl_pass *to) {
    const uint32_t tokens = to->info.tokens;
    memcpy(to->step, first->step, ESPL_STEP_WORDS * sizeof *to->step);
    to->info = first->info;
    to->info.tokens = tokens;
}

espl_status espl_passes_micro_some(espl_passes *passes, const espl_batch *batch, espl_budget *budget, espl_mark *in_out_mark,
                                   espl_ticket *out_ticket) {
    espl_pass *first = &passes->pass[0];
    if (in_out_mark->commands == 0) choose(passes, batch);
    espl_pass *now = &passes->pass[passes->now];
    if (in_out_mark->commands == 0 && now != first) {
        pass_on(first, now);
        /* What adapters read in END is there, too. */
        ESPL_TRY(espl_pass_write(first, batch));
    }
    ESPL_TRY(espl_pass_micro_some(now, batch, budget, in_out_mark, out_ticket));
    first->step[ESPL_STEP_COUNTER] = now->step[ESPL_STEP_COUNTER];
    return ESPL_OK;
}

espl_status espl_passes_micro(espl_passes *passes, const espl_batch *batch, espl_ticket *out_ticket) {
    espl_budget all = {.left_ms = INFINITY};
    espl_mark begin = {0};
    *out_ticket = 0;
    return espl_passes_micro_some(passes, batch, &all, &begin, out_ticket);
}

bool espl_passes_are_submitted(const espl_passes *passes, const espl_mark *mark) {
    return espl_graph_is_submitted(passes->pass[passes->now].graph, ESPL_PHASE_MICRO, mark);
}
