/* What passes between the control core and a board: sensors in, bridges out. */
#ifndef TYPES_H
#define TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "robot.h"

typedef struct {
    float motor_position_rad[ROBOT_MOTORS];
    float motor_velocity_rad_s[ROBOT_MOTORS];
    float rpy_rad[3];            /* roll, pitch, yaw */
    float angular_rate_rad_s[3]; /* gyroscope, body frame */
    float battery_v;
    float housing_temperature_c[ROBOT_MOTORS]; /* NaN where no sensor is; the model stands in */
} sensors_t;

typedef struct {
    bool enabled;             /* false: bridges open, no torque. Duty 0 would brake. */
    float duty[ROBOT_MOTORS]; /* [-1, 1] */
} drive_t;

#endif
