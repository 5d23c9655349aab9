/* Watches sensors and motors every tick and names what must not go on. */
#ifndef PROTECTION_H
#define PROTECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "drive_law.h"
#include "thermal.h"
#include "types.h"

typedef struct {
    thermal_t thermal;
    float battery_now_v; /* as it reads, 0 if that is broken */
    float battery_v;     /* low-passed */
    bool started;        /* the sensors were read before: what follows holds */
    float last_position_rad[ROBOT_MOTORS];
    float last_imu[6];
    uint32_t imu_frozen_ms;
    uint32_t overload_ms[ROBOT_MOTORS];
    uint32_t stall_ms[ROBOT_MOTORS];
    float mean_current_a[ROBOT_MOTORS];
} protection_t;

void protection_start(protection_t *protection);

/* Faults (bits of enum fault) that are present now, by the sensors and by what the bridges did since
 * the last reading, `ms` milliseconds ago. Once every tick.
 */
uint16_t protection_check(protection_t *protection, const sensors_t *sensors, const load_t *load,
                          uint32_t ms);

#endif
