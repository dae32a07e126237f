/* AdapterFusion, fusion.c. */
#ifndef ESPL_FUSION_METHOD_H
#define ESPL_FUSION_METHOD_H

#include "host/model/adapter.h"

/* Whether adapter is a fusion of one and others. */
bool espl_fusion_has(const espl_adapter *adapter, const espl_adapter *one);
/* The file of a fusion in the Adapters library to a configuration in our form, where the adapters' names are among its keys, and back:
 * file is what espl_library_file made of it. */
espl_status espl_fusion_from_file(espl_context *ctx, json_t *file);
espl_status espl_fusion_to_file(espl_context *ctx, json_t *file);

#endif
