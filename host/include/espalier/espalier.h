/* Everything public. */
#ifndef ESPALIER_ESPALIER_H
#define ESPALIER_ESPALIER_H
#include <espalier/context.h>
#include <espalier/convert.h>
#include <espalier/device.h>
#include <espalier/methods.h>
#include <espalier/model.h>
#include <espalier/session.h>
#include <espalier/status.h>
#include <espalier/task.h>
#include <espalier/tokenizer.h>
#include <espalier/trainer.h>
#endif
