/* The mode machine: what the board does, and why it stopped.
 *
 *   DISARMED   bridges open            arm -> READY
 *   READY      bridges open            first command -> ACTIVE; disarm, or no command -> DISARMED
 *   ACTIVE     obeys commands          disarm -> DAMPING, for LIMIT_DAMPING_MS, -> DISARMED
 *   DAMPING    brakes every motor      on a fault: until clear_fault -> DISARMED
 *   FAULT      bridges open            until clear_fault -> DISARMED
 *
 * A fault in READY or ACTIVE is latched and leads to DAMPING. A broken encoder leads to FAULT, from
 * DAMPING too, because damping may need it. An emergency stop leads from everywhere to DAMPING, but
 * from FAULT nowhere.
 */
#ifndef MODES_H
#define MODES_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

typedef struct {
    uint8_t mode;     /* enum mode */
    uint16_t latched; /* faults that led to a stop and were not cleared */
    uint16_t present; /* faults that were there at the last tick */
    uint32_t ms;      /* since the mode began, in ticks */
} modes_t;

void modes_start(modes_t *modes);

/* One tick, with the faults that are there now. */
void modes_tick(modes_t *modes, uint16_t present);

/* Does what a host asks, if that may be; returns enum result. */
uint8_t modes_request(modes_t *modes, uint8_t action, bool introduced);

/* Stops gently: READY opens the bridges, ACTIVE damps first, all else stays as it is. */
void modes_disarm(modes_t *modes);

/* Whether a new command is to be obeyed; the first one makes READY ACTIVE. */
bool modes_accept_command(modes_t *modes);

/* Latched and present faults: what a host must know. */
uint16_t modes_faults(const modes_t *modes);

#endif
