#version 450
// v[i] = v[i] + by, `rounds` times over: long enough with many rounds to be seen running.
layout(local_size_x_id = 0) in;
layout(constant_id = 3) const uint ROUNDS = 1;

layout(binding = 0) restrict buffer v_buffer { float v[]; };
layout(push_constant) uniform increment_push {
    uint count;
    float by;
} push;

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.count) return;
    float value = v[i];
    for (uint round = 0; round < ROUNDS; round++) value += push.by;
    v[i] = value;
}
