#include "watchdog.h"

#include "robot.h"

void watchdog_feed(watchdog_t *watchdog, uint32_t valid_ms, uint32_t now_us)
{
    watchdog->valid_us = 1000u * (valid_ms < LIMIT_MAX_VALID_MS ? valid_ms : LIMIT_MAX_VALID_MS);
    watchdog->received_us = now_us;
}

bool watchdog_expired(const watchdog_t *watchdog, uint32_t now_us)
{
    return now_us - watchdog->received_us >= watchdog->valid_us; /* the clock may wrap */
}
