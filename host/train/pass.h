/* One recorded pass over a batch: loss, gradients of what is trained, and the optimiser's step. Trainer, evaluation and
 * probe all run this; they differ in which parts they ask for. */
#ifndef ESPL_PASS_H
#define ESPL_PASS_H

#include "host/model/adapter.h"

/* What outlives the recording: gradients, AdamW's moments, statistics. Laid out like the store's flat span. */
typedef struct espl_optimiser {
    espl_store *store; /* borrowed: what is trained */
    espl_arena arena;
    espl_span gradients, m, v;
    espl_span stats; /* ESPL_STATS_WORDS of f32 */
} espl_optimiser;

/* Zeroed moments. */
espl_status espl_optimiser_init(espl_optimiser *optimiser, espl_store *store);
void espl_optimiser_finish(espl_optimiser *optimiser);
espl_status espl_optimiser_stats(espl_optimiser *optimiser, float out_stats[ESPL_STATS_WORDS]);

typedef struct espl_pass_params {
    uint32_t batch, tokens;
    espl_optimiser *optimisers; /* of all that is trained together; the first has their statistics */
    uint32_t optimiser_count;   /* 0: no gradients */
    bool dropout, recompute, keep_logits, keep_scores;
    bool decay_all; /* weight decay also for vectors (probe) */
    bool embeddings; /* rows are given as embeddings, not as ids */
    double piece_ms; /* as espl_graph_cut; 0: not in pieces */
    const espl_graph *shared; /* as espl_graph_share, or NULL */
} espl_pass_params;

typedef struct espl_pass {
    espl_graph *graph;      /* owned */
    espl_tensor *ids, *types, *lengths, *labels, *values; /* STEP; NULL where the model or its head takes none */
    espl_tensor *embeddings; /* STEP, where params want them: ids are the numbers of its rows */
    bool per_token;         /* outputs: one for each token, not for each row */
    uint32_t row_labels;    /* labels of a row; 0: one for each token */
    uint32_t choices;       /* rows that have labels together: those of the first of them count */
    uint32_t replicas;      /* losses and outputs are of so many copies of the batch, one after the other */
    espl_tensor *losses;    /* one for each label, for the host; NULL: the head has no loss */
    espl_tensor *stats;     /* [1, ESPL_STATS_WORDS], for the host after END; NULL without gradients */
    espl_tensor *logits;    /* outputs of the head, kept if asked for */
    espl_scores scores;     /* of adapters' gates, if asked for */
    uint32_t *step;         /* the step buffer's words */
    const espl_step_inputs *inputs; /* what adapters write into it; owned by the graph */
    espl_step_info info;    /* for them; steps and seed are the owner's to set */
} espl_pass;

/* Built with the model's active adapters. Fails: as espl_graph_plan. */
espl_status espl_pass_init(espl_pass *pass, espl_model *model, const espl_pass_params *params);
void espl_pass_finish(espl_pass *pass);

/* Puts a float into a word of the step buffer. */
void espl_pass_set(espl_pass *pass, uint32_t word, float value);
/* What a pass is about, each as its tensor has it: embeddings where the pass was made for them, else ids. types, tasks NULL: 0;
 * lengths NULL: tokens. */
typedef struct espl_batch {
    const int32_t *ids, *types, *lengths, *labels, *tasks;
    const float *embeddings, *values;
    uint32_t tokens; /* from a row to the next in what has a value for each token; 0: as many as the pass has */
} espl_batch;
/* Writes its numbers, as the submission of them does. */
espl_status espl_pass_write(espl_pass *pass, const espl_batch *batch);
/* One micro-batch: its numbers and submission. */
espl_status espl_pass_micro(espl_pass *pass, const espl_batch *batch, espl_ticket *out_ticket);
/* The same a few pieces at a time, as espl_graph_submit_some. */
espl_status espl_pass_micro_some(espl_pass *pass, const espl_batch *batch, espl_budget *budget, espl_mark *in_out_mark,
                                 espl_ticket *out_ticket);
/* Sum of the losses of the micro-batch with this ticket, the last one, in double. Blocking. */
espl_status espl_pass_loss(espl_pass *pass, espl_ticket ticket, double *out_sum);
/* The statistics after END with this ticket. Blocking. */
espl_status espl_pass_stats(espl_pass *pass, espl_ticket ticket, float out_stats[ESPL_STATS_WORDS]);

#endif
