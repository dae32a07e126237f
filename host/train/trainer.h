/* The trainer's inside, for checkpoint.c. */
#ifndef ESPL_TRAINER_H
#define ESPL_TRAINER_H

#include "host/train/passes.h"
#include <espalier/trainer.h>

struct espl_trainer {
    espl_context *ctx;          /* borrowed */
    espl_model *model;          /* borrowed */
    espl_adapter *adapters[ESPL_TRAINED_MAX]; /* borrowed: those that are trained together */
    uint32_t adapter_count;     /* 0: the model is trained */
    const espl_dataset *dataset; /* borrowed */
    espl_trainer_params params; /* defaults filled in */
    espl_optimiser optimisers[ESPL_TRAINED_MAX]; /* of each adapter, or the model's; the first has the statistics */
    uint32_t store_count;
    espl_passes train, evaluation; /* evaluation: none until the first evaluate */
    uint32_t steps;              /* in all */
    uint32_t rows;               /* of the training part */
    /* Position: what a checkpoint holds besides the tensors. */
    uint32_t step;
    uint64_t rows_done, tokens_done;
    /* The step under way: what of it goes to the device next. */
    bool under_way;
    uint32_t phase;         /* ESPL_PHASE_COUNT: all was submitted */
    uint32_t micro, pass;   /* in phase MICRO; of the micro-batch */
    espl_mark mark;        /* in the phase */
    double loss_scale;      /* 1 / label tokens of the step */
    uint64_t tokens;        /* of its rows, without padding */
    espl_ticket ticket;     /* of its newest submission */
    double pending_ms;      /* expected of what espl_trainer_advance submitted and the device has not finished */
    double started;
    /* Working memory of a step. */
    uint32_t *order;        /* owned: of epoch order_epoch */
    uint64_t *keys;         /* owned; to group it by length */
    uint64_t order_epoch;
    espl_row_buffer buffer; /* accumulate * batch rows */
    struct {
        double seconds;
        uint64_t tokens;
    } recent[32];           /* the newest steps, a ring */
    uint32_t recent_count;
};

/* The trained tensors of one of store_count. */
espl_store *espl_trainer_store(espl_trainer *trainer, uint32_t index);
/* ARGUMENT while a step is under way; what: "saved". */
espl_status espl_trainer_need_whole_step(espl_trainer *trainer, const char *what);

#endif
