#include "watchdog.h"

#include "robot.h"

void watchdog_feed(watchdog_t *watchdog, uint32_t valid_ms, uint32_t now_us)
{
    watchdog->valid_ms = valid_ms < LIMIT_MAX_VALID_MS ? valid_ms : LIMIT_MAX_VALID_MS;
    watchdog->received_us = now_us;
    watchdog->ticks = 0;
}

bool watchdog_expired(watchdog_t *watchdog, uint32_t now_us)
{
    /* The clock may wrap. One that ran back shows a difference that is longer than any life. */
    bool by_clock = now_us - watchdog->received_us >= 1000u * watchdog->valid_ms;
    bool by_ticks = watchdog->ticks >= watchdog->valid_ms;
    watchdog->ticks++;
    return by_clock || by_ticks;
}
