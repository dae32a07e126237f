/* Pieces of an adapter's life that more than one file needs (adapter.c, replace.c, merge.c). */
#ifndef ESPL_MAKE_H
#define ESPL_MAKE_H

#include "host/model/adapter.h"

/* An adapter that nothing knows of yet. To be destroyed also on failure, unless it is NULL. */
espl_status espl_adapter_begin(espl_model *model, const char *name, espl_adapter **out_adapter);
/* "lora:r=8,alpha=16", "lora:r=8|pfeiffer": method and configuration. */
espl_status espl_adapter_parse(espl_adapter *adapter, const char *spec);
/* As espl_adapter_add, with a head (of the library's folders) just where `like` has one; NULL: where the model has labels. */
espl_status espl_adapter_make(espl_model *model, const char *name, const char *spec, uint64_t seed, const espl_adapter *like,
                              espl_adapter **out_adapter);
/* Initial values by seed, or by the init_weights_seed that a configuration of the Adapters library has, 0 too. */
espl_status espl_adapter_initialise(espl_adapter *adapter, uint64_t seed);
/* Every entry of a replaced matrix starts with the base's values. */
espl_status espl_adapter_copy_base(espl_adapter *adapter);
/* Fails, ARGUMENT naming the tensor, where one of them stands in place of a tensor of the base that the other replaces or changes
 * in its place: nothing would be left of one. heads: also of the head's. */
espl_status espl_adapter_check_beside(const espl_adapter *a, const espl_adapter *b, bool heads);
/* Fails, ARGUMENT naming what differs, unless both are of one method and, but for how they were trained (and with ranks, for ranks and
 * scales), of one configuration; then their tensors and matrices are the same. what: "be averaged". */
espl_status espl_adapter_check_equal(const espl_adapter *first, const espl_adapter *other, bool ranks, const char *what);
/* The only one that can be taken out of the base; NULL: none is merged. */
espl_adapter *espl_adapter_merged_last(const espl_model *model);
void espl_adapter_destroy(espl_adapter *adapter);
/* The model's adapter of this name, or NULL. */
espl_adapter *espl_adapter_find(const espl_model *model, const char *name, size_t bytes);

#endif
