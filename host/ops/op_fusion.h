/* A softmax over a few tensors, row by row, as AdapterFusion takes it over adapters:
 *   scores  s[r,n] = sum over c of q[r,c] u_n[r,c]
 *   mix     y[r,c] = sum over n of p[r,n] u_n[r,c],  p[r,:] the softmax of s[r,:]
 * q       [rows, cols]                                     f32 or value   read
 * u       `count` tensors [rows, cols], 1 to ESPL_FUSION_MAX   f32 or value   read
 * s       [rows, count]                                    f32: of scores, with what a dropout makes of them
 * y       [rows, cols]                                     f32
 * p       [rows, count]                                    f32: out of mix, its shares; NULL: not asked for
 * Cost:   count dispatches for each, one for the softmax; backward twice as many for each.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Source: Pfeiffer et al. 2021 (AdapterFusion, arXiv 2005.00247), section 3.2, where keys and values are maps of u: the map of keys
 *         goes into q, that of values behind y. Reference: tests/ref/ref_fusion.c */
#ifndef ESPL_OP_FUSION_H
#define ESPL_OP_FUSION_H

#include "host/graph/graph.h"

enum { ESPL_FUSION_MAX = ESPL_INPUTS_MAX - 3 };

espl_tensor *espl_graph_fusion_scores(espl_graph *graph, espl_tensor *q, espl_tensor *const *u, uint32_t count);
espl_tensor *espl_graph_fusion_mix(espl_graph *graph, espl_tensor *s, espl_tensor *const *u, uint32_t count, espl_tensor **out_p);

#endif
