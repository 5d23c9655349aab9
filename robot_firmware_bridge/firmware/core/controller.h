/* The motor controller: commands and requests in, bridges out. Knows no bytes and no hardware. */
#ifndef CONTROLLER_H
#define CONTROLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "drive_law.h"
#include "elapsed.h"
#include "modes.h"
#include "protection.h"
#include "protocol.h"
#include "types.h"
#include "watchdog.h"

typedef struct {
    modes_t modes;
    protection_t protection;
    setpoint_t setpoint;     /* of the last command since the board was armed */
    watchdog_t watchdog;     /* until when it holds */
    elapsed_t elapsed;       /* between ticks */
    uint32_t driven_ms;      /* since commands last closed the bridges */
    bool compensate_battery; /* as the host wants it */
    load_t load;             /* of the last tick */
} controller_t;

void controller_start(controller_t *controller);

/* Takes a command that is newer than all before it; false if the mode does not let it. */
bool controller_command(controller_t *controller, const command_message_t *command,
                        uint32_t now_us);

/* One control tick: from what the sensors read to what the bridges do for the next millisecond. */
void controller_tick(controller_t *controller, const sensors_t *sensors, uint32_t now_us,
                     drive_t *drive);

#endif
