/* One pass recorded for several lengths of rows, so that a batch of short rows does not pay for the longest row of the
 * data: the batch goes through the shortest pass that holds it. */
#ifndef ESPL_PASSES_H
#define ESPL_PASSES_H

#include "host/train/batch.h"

enum { ESPL_PASSES_MAX = 8 };

typedef struct espl_passes {
    espl_pass pass[ESPL_PASSES_MAX]; /* the longest first: its are BEGIN, END, the step buffer's words and `info` */
    uint32_t count;
    uint32_t now; /* which has the micro-batch under way */
} espl_passes;

/* tokens and embeddings of params are left out, as the dataset has them: without by_length one pass as long as its rows may
 * be; with it up to ESPL_PASSES_MAX whose lengths leave the rows few tokens that are nothing, but no more than pay for their
 * recording. All lie in the memory of the longest. Fails: as espl_pass_init. */
espl_status espl_passes_init(espl_passes *passes, espl_model *model, const espl_pass_params *params,
                             const espl_dataset *dataset, espl_part part, bool by_length);
void espl_passes_finish(espl_passes *passes);

/* As espl_pass_micro_some; the batch has lengths. */
espl_status espl_passes_micro_some(espl_passes *passes, const espl_batch *batch, espl_budget *budget, espl_mark *in_out_mark,
                                   espl_ticket *out_ticket);
espl_status espl_passes_micro(espl_passes *passes, const espl_batch *batch, espl_ticket *out_ticket);
/* All of the micro-batch under way. */
bool espl_passes_are_submitted(const espl_passes *passes, const espl_mark *mark);

#endif
