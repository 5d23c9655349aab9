/* What happens when the host dies: its last command runs out, and the board damps. */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t received_us; /* when the last command came */
    uint32_t valid_us;    /* how long it holds from then on */
} watchdog_t;

/* Notes a command that holds for this time, LIMIT_MAX_VALID_MS at most. */
void watchdog_feed(watchdog_t *watchdog, uint32_t valid_ms, uint32_t now_us);

/* Whether the last command has run out. An active board then damps and latches a fault. */
bool watchdog_expired(const watchdog_t *watchdog, uint32_t now_us);

#endif
