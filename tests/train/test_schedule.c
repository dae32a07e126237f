/* Schedules against transformers.optimization. */
#include "host/train/schedule.h"
#include "tests/train/common.h"
#include "tests/train/fixtures.h"
#include <math.h>

static void test_cases(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof schedule_cases / sizeof *schedule_cases; c++) {
        float rate = espl_schedule_rate(schedule_cases[c].schedule, schedule_cases[c].base, schedule_cases[c].warmup,
                                        schedule_cases[c].steps, schedule_cases[c].step);
        float wanted = (float)schedule_cases[c].rate;
        if (fabsf(rate - wanted) > 1e-7f * wanted)
            fail_msg("case %zu: %.9g, transformers gives %.9g", c, (double)rate, (double)wanted);
    }
}

static void test_past_the_end(void **state) {
    (void)state;
    assert_true(espl_schedule_rate(ESPL_SCHEDULE_LINEAR, 1, 0, 10, 15) == 0);
    assert_true(espl_schedule_rate(ESPL_SCHEDULE_COSINE, 1, 0, 10, 15) == 0);
    assert_true(espl_schedule_rate(ESPL_SCHEDULE_CONSTANT, 1, 0, 10, 15) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_past_the_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
