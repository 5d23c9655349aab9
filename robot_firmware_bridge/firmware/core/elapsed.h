/* The time from one tick to the next, by two counts that can each fail.
 *
 * A tick is a millisecond. Where ticks were lost, the microsecond clock says how many. Where the
 * clock stands still or runs back, the tick still counts. Timers that protect add up this time:
 * neither lost ticks nor a broken clock makes them slow. Timers that permit, such as the soft start,
 * count ticks, so that a clock that jumps does not make them fast.
 */
#ifndef ELAPSED_H
#define ELAPSED_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    bool started;
    uint32_t last_us; /* of the tick before */
    uint32_t rest_us; /* less than a millisecond, not counted yet */
} elapsed_t;

/* Once every tick: milliseconds since the one before; 1 to ELAPSED_MOST_MS. */
uint32_t elapsed_ms(elapsed_t *elapsed, uint32_t now_us);

/* A board without a tick for so long has been reset by its hardware watchdog, which is set to 20 ms
 * and may take nearly twice as long. A clock that shows more has jumped.
 */
#define ELAPSED_MOST_MS 40u

#endif
