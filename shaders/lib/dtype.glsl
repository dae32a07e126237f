// Storage types without 16-bit storage: two f16 or bf16 values live in one uint, four in a uvec2.
// A shader that reads a tensor `b` is compiled with one of -DB_F32, -DB_F16, -DB_BF16, declares
//     readonly buffer ... { B_QUAD b[]; };
// and reads four neighbouring values as f32 with b_quad(b[element / 4]).

vec4 quad_f16(uvec2 w)
{
    return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
}

// A bf16 is the upper half of an f32.
vec4 quad_bf16(uvec2 w)
{
    return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
}

#if defined(B_F16)
#define B_QUAD uvec2
#define b_quad quad_f16
#elif defined(B_BF16)
#define B_QUAD uvec2
#define b_quad quad_bf16
#else
#define B_QUAD vec4
#define b_quad(w) (w)
#endif
