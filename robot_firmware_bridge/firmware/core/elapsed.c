#include "elapsed.h"

uint32_t elapsed_ms(elapsed_t *elapsed, uint32_t now_us)
{
    uint32_t passed_us = elapsed->started ? now_us - elapsed->last_us : 0;
    elapsed->started = true;
    elapsed->last_us = now_us;
    if (passed_us > 1000u * ELAPSED_MOST_MS) {
        /* The clock jumped, or ran back, which looks the same. */
        passed_us = passed_us < UINT32_MAX / 2 ? 1000u * ELAPSED_MOST_MS : 0;
    }
    uint32_t ms = (passed_us + elapsed->rest_us) / 1000u;
    elapsed->rest_us = (passed_us + elapsed->rest_us) % 1000u;
    if (ms == 0) {
        elapsed->rest_us = 0; /* it is in the millisecond of this tick */
        return 1;
    }
    return ms < ELAPSED_MOST_MS ? ms : ELAPSED_MOST_MS;
}
