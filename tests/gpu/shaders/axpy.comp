#version 450
// out[i] = scale * x[i] + y[i] + SHIFT for i < count; with USE_Y 0, y is not read and nothing need be bound there.
// One invocation per element.
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = 3) const uint USE_Y = 1;
layout(constant_id = 4) const uint SHIFT = 0;

layout(binding = 0) restrict readonly buffer x_buffer { float x[]; };
layout(binding = 1) restrict readonly buffer y_buffer { float y[]; };
layout(binding = 2) restrict writeonly buffer out_buffer { float result[]; };
layout(push_constant) uniform axpy_push {
    uint count;
    float scale;
} push;

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.count) return;
    float value = push.scale * x[i] + float(SHIFT);
    if (USE_Y != 0) value += y[i];
    result[i] = value;
}
