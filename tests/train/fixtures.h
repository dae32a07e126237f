/* Made by make_fixtures.py with transformers 5.23.0, tokenizers 0.23.3, torch 2.13.0+cpu. */
#include <espalier/trainer.h>

static const struct {
    espl_schedule schedule;
    uint32_t warmup, steps;
    double base;
    uint32_t step;
    double rate;
} schedule_cases[] = {
    {ESPL_SCHEDULE_LINEAR, 0, 10, 0.0002, 0, 0.0002},
    {ESPL_SCHEDULE_LINEAR, 0, 10, 0.0002, 1, 0.00018},
    {ESPL_SCHEDULE_LINEAR, 0, 10, 0.0002, 2, 0.00016},
    {ESPL_SCHEDULE_LINEAR, 0, 10, 0.0002, 3, 0.00014},
    {ESPL_SCHEDULE_LINEAR, 0, 10, 0.0002, 4, 0.00012},
    {ESPL_SCHEDULE_LINEAR, 0, 10, 0.0002, 5, 0.0001},
    {ESPL_SCHEDULE_LINEAR, 0, 10, 0.0002, 9, 2e-05},
    {ESPL_SCHEDULE_LINEAR, 0, 10, 0.0002, 10, 0.0},
    {ESPL_SCHEDULE_LINEAR, 3, 10, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_LINEAR, 3, 10, 0.0002, 1, 6.666666666666667e-05},
    {ESPL_SCHEDULE_LINEAR, 3, 10, 0.0002, 2, 0.00013333333333333334},
    {ESPL_SCHEDULE_LINEAR, 3, 10, 0.0002, 3, 0.0002},
    {ESPL_SCHEDULE_LINEAR, 3, 10, 0.0002, 4, 0.00017142857142857143},
    {ESPL_SCHEDULE_LINEAR, 3, 10, 0.0002, 5, 0.00014285714285714287},
    {ESPL_SCHEDULE_LINEAR, 3, 10, 0.0002, 9, 2.857142857142857e-05},
    {ESPL_SCHEDULE_LINEAR, 3, 10, 0.0002, 10, 0.0},
    {ESPL_SCHEDULE_LINEAR, 5, 5, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_LINEAR, 5, 5, 0.0002, 1, 4e-05},
    {ESPL_SCHEDULE_LINEAR, 5, 5, 0.0002, 2, 8e-05},
    {ESPL_SCHEDULE_LINEAR, 5, 5, 0.0002, 3, 0.00012},
    {ESPL_SCHEDULE_LINEAR, 5, 5, 0.0002, 4, 0.00016},
    {ESPL_SCHEDULE_LINEAR, 5, 5, 0.0002, 5, 0.0},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 1, 0.0002},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 2, 0.0001997997997997998},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 3, 0.0001995995995995996},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 4, 0.0001993993993993994},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 5, 0.0001991991991991992},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 9, 0.0001983983983983984},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 10, 0.0001981981981981982},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 99, 0.00018038038038038038},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 100, 0.00018018018018018018},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 101, 0.00017997997997997998},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 550, 9.009009009009009e-05},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 999, 2.002002002002002e-07},
    {ESPL_SCHEDULE_LINEAR, 1, 1000, 0.0002, 1000, 0.0},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 1, 2.0000000000000003e-06},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 2, 4.000000000000001e-06},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 3, 6e-06},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 4, 8.000000000000001e-06},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 5, 1e-05},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 9, 1.8e-05},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 10, 2e-05},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 99, 0.00019800000000000002},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 100, 0.0002},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 101, 0.0001997777777777778},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 550, 0.0001},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 999, 2.2222222222222224e-07},
    {ESPL_SCHEDULE_LINEAR, 100, 1000, 0.0002, 1000, 0.0},
    {ESPL_SCHEDULE_LINEAR, 20, 10, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_LINEAR, 20, 10, 0.0002, 1, 1e-05},
    {ESPL_SCHEDULE_LINEAR, 20, 10, 0.0002, 2, 2e-05},
    {ESPL_SCHEDULE_LINEAR, 20, 10, 0.0002, 3, 3e-05},
    {ESPL_SCHEDULE_LINEAR, 20, 10, 0.0002, 4, 4e-05},
    {ESPL_SCHEDULE_LINEAR, 20, 10, 0.0002, 5, 5e-05},
    {ESPL_SCHEDULE_LINEAR, 20, 10, 0.0002, 9, 9e-05},
    {ESPL_SCHEDULE_LINEAR, 20, 10, 0.0002, 10, 0.0001},
    {ESPL_SCHEDULE_CONSTANT, 0, 10, 0.0002, 0, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 0, 10, 0.0002, 1, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 0, 10, 0.0002, 2, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 0, 10, 0.0002, 3, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 0, 10, 0.0002, 4, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 0, 10, 0.0002, 5, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 0, 10, 0.0002, 9, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 0, 10, 0.0002, 10, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 3, 10, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_CONSTANT, 3, 10, 0.0002, 1, 6.666666666666667e-05},
    {ESPL_SCHEDULE_CONSTANT, 3, 10, 0.0002, 2, 0.00013333333333333334},
    {ESPL_SCHEDULE_CONSTANT, 3, 10, 0.0002, 3, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 3, 10, 0.0002, 4, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 3, 10, 0.0002, 5, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 3, 10, 0.0002, 9, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 3, 10, 0.0002, 10, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 5, 5, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_CONSTANT, 5, 5, 0.0002, 1, 4e-05},
    {ESPL_SCHEDULE_CONSTANT, 5, 5, 0.0002, 2, 8e-05},
    {ESPL_SCHEDULE_CONSTANT, 5, 5, 0.0002, 3, 0.00012},
    {ESPL_SCHEDULE_CONSTANT, 5, 5, 0.0002, 4, 0.00016},
    {ESPL_SCHEDULE_CONSTANT, 5, 5, 0.0002, 5, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 1, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 2, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 3, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 4, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 5, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 9, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 10, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 99, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 100, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 101, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 550, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 999, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 1, 1000, 0.0002, 1000, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 1, 2.0000000000000003e-06},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 2, 4.000000000000001e-06},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 3, 6e-06},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 4, 8.000000000000001e-06},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 5, 1e-05},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 9, 1.8e-05},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 10, 2e-05},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 99, 0.00019800000000000002},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 100, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 101, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 550, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 999, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 100, 1000, 0.0002, 1000, 0.0002},
    {ESPL_SCHEDULE_CONSTANT, 20, 10, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_CONSTANT, 20, 10, 0.0002, 1, 1e-05},
    {ESPL_SCHEDULE_CONSTANT, 20, 10, 0.0002, 2, 2e-05},
    {ESPL_SCHEDULE_CONSTANT, 20, 10, 0.0002, 3, 3e-05},
    {ESPL_SCHEDULE_CONSTANT, 20, 10, 0.0002, 4, 4e-05},
    {ESPL_SCHEDULE_CONSTANT, 20, 10, 0.0002, 5, 5e-05},
    {ESPL_SCHEDULE_CONSTANT, 20, 10, 0.0002, 9, 9e-05},
    {ESPL_SCHEDULE_CONSTANT, 20, 10, 0.0002, 10, 0.0001},
    {ESPL_SCHEDULE_COSINE, 0, 10, 0.0002, 0, 0.0002},
    {ESPL_SCHEDULE_COSINE, 0, 10, 0.0002, 1, 0.00019510565162951537},
    {ESPL_SCHEDULE_COSINE, 0, 10, 0.0002, 2, 0.00018090169943749476},
    {ESPL_SCHEDULE_COSINE, 0, 10, 0.0002, 3, 0.00015877852522924732},
    {ESPL_SCHEDULE_COSINE, 0, 10, 0.0002, 4, 0.00013090169943749476},
    {ESPL_SCHEDULE_COSINE, 0, 10, 0.0002, 5, 0.0001},
    {ESPL_SCHEDULE_COSINE, 0, 10, 0.0002, 9, 4.8943483704846475e-06},
    {ESPL_SCHEDULE_COSINE, 0, 10, 0.0002, 10, 0.0},
    {ESPL_SCHEDULE_COSINE, 3, 10, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_COSINE, 3, 10, 0.0002, 1, 6.666666666666667e-05},
    {ESPL_SCHEDULE_COSINE, 3, 10, 0.0002, 2, 0.00013333333333333334},
    {ESPL_SCHEDULE_COSINE, 3, 10, 0.0002, 3, 0.0002},
    {ESPL_SCHEDULE_COSINE, 3, 10, 0.0002, 4, 0.0001900968867902419},
    {ESPL_SCHEDULE_COSINE, 3, 10, 0.0002, 5, 0.00016234898018587337},
    {ESPL_SCHEDULE_COSINE, 3, 10, 0.0002, 9, 9.903113209758096e-06},
    {ESPL_SCHEDULE_COSINE, 3, 10, 0.0002, 10, 0.0},
    {ESPL_SCHEDULE_COSINE, 5, 5, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_COSINE, 5, 5, 0.0002, 1, 4e-05},
    {ESPL_SCHEDULE_COSINE, 5, 5, 0.0002, 2, 8e-05},
    {ESPL_SCHEDULE_COSINE, 5, 5, 0.0002, 3, 0.00012},
    {ESPL_SCHEDULE_COSINE, 5, 5, 0.0002, 4, 0.00016},
    {ESPL_SCHEDULE_COSINE, 5, 5, 0.0002, 5, 0.0002},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 1, 0.0002},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 2, 0.0001999995055317446},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 3, 0.00019999802213186834},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 4, 0.0001999955498150411},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 5, 0.00019999208860571255},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 9, 0.0001999683556746534},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 10, 0.0001999599507118322},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 99, 0.00019528859055612468},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 100, 0.00019519273055291266},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 101, 0.00019509592915403255},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 550, 8.449634003358022e-05},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 999, 4.944682554075542e-10},
    {ESPL_SCHEDULE_COSINE, 1, 1000, 0.0002, 1000, 0.0},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 1, 2.0000000000000003e-06},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 2, 4.000000000000001e-06},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 3, 6e-06},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 4, 8.000000000000001e-06},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 5, 1e-05},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 9, 1.8e-05},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 10, 2e-05},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 99, 0.00019800000000000002},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 100, 0.0002},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 101, 0.00019999939076577905},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 550, 0.0001},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 999, 6.092342209607083e-10},
    {ESPL_SCHEDULE_COSINE, 100, 1000, 0.0002, 1000, 0.0},
    {ESPL_SCHEDULE_COSINE, 20, 10, 0.0002, 0, 0.0},
    {ESPL_SCHEDULE_COSINE, 20, 10, 0.0002, 1, 1e-05},
    {ESPL_SCHEDULE_COSINE, 20, 10, 0.0002, 2, 2e-05},
    {ESPL_SCHEDULE_COSINE, 20, 10, 0.0002, 3, 3e-05},
    {ESPL_SCHEDULE_COSINE, 20, 10, 0.0002, 4, 4e-05},
    {ESPL_SCHEDULE_COSINE, 20, 10, 0.0002, 5, 5e-05},
    {ESPL_SCHEDULE_COSINE, 20, 10, 0.0002, 9, 9e-05},
    {ESPL_SCHEDULE_COSINE, 20, 10, 0.0002, 10, 0.0001},
};

#define SAMPLE_COUNT 48
static const float sample_logits[SAMPLE_COUNT] = {0x1.61ba320000000p+2f, 0x1.8e815e0000000p+0f, -0x1.48b05c0000000p+2f, 0x1.2c1c280000000p+0f, 0x1.83ba800000000p+2f, -0x1.9c97800000000p-1f, -0x1.91906c0000000p-2f, 0x1.2c1c280000000p+0f, 0x1.2c1c280000000p+0f, -0x1.d226d40000000p-5f, -0x1.03b74a0000000p+2f, -0x1.18a2500000000p+1f, 0x1.7b5cb60000000p+1f, -0x1.421af40000000p+0f, -0x1.c133340000000p+0f, -0x1.2c6aac0000000p+1f, 0x1.0addea0000000p+3f, 0x1.d541f80000000p+1f, -0x1.0264a20000000p+0f, -0x1.7295460000000p+1f, -0x1.8e52e00000000p-2f, -0x1.ce27f00000000p+0f, 0x1.bd6f840000000p-2f, -0x1.cc44e00000000p-2f, -0x1.4fec060000000p+0f, 0x1.2b39cc0000000p+1f, -0x1.66700a0000000p-3f, -0x1.85dae60000000p+2f, 0x1.1cb9180000000p+2f, 0x1.7b6bd60000000p+0f, 0x1.7eccd00000000p-1f, 0x1.4f6e180000000p+2f, -0x1.91ec300000000p-1f, -0x1.193cbc0000000p+1f, 0x1.4606620000000p+2f, -0x1.1332c80000000p-1f, 0x1.713a3e0000000p+2f, 0x1.ba4a780000000p-1f, 0x1.67bad80000000p+1f, -0x1.cd66e40000000p+2f, -0x1.c654400000000p-2f, 0x1.58559a0000000p+1f, 0x1.a4f7b80000000p+0f, -0x1.3ab5f60000000p+2f, -0x1.5c89e00000000p+2f, -0x1.3d61ac0000000p-1f, -0x1.93ee380000000p+0f, -0x1.45f6f80000000p+2f};
static const int32_t sample_history[] = {12, 3, 3, 40, 40, 12, 0, 47, 1000};
static const struct {
    double temperature;
    uint32_t top_k;
    double top_p, min_p, penalty;
    float probability[SAMPLE_COUNT];
} sample_cases[] = {
    {1, 0, 0, 0, 0, {0x1.656c6e0000000p-5f, 0x1.af971e0000000p-11f, 0x1.12115c0000000p-20f, 0x1.25dd620000000p-11f, 0x1.3001300000000p-4f, 0x1.4530f20000000p-14f, 0x1.ebd0cc0000000p-14f, 0x1.25dd620000000p-11f, 0x1.25dd620000000p-11f, 0x1.57d9b20000000p-13f, 0x1.9298360000000p-19f, 0x1.4516aa0000000p-16f, 0x1.b8aa8e0000000p-9f, 0x1.9db75a0000000p-15f, 0x1.f7a4180000000p-16f, 0x1.1689220000000p-16f, 0x1.7403ac0000000p-1f, 0x1.bcb8d20000000p-8f, 0x1.0950060000000p-14f, 0x1.41fd300000000p-17f, 0x1.ed5ff20000000p-14f, 0x1.dec9420000000p-16f, 0x1.192b680000000p-12f, 0x1.d069e40000000p-14f, 0x1.87fab40000000p-15f, 0x1.d73da60000000p-10f, 0x1.318b0e0000000p-13f, 0x1.a58df20000000p-22f, 0x1.e665700000000p-7f, 0x1.90961c0000000p-11f, 0x1.8060000000000p-12f, 0x1.0c8c140000000p-5f, 0x1.4c09f40000000p-14f, 0x1.438f700000000p-16f, 0x1.cfb0f20000000p-6f, 0x1.a949040000000p-14f, 0x1.c75ee60000000p-5f, 0x1.afbc280000000p-12f, 0x1.7a018c0000000p-9f, 0x1.13a98a0000000p-23f, 0x1.d31d7c0000000p-14f, 0x1.4f2b180000000p-9f, 0x1.d72ba60000000p-11f, 0x1.54f76c0000000p-20f, 0x1.91f7b80000000p-21f, 0x1.87a6a80000000p-14f, 0x1.2c87ea0000000p-15f, 0x1.1dfc460000000p-20f}},
    {0.7, 0, 0, 0, 0, {0x1.09717e0000000p-6f, 0x1.d3b3520000000p-15f, 0x1.0dec100000000p-28f, 0x1.0e167c0000000p-15f, 0x1.1b7fc80000000p-5f, 0x1.000f420000000p-19f, 0x1.ce62800000000p-19f, 0x1.0e167c0000000p-15f, 0x1.0e167c0000000p-15f, 0x1.7539420000000p-18f, 0x1.3aa2ae0000000p-26f, 0x1.1a95d60000000p-22f, 0x1.b463f80000000p-12f, 0x1.0c5a240000000p-20f, 0x1.0811d40000000p-21f, 0x1.c533ce0000000p-23f, 0x1.cd1f860000000p-1f, 0x1.2989ba0000000p-10f, 0x1.7eec880000000p-20f, 0x1.9e36660000000p-24f, 0x1.d07acc0000000p-19f, 0x1.eb4d920000000p-22f, 0x1.78cf9a0000000p-17f, 0x1.aa06780000000p-19f, 0x1.f0e0e00000000p-21f, 0x1.64d8bc0000000p-13f, 0x1.3b46160000000p-18f, 0x1.13a4f40000000p-30f, 0x1.c71f8e0000000p-9f, 0x1.a473ec0000000p-15f, 0x1.267e280000000p-16f, 0x1.60e1300000000p-7f, 0x1.07cbfc0000000p-19f, 0x1.18b07a0000000p-22f, 0x1.1e0e9c0000000p-7f, 0x1.77b0740000000p-19f, 0x1.772c540000000p-6f, 0x1.5baab00000000p-16f, 0x1.5e85f20000000p-12f, 0x1.be89ee0000000p-33f, 0x1.ad91f80000000p-19f, 0x1.272f600000000p-12f, 0x1.09144e0000000p-14f, 0x1.70c27c0000000p-28f, 0x1.5a9ccc0000000p-29f, 0x1.4df9660000000p-19f, 0x1.53f62a0000000p-21f, 0x1.1ed84c0000000p-28f}},
    {1, 5, 0, 0, 0, {0x1.7f2b2c0000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.45e6e60000000p-4f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.8ecf760000000p-1f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.1fe3fa0000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.e82bbe0000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {1, 17, 0, 0, 0, {0x1.6650e60000000p-5f, 0x1.b0aafe0000000p-11f, 0x0.0p+0f, 0x1.26993a0000000p-11f, 0x1.30c3820000000p-4f, 0x0.0p+0f, 0x0.0p+0f, 0x1.26993a0000000p-11f, 0x1.26993a0000000p-11f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.b9c43c0000000p-9f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.74f1780000000p-1f, 0x1.bdd5180000000p-8f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.d86ae00000000p-10f, 0x0.0p+0f, 0x0.0p+0f, 0x1.e79c5a0000000p-7f, 0x1.91962c0000000p-11f, 0x0.0p+0f, 0x1.0d37bc0000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x1.d0d9580000000p-6f, 0x0.0p+0f, 0x1.c881fa0000000p-5f, 0x0.0p+0f, 0x1.7af32e0000000p-9f, 0x0.0p+0f, 0x0.0p+0f, 0x1.5001560000000p-9f, 0x1.d858d20000000p-11f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {1, 0, 0.9, 0, 0, {0x1.8d1fec0000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.51c5b00000000p-4f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.9d56100000000p-1f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.f9f3900000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {1, 0, 0.3, 0, 0, {0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.0000000000000p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {2.5, 0, 0.95, 0, 0, {0x1.39a1f00000000p-4f, 0x1.004f320000000p-6f, 0x0.0p+0f, 0x1.b791180000000p-7f, 0x1.83e4960000000p-4f, 0x1.8e7cf20000000p-8f, 0x1.d632b00000000p-8f, 0x1.b791180000000p-7f, 0x1.b791180000000p-7f, 0x1.0cd65a0000000p-7f, 0x0.0p+0f, 0x0.0p+0f, 0x1.c1fda40000000p-6f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.e30c200000000p-3f, 0x1.29f9260000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x1.d6cb240000000p-8f, 0x0.0p+0f, 0x1.474be00000000p-7f, 0x1.cb89ce0000000p-8f, 0x0.0p+0f, 0x1.5e4dcc0000000p-6f, 0x1.006e620000000p-7f, 0x0.0p+0f, 0x1.9785580000000p-5f, 0x1.f18f020000000p-7f, 0x1.72e6300000000p-7f, 0x1.17bdb20000000p-4f, 0x1.91d2d00000000p-8f, 0x0.0p+0f, 0x1.07c56c0000000p-4f, 0x1.bba4280000000p-8f, 0x1.5989580000000p-4f, 0x1.848b600000000p-7f, 0x1.a7369c0000000p-6f, 0x0.0p+0f, 0x1.cc9b160000000p-8f, 0x1.93558a0000000p-6f, 0x1.0977000000000p-6f, 0x0.0p+0f, 0x0.0p+0f, 0x1.ad42500000000p-8f, 0x0.0p+0f, 0x0.0p+0f}},
    {1, 0, 0, 0.05, 0, {0x1.8d1fec0000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.51c5b00000000p-4f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.9d56100000000p-1f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.f9f3900000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {1, 0, 0, 1, 0, {0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.0000000000000p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {1, 0, 0, 0, 1.3, {0x1.9d0e080000000p-7f, 0x1.be70100000000p-11f, 0x1.1b7f0a0000000p-20f, 0x1.cfd9460000000p-12f, 0x1.3a76820000000p-4f, 0x1.5060da0000000p-14f, 0x1.fcbc240000000p-14f, 0x1.2ff9680000000p-11f, 0x1.2ff9680000000p-11f, 0x1.63adee0000000p-13f, 0x1.a071cc0000000p-19f, 0x1.5045ac0000000p-16f, 0x1.cc0a060000000p-10f, 0x1.abf2e40000000p-15f, 0x1.047bca0000000p-15f, 0x1.201e260000000p-16f, 0x1.80cff20000000p-1f, 0x1.cc056c0000000p-8f, 0x1.1270980000000p-14f, 0x1.4d10e60000000p-17f, 0x1.fe59060000000p-14f, 0x1.ef41da0000000p-16f, 0x1.22d7a00000000p-12f, 0x1.e063ea0000000p-14f, 0x1.9576ce0000000p-15f, 0x1.e773cc0000000p-10f, 0x1.3c0dee0000000p-13f, 0x1.b40e840000000p-22f, 0x1.f7210e0000000p-7f, 0x1.9e5e040000000p-11f, 0x1.8d99200000000p-12f, 0x1.15c9220000000p-5f, 0x1.57762a0000000p-14f, 0x1.4eb0fc0000000p-16f, 0x1.dfa49a0000000p-6f, 0x1.b7ea700000000p-14f, 0x1.d709480000000p-5f, 0x1.be96620000000p-12f, 0x1.8702980000000p-9f, 0x1.1d25400000000p-23f, 0x1.a6f7a00000000p-14f, 0x1.5ab2de0000000p-9f, 0x1.e7612c0000000p-11f, 0x1.60b2420000000p-20f, 0x1.9fcbca0000000p-21f, 0x1.951fde0000000p-14f, 0x1.36dea40000000p-15f, 0x1.00bfca0000000p-22f}},
    {0.8, 20, 0.9, 0.02, 1.1, {0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.bf3ed40000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.e40c120000000p-1f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {1.5, 10, 0.5, 0.1, 0.8, {0x1.1cc6760000000p-2f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.719cc60000000p-1f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {1, 1, 0, 0, 0, {0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.0000000000000p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {1, 100, 0.999, 0.001, 0, {0x1.66ebca0000000p-5f, 0x1.b166060000000p-11f, 0x0.0p+0f, 0x0.0p+0f, 0x1.3147400000000p-4f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.ba83320000000p-9f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.7592ae0000000p-1f, 0x1.be95d00000000p-8f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.d937160000000p-10f, 0x0.0p+0f, 0x0.0p+0f, 0x1.e86f220000000p-7f, 0x1.9243c40000000p-11f, 0x0.0p+0f, 0x1.0dac1c0000000p-5f, 0x0.0p+0f, 0x0.0p+0f, 0x1.d1a2480000000p-6f, 0x0.0p+0f, 0x1.c947500000000p-5f, 0x0.0p+0f, 0x1.7b96fc0000000p-9f, 0x0.0p+0f, 0x0.0p+0f, 0x1.5092940000000p-9f, 0x1.d925000000000p-11f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
    {0.05, 0, 0.9, 0, 0, {0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x1.0000000000000p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f, 0x0.0p+0f}},
};

/* with a system message, without; both ask the assistant to go on */
static const struct {
    const char *name, *template_text, *with_system, *without;
} chat_cases[] = {
    {"chatml",
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'"
     "] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assista"
     "nt\\n' }}{% endif %}",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assist"
     "ant\nHi there<|im_end|>\n<|im_start|>user\nWho are you<|im_end|>\n<|im_start|>assistant\n  the "
     "assistant  <|im_end|>\n<|im_start|>user\n Another question <|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi there<|im_end|>\n<|im_start|>user"
     "\nWho are you<|im_end|>\n<|im_start|>assistant\n  the assistant  <|im_end|>\n<|im_start|>user\n"
     " Another question <|im_end|>\n<|im_start|>assistant\n"},
    {"chatml",
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|"
     "im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' "
     "+ message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add"
     "_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assist"
     "ant\nHi there<|im_end|>\n<|im_start|>user\nWho are you<|im_end|>\n<|im_start|>assistant\n  the "
     "assistant  <|im_end|>\n<|im_start|>user\n Another question <|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHello<|im_end|>"
     "\n<|im_start|>assistant\nHi there<|im_end|>\n<|im_start|>user\nWho are you<|im_end|>\n<|im_star"
     "t|>assistant\n  the assistant  <|im_end|>\n<|im_start|>user\n Another question <|im_end|>\n<|i"
     "m_start|>assistant\n"},
    {"llama3",
     "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|st"
     "art_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + "
     "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
     "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|e"
     "nd_header_id|>\\n\\n' }}{% endif %}",
     "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<"
     "|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi there<|"
     "eot_id|><|start_header_id|>user<|end_header_id|>\n\nWho are you<|eot_id|><|start_header_id|>"
     "assistant<|end_header_id|>\n\nthe assistant<|eot_id|><|start_header_id|>user<|end_header_id|"
     ">\n\nAnother question<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
     "<s><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|"
     "end_header_id|>\n\nHi there<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWho are you<|"
     "eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nthe assistant<|eot_id|><|start_head"
     "er_id|>user<|end_header_id|>\n\nAnother question<|eot_id|><|start_header_id|>assistant<|end_"
     "header_id|>\n\n"},
    {"llama2",
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set syste"
     "m_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set sy"
     "stem_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0"
     " and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>"
     "\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{%"
     " if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
     "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% "
     "endif %}{% endfor %}",
     "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST] Hi there </s><s>[INST] Who are you [/I"
     "NST] the assistant </s><s>[INST] Another question [/INST]",
     "<s>[INST] Hello [/INST] Hi there </s><s>[INST] Who are you [/INST] the assistant </s><s>[I"
     "NST] Another question [/INST]"},
    {"mistral",
     "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] '"
     " + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['"
     "content'] + eos_token}}{% endif %}{% endfor %}",
     "",
     "<s>[INST] Hello [/INST]Hi there</s>[INST] Who are you [/INST]  the assistant  </s>[INST]  "
     "Another question  [/INST]"},
    {"mistral-v1",
     "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %"
     "}{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- "
     "endif %}{{- bos_token }}{%- for message in loop_messages %}{%- if message['role'] == 'user"
     "' %}{%- if loop.first and system_message is defined %}{{- ' [INST] ' + system_message + '\\"
     "n\\n' + message['content'] + ' [/INST]' }}{%- else %}{{- ' [INST] ' + message['content'] + "
     "' [/INST]' }}{%- endif %}{%- else %}{{- ' ' + message['content'] + eos_token}}{%- endif %}"
     "{%- endfor %}",
     "<s> [INST] Be brief.\n\nHello [/INST] Hi there</s> [INST] Who are you [/INST]   the assistan"
     "t  </s> [INST]  Another question  [/INST]",
     "<s> [INST] Hello [/INST] Hi there</s> [INST] Who are you [/INST]   the assistant  </s> [IN"
     "ST]  Another question  [/INST]"},
    {"mistral-v3",
     "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %"
     "}{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- "
     "endif %}{{- bos_token }}{%- for message in loop_messages %}{%- if message['role'] == 'user"
     "' %}{%- if loop.last and system_message is defined %}{{- '[INST] ' + system_message + '\\n\\"
     "n' + message['content'] + '[/INST]' }}{%- else %}{{- '[INST] ' + message['content'] + '[/I"
     "NST]' }}{%- endif %}{%- else %}{{- ' ' + message['content']|trim + eos_token}}{%- endif %}"
     "{%- endfor %}",
     "<s>[INST] Hello[/INST] Hi there</s>[INST] Who are you[/INST] the assistant</s>[INST] Be br"
     "ief.\n\n Another question [/INST]",
     "<s>[INST] Hello[/INST] Hi there</s>[INST] Who are you[/INST] the assistant</s>[INST]  Anot"
     "her question [/INST]"},
    {"zephyr",
     "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message"
     "['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + mess"
     "age['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\"
     "n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_pro"
     "mpt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
     "<|system|>\nBe brief.</s>\n<|user|>\nHello</s>\n<|assistant|>\nHi there</s>\n<|user|>\nWho are yo"
     "u</s>\n<|assistant|>\n  the assistant  </s>\n<|user|>\n Another question </s>\n<|assistant|>\n",
     "<|user|>\nHello</s>\n<|assistant|>\nHi there</s>\n<|user|>\nWho are you</s>\n<|assistant|>\n  the"
     " assistant  </s>\n<|user|>\n Another question </s>\n<|assistant|>\n"},
};

/* "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n\nthe end.<|im_end|>\n" */
static const int32_t ids_level_chat[] = {270, 117, 115, 101, 114, 10, 264, 271, 10, 270, 97, 115, 115, 105, 115, 116, 260, 116, 263, 257, 32, 101, 110, 100, 46, 271, 10};
/* "<s>[INST] Hi [/INST] the end </s><s>[INST] Hi [/INST] at the end </s>" */
static const int32_t ids_spaced_chat[] = {304, 257, 286, 289, 290, 291, 292, 287, 303, 257, 286, 288, 289, 290, 291, 292, 287, 298, 257, 262, 271, 261, 257, 305, 304, 257, 286, 289, 290, 291, 292, 287, 303, 257, 286, 288, 289, 290, 291, 292, 287, 300, 277, 298, 257, 262, 271, 261, 257, 305};
/* "Hi and the end." */
static const int32_t ids_level_hi[] = {264, 32, 261, 258, 32, 101, 110, 100, 46};
