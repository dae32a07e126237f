/* Pieces of an adapter's making that unions use for their parts (adapter.c). */
#ifndef ESPL_MAKE_H
#define ESPL_MAKE_H

#include "host/model/adapter.h"

/* An adapter that nothing knows of yet. To be destroyed also on failure, unless it is NULL. */
espl_status espl_adapter_begin(espl_model *model, const char *name, espl_adapter **out_adapter);
/* "lora:r=8,alpha=16", "lora:r=8|pfeiffer": method and configuration. */
espl_status espl_adapter_parse(espl_adapter *adapter, const char *spec);
void espl_adapter_destroy(espl_adapter *adapter);

#endif
