/* The steps of loading a model, between model.c, declare.c and fill.c. */
#ifndef ESPL_LOAD_H
#define ESPL_LOAD_H

#include "host/model/model.h"

/* Every matrix and entry that model->config and model->task imply, in model->dtype. */
espl_status espl_model_declare_all(espl_model *model);
/* Places the store and fills it: from the files, or by params.seed where set is NULL; a head's tensors that the files lack
 * by seed too. Fails: FORMAT naming the tensor. */
espl_status espl_model_fill(espl_model *model, const espl_tensors *set);

#endif
