/* Inside of espl_task_data. */
#ifndef ESPL_TASK_DATA_H
#define ESPL_TASK_DATA_H

#include "host/task/task.h"
#include "host/train/data.h"
#include <espalier/task.h>

struct espl_task_data {
    espl_context *ctx; /* borrowed */
    espl_task_set set;
    char *path;            /* owned; for messages */
    espl_dataset *dataset; /* owned; NULL before encode */
    uint32_t cut;
};

#endif
