/* The fields of PEFT's configurations, each of which is read, changes nothing, or is refused by its name. */
#ifndef ESPL_FIELDS_H
#define ESPL_FIELDS_H

#include "host/model/adapter.h"

/* A configuration as it was read: one that the method's type does not have is taken out, with a warning, as PEFT does it.
 * Fails: UNSUPPORTED naming one that changes results and is not offered; ARGUMENT where two exclude each other. */
espl_status espl_fields_check(espl_adapter *adapter);
/* For an adapter that has no tensors yet. Fails: UNSUPPORTED naming one that changes its initial values and is not offered. */
espl_status espl_fields_check_new(const espl_adapter *adapter);

/* null, false, or empty. */
bool espl_field_is_off(const json_t *value);
/* The first field that changes results, and that neither this method here nor a format it is converted to has, which the configuration
 * has on; initial: of those that change initial values alone, the others else. NULL: none. */
const char *espl_fields_refused(const char *method, const json_t *config, bool initial);

#endif
