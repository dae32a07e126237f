#version 450
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// Declares Float16, which the portable floor lacks.
layout(local_size_x_id = 0) in;
layout(binding = 0) restrict buffer v_buffer { float v[]; };

void main()
{
    float16_t value = float16_t(v[gl_GlobalInvocationID.x]);
    v[gl_GlobalInvocationID.x] = float(value * float16_t(2));
}
