/* Every method there is. */
#include "host/model/adapter.h"

extern const espl_method espl_method_lora;

const espl_method *const espl_methods[] = {&espl_method_lora};
const size_t espl_method_count = ESPL_COUNT(espl_methods);
