/* What compositions ask of an AdapterFusion (adapters/fusion.c). */
#ifndef ESPL_FUSION_H
#define ESPL_FUSION_H

#include "host/model/adapter.h"

/* Whether `before` can stand before one of those that are fused, as a does in fuse(stack(a,b),c).
 * Fails: UNSUPPORTED unless it is a bottleneck adapter that is not parallel, with modules only where the fusion has some. */
espl_status espl_fusion_check_before(const espl_adapter *fusion, const espl_adapter *before);

#endif
