// Activation functions and their derivatives; KIND is a specialization constant of the shader.
#ifndef ESPL_ACTIVATION_GLSL
#define ESPL_ACTIVATION_GLSL
#include "exp.glsl"

// Phi(x) = (1 + erf(x / sqrt 2)) / 2. With a = |x| it is exp(-a^2 / 2) g(a) below 0, g = erfcx(a / sqrt 2) / 2 a
// polynomial in (a - 3) / (a + 3) fitted to relative error 8e-9 (tests/ops/test_activation.c holds the whole). Absolute
// error 1.3e-7; density is exp(-a^2 / 2) / sqrt(2 pi).
float normal_distribution(float x, out float density)
{
    const float a = min(abs(x), 20.0), u = (a - 3.0) / (a + 3.0);
    float p = 5.367391349864192e-05;
    p = p * u + 1.1554561206139624e-04;
    p = p * u - 3.394878585822880e-04;
    p = p * u - 9.837601101025940e-04;
    p = p * u + 2.904557855799794e-03;
    p = p * u + 6.132070906460285e-03;
    p = p * u - 4.6213291585445404e-02;
    p = p * u + 1.2322503328323364e-01;
    p = p * u - 2.0640261471271515e-01;
    p = p * u + 1.2151394784450531e-01;
    const float e = espl_exp_bounded(-0.5 * a * a);
    density = 0.39894228 * e;
    return x < 0.0 ? p * e : 1.0 - p * e;
}

// The function at x; slope is its derivative.
float activate(float x, out float slope)
{
    if (KIND == ACTIVATION_SILU) {
        const float s = espl_sigmoid(x);
        slope = s * (1.0 + x * (1.0 - s));
        return x * s;
    }
    if (KIND == ACTIVATION_GELU) {
        float density;
        const float phi = normal_distribution(x, density);
        slope = phi + x * density;
        return x * phi;
    }
    if (KIND == ACTIVATION_GELU_TANH) {
        // (1 + tanh(t)) / 2 = sigmoid(2 t)
        const float s = espl_sigmoid(x * (1.5957691 + 0.07135482 * x * x));
        slope = s + x * s * (1.0 - s) * (1.5957691 + 0.21406446 * x * x);
        return x * s;
    }
    if (KIND == ACTIVATION_TANH) {
        const float y = espl_tanh(x);
        slope = 1.0 - y * y;
        return y;
    }
    if (KIND == ACTIVATION_SIGMOID) {
        const float s = espl_sigmoid(x);
        slope = s * (1.0 - s);
        return s;
    }
    slope = x > 0.0 ? 1.0 : 0.0;
    return x > 0.0 ? x : 0.0;
}

vec4 activate(vec4 x, out vec4 slope)
{
    vec4 y;
    y.x = activate(x.x, slope.x);
    y.y = activate(x.y, slope.y);
    y.z = activate(x.z, slope.z);
    y.w = activate(x.w, slope.w);
    return y;
}

#endif
