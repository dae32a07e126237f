/* Methods made of methods, as the Adapters library's ConfigUnion: each part has its own configuration and tensors, which lie in
 * one store and are trained and saved together. A spec joins them, "lora:r=8|pfeiffer:rf=16"; "configs" of the folder lists
 * them. MAM (He et al. 2022, arXiv 2110.04366) and UniPELT (Mao et al. 2022, arXiv 2110.07577) are such lists. */
#ifndef ESPL_UNION_H
#define ESPL_UNION_H

#include "host/model/adapter.h"

extern const espl_method espl_method_union;

/* Makes the parts of a spec members of the adapter, undeclared. Fails: ARGUMENT for unions in unions, UNSUPPORTED for methods
 * with steps of their own. */
espl_status espl_union_parse(espl_adapter *adapter, const char *spec);

#endif
