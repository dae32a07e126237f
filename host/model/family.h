/* The list of families; espl_family itself is in config.h. */
#ifndef ESPL_FAMILY_H
#define ESPL_FAMILY_H

#include "host/model/config.h"

extern const espl_family espl_families[];
extern const size_t espl_family_count;

#endif
