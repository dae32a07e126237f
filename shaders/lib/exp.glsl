// exp, log, tanh and sigmoid, the same on every driver: Vulkan allows an exp of 3 + 2|x| units in the last place, and
// lavapipe 22.3 takes 64 of them, and all digits of log near 1 and of tanh near 0. Largest errors of these, measured over
// 4 million arguments on lavapipe 22.3, 26.1 and SwiftShader: exp 1.75, log 0.81, tanh 1.33, sigmoid 2.9 units.
// exp and log: range reduction and polynomials of Moshier's Cephes (expf, logf, tanhf), branch-free so that lanes stay
// together. NaN gives NaN. Results below 2^-126 may become 0.
#ifndef ESPL_EXP_GLSL
#define ESPL_EXP_GLSL

// exp(x) for x < 88, without infinity; 0 below -87.3. For arguments known to be bounded, such as
// those of a softmax, whose largest is 0.
float espl_exp_bounded(float x)
{
    const float n = roundEven(max(x, -87.3) * 1.44269504);
    // n * 0.693359375 is exact, so that it does not matter whether the compiler contracts.
    precise float r = x - n * 0.693359375;
    r = r + n * 2.12194440e-4;
    float p = 1.9875691500e-4;
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    p = p * (r * r) + r;
    return x < -87.3 ? 0.0 : (p + 1.0) * intBitsToFloat((int(n) + 127) << 23);
}

float espl_exp(float x)
{
    const float n = roundEven(clamp(x, -150.0, 150.0) * 1.44269504);
    precise float r = x - n * 0.693359375;
    r = r + n * 2.12194440e-4;
    float p = 1.9875691500e-4;
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    p = p * (r * r) + r;
    // In two factors: 2^128 and the subnormal powers have no f32 of their own.
    const int half_n = int(n) >> 1;
    const float y = (p + 1.0) * intBitsToFloat((half_n + 127) << 23) * intBitsToFloat((int(n) - half_n + 127) << 23);
    return x > 89.0 ? uintBitsToFloat(0x7f800000u) : (x < -104.0 ? 0.0 : y);
}

// Natural logarithm: log(0) = -infinity, log of a negative number is NaN.
float espl_log(float x)
{
    const bool tiny = x < 1.17549435e-38;
    const int bits = floatBitsToInt(tiny ? x * 8388608.0 : x);
    // x = m * 2^e with m in [sqrt(1/2), sqrt(2)).
    const int e = (bits - 0x3f3504f3) >> 23;
    const float m = intBitsToFloat(bits - (e << 23)) - 1.0;
    const float n = float(e - (tiny ? 23 : 0));
    float p = 7.0376836292e-2;
    p = p * m - 1.1514610310e-1;
    p = p * m + 1.1676998740e-1;
    p = p * m - 1.2420140846e-1;
    p = p * m + 1.4249322787e-1;
    p = p * m - 1.6668057665e-1;
    p = p * m + 2.0000714765e-1;
    p = p * m - 2.4999993993e-1;
    p = p * m + 3.3333331174e-1;
    const float z = m * m;
    precise float y = p * m * z - n * 2.12194440e-4;
    y = y - 0.5 * z;
    y = m + y;
    y = y + n * 0.693359375;
    const float infinity = uintBitsToFloat(0x7f800000u);
    return x > 0.0 ? (x < infinity ? y : infinity) : (x == 0.0 ? -infinity : uintBitsToFloat(0x7fc00000u));
}

float espl_tanh(float x)
{
    const float z = x * x;
    float p = -5.70498872745e-3;
    p = p * z + 2.06390887954e-2;
    p = p * z - 5.37397155531e-2;
    p = p * z + 1.33314422036e-1;
    p = p * z - 3.33332819422e-1;
    const float near = p * z * x + x;
    // abs(x) > 9 is 1 to the last bit; clamping keeps exp in range. NaN takes the other branch.
    const float far = 1.0 - 2.0 / (espl_exp_bounded(2.0 * min(abs(x), 10.0)) + 1.0);
    return abs(x) >= 0.625 ? (x < 0.0 ? -far : far) : near;
}

// 1 / (1 + exp(-x)) without overflow and without losing small values.
float espl_sigmoid(float x)
{
    const float t = espl_exp(-abs(x));
    return (x < 0.0 ? t : 1.0) / (1.0 + t);
}

vec4 espl_exp(vec4 x)
{
    return vec4(espl_exp(x.x), espl_exp(x.y), espl_exp(x.z), espl_exp(x.w));
}

vec4 espl_log(vec4 x)
{
    return vec4(espl_log(x.x), espl_log(x.y), espl_log(x.z), espl_log(x.w));
}

vec4 espl_tanh(vec4 x)
{
    return vec4(espl_tanh(x.x), espl_tanh(x.y), espl_tanh(x.z), espl_tanh(x.w));
}

vec4 espl_sigmoid(vec4 x)
{
    return vec4(espl_sigmoid(x.x), espl_sigmoid(x.y), espl_sigmoid(x.z), espl_sigmoid(x.w));
}

#endif
