/* What happens when the host dies: its last command runs out, and the board damps.
 *
 * The life of a command is counted twice: by the microsecond clock and in ticks. The count that ends
 * first ends the command. So a clock that stands still, runs back or jumps cannot make a command
 * hold for longer, nor can ticks that are lost.
 */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t received_us; /* when the last command came */
    uint32_t valid_ms;    /* how long it holds from then on */
    uint32_t ticks;       /* since then */
} watchdog_t;

/* Notes a command that holds for this time, LIMIT_MAX_VALID_MS at most. */
void watchdog_feed(watchdog_t *watchdog, uint32_t valid_ms, uint32_t now_us);

/* Once every tick: whether the last command has run out. An active board then damps and latches a
 * fault.
 */
bool watchdog_expired(watchdog_t *watchdog, uint32_t now_us);

#endif
