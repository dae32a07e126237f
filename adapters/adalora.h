/* AdaLoRA's state. */
#ifndef ESPL_ADALORA_H
#define ESPL_ADALORA_H

#include "adapters/lora.h"

typedef struct adalora_state {
    uint32_t init_r, target_r, tinit, tfinal, interval;
    uint32_t total;   /* steps in all; 0: as many as the training has, which is written here */
    uint32_t targets, ranks; /* in all */
    float beta1, beta2, penalty;
    bool pruned;      /* the folder has a rank_pattern: ranks are final */
    uint32_t score, dropped; /* matrices [1, ranks] */
    uint32_t copies;  /* first of mean and spread of importance, a pair for each matrix of A, B and E */
} adalora_state;

adalora_state *espl_adalora(const espl_adapter *adapter);
espl_status espl_adalora_save(espl_adapter *adapter, const char *folder);

#endif
