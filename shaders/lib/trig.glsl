// cos and sin of position * frequency, exact in the product and in the reduction to a turn: Vulkan's own allow an error
// of 2^-11, and a rounded product is off by 0.004 radians at position 100000.
//
// frequency = m * 2^e, so turns per position = m * 2^e / (2 pi), taken as a fixed-point number with 64 bits after the
// point from the first 96 bits of 1 / (2 pi); times the position, modulo 1, in integers. What is left is at most an
// eighth of a turn, where short polynomials (Moshier's Cephes) are good to the last bit.
#ifndef ESPL_TRIG_GLSL
#define ESPL_TRIG_GLSL

// position * frequency / (2 pi) modulo 1, times 2^32; frequency in (-2^32, 2^32).
uint espl_turns(int position, float frequency)
{
    const uint bits = floatBitsToUint(frequency);
    const int exponent = int((bits >> 23) & 255u);
    const uint m = exponent == 0 ? 0u : (bits & 0x7fffffu) | 0x800000u;
    // a3 a2 a1 a0 = m * (2^96 / (2 pi))
    uint a0, a1, a2, a3, high, low, carry, more;
    umulExtended(m, 0x7f09d5f4u, a1, a0);
    umulExtended(m, 0x9391054au, high, low);
    a1 = uaddCarry(a1, low, carry);
    a2 = high + carry;
    umulExtended(m, 0x28be60dbu, high, low);
    a2 = uaddCarry(a2, low, more);
    a3 = high + more;
    // Turns * 2^64 is that number shifted right by 32 - e, e = exponent - 150.
    const uint shift = uint(182 - exponent);
    const uint words = shift >> 5, left = 32u - (shift & 31u);
    const uint w0 = words == 0u ? a0 : words == 1u ? a1 : words == 2u ? a2 : words == 3u ? a3 : 0u;
    const uint w1 = words == 0u ? a1 : words == 1u ? a2 : words == 2u ? a3 : 0u;
    const uint w2 = words == 0u ? a2 : words == 1u ? a3 : 0u;
    const uint turn_low = (w0 >> (shift & 31u)) | (left == 32u ? 0u : w1 << left);
    const uint turn_high = (w1 >> (shift & 31u)) | (left == 32u ? 0u : w2 << left);
    umulExtended(uint(position), turn_low, high, low);
    uint turns = high + uint(position) * turn_high;
    turns -= position < 0 ? turn_low : 0u;
    return (bits >> 31) != 0u ? 0u - turns : turns;
}

// (cos, sin) of 2 pi turns / 2^32.
vec2 espl_cos_sin_turns(uint turns)
{
    const uint quarter = (turns + 0x20000000u) >> 30;
    const float r = float(int(turns - (quarter << 30))) * 1.4629180793e-9;
    const float z = r * r;
    const float s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
    const float c =
        ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
    const vec2 turned = (quarter & 1u) != 0u ? vec2(-s, c) : vec2(c, s);
    return (quarter & 2u) != 0u ? -turned : turned;
}

// (cos, sin) of position * frequency radians, within 1e-7.
vec2 espl_cos_sin(int position, float frequency)
{
    return espl_cos_sin_turns(espl_turns(position, frequency));
}

#endif
