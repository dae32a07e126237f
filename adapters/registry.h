/* PEFT-Ref's reference sheet as data: what the paper says of its seven techniques, and which method here is which. */
#ifndef ESPL_REGISTRY_H
#define ESPL_REGISTRY_H

#include "host/model/adapter.h"

enum { ESPL_PROPERTY_COUNT = 9 }; /* intra, inter, adapted, sharing, input, insertion, insertions, integration, workspace */

/* Sizes in a model that the formulas of table 2 know: d_m, d_h, n. */
typedef struct espl_technique_sizes {
    uint64_t hidden, module, prompt;
} espl_technique_sizes;

/* Which of its parameters the formula is about: those of each block, those of all blocks together over their number, all. */
typedef enum espl_counted { ESPL_COUNTED_IN_BLOCK, ESPL_COUNTED_FOR_BLOCKS, ESPL_COUNTED_ONCE } espl_counted;

typedef struct espl_technique {
    const char *code, *title;
    const char *method; /* name of its row in espl_methods */
    const char *spec;   /* that table 2 counts */
    espl_properties properties; /* but for sites */
    const char *notes[ESPL_PROPERTY_COUNT]; /* behind a cell, NULL none; of the workspace the cell itself */
    const char *tags;                       /* S, D or R of each property */
    const char *time, *time_tag, *formula, *formula_tag;
    uint64_t (*parameters)(const espl_technique_sizes *sizes); /* per block */
    uint32_t rank, reduction; /* d_h: the number, or d_m divided by it */
    uint32_t prompt;
    espl_counted counted;
} espl_technique;

extern const espl_technique espl_techniques[];
extern const size_t espl_technique_count;

/* Words of a method's property; index below ESPL_PROPERTY_COUNT - 1. */
const char *espl_property_name(uint32_t index);
const char *espl_property_text(const espl_properties *properties, uint32_t index);

/* What an adapter added to an outline declares: in all, and in the blocks and outside of them with biases apart. Matrices that
 * stand in place of the base's count in all only. */
typedef struct espl_parameter_count {
    uint64_t all, blocks, block_biases, outside, outside_biases; /* blocks, outside: without biases */
} espl_parameter_count;
espl_parameter_count espl_count_parameters(const espl_adapter *adapter);
/* What the technique's formula is about: weights and biases. */
void espl_count_technique(const espl_technique *technique, const espl_adapter *adapter, uint64_t *out_weights, uint64_t *out_biases);

#endif
