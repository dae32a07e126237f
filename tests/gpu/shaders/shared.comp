#version 450
// out[group] = sum of the workgroup's x, through shared memory whose size follows from two specialization constants.
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL = 1;
layout(constant_id = 3) const uint PER_LANE = 1;

layout(binding = 0) restrict readonly buffer x_buffer { float x[]; };
layout(binding = 1) restrict writeonly buffer out_buffer { float result[]; };
shared float scratch[LOCAL * PER_LANE];

void main()
{
    uint lane = gl_LocalInvocationID.x;
    for (uint i = 0; i < PER_LANE; i++)
        scratch[i * LOCAL + lane] = x[(gl_WorkGroupID.x * PER_LANE + i) * LOCAL + lane];
    barrier();
    if (lane != 0) return;
    float sum = 0;
    for (uint i = 0; i < LOCAL * PER_LANE; i++) sum += scratch[i];
    result[gl_WorkGroupID.x] = sum;
}
