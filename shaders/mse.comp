// Squared error of a row of x, and its gradient:
//   loss = mean over c of (x[c] - target[c])^2        dx[c] = scale * 2 (x[c] - target[c]) / cols
// scale is LOSS_SCALE of the step buffer. A row with a negative label gives loss 0 and gradient 0. One lane per row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "mse.h"
#include "lib/step.h"

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = MSE_SPEC_GRADIENT) const uint GRADIENT = 1;

layout(std430, set = 0, binding = MSE_BIND_X) restrict readonly buffer mse_x { float x[]; };
layout(std430, set = 0, binding = MSE_BIND_TARGETS) restrict readonly buffer mse_targets { float targets[]; };
layout(std430, set = 0, binding = MSE_BIND_LABELS) restrict readonly buffer mse_labels { int labels[]; };
layout(std430, set = 0, binding = MSE_BIND_STEP) restrict readonly buffer mse_step { uint step_words[]; };
layout(std430, set = 0, binding = MSE_BIND_LOSS) restrict writeonly buffer mse_loss { float loss[]; };
layout(std430, set = 0, binding = MSE_BIND_DX) restrict writeonly buffer mse_dx { float dx[]; };

void main()
{
    const uint row = gl_GlobalInvocationID.x;
    if (row >= push.rows)
        return;
    const bool counted = labels[row] >= 0;
    const float scale = uintBitsToFloat(step_words[ESPL_STEP_LOSS_SCALE]) * 2.0 / float(push.cols);
    float sum = 0.0;
    for (uint c = 0; c < push.cols; c++) {
        const float off = x[row * push.x_stride + c] - targets[row * push.cols + c];
        sum += off * off;
        if (GRADIENT != 0)
            dx[row * push.dx_stride + c] = counted ? scale * off : 0.0;
    }
    loss[row * push.loss_stride] = counted ? sum / float(push.cols) : 0.0;
}
