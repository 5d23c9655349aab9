/* Temperature of each motor by a model of two nodes: winding, housing, air.
 *
 * A measured housing temperature takes the place of the modelled one.
 */
#ifndef THERMAL_H
#define THERMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "robot.h"

typedef struct {
    float winding_temperature_c[ROBOT_MOTORS];
    float housing_temperature_c[ROBOT_MOTORS];
    float heat_j[ROBOT_MOTORS]; /* into the windings since the last step */
    uint32_t ms;                /* since then */
} thermal_t;

void thermal_start(thermal_t *thermal);

/* One control tick, `ms` milliseconds under these currents. `housing_temperature_c` as measured, NaN
 * where there is no sensor.
 */
void thermal_tick(thermal_t *thermal, const float current_a[ROBOT_MOTORS],
                  const float housing_temperature_c[ROBOT_MOTORS], uint32_t ms);

bool thermal_too_hot(const thermal_t *thermal);

#endif
