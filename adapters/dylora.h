/* DyLoRA's state, and what its ranks are. */
#ifndef ESPL_DYLORA_H
#define ESPL_DYLORA_H

#include "adapters/lora.h"

typedef struct dylora_state {
    uint32_t r_min, r_max;
    uint32_t rank;   /* at which it is evaluated */
    uint32_t copies; /* frozen: first of the matrices that keep A and B as they were before a step */
    bool frozen, frozen_decay, nested, rslora;
    double share[]; /* p_B: of rank r_min + i; sums to 1 */
} dylora_state;

/* The state of a DyLoRA. */
dylora_state *espl_dylora(const espl_adapter *adapter);
/* What u is multiplied with at this rank, on top of alpha / r_max. */
double espl_dylora_factor(const dylora_state *state, uint32_t rank);

extern const espl_method espl_method_dylora;

#endif
