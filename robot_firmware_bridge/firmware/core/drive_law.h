/* From a setpoint and the sensors to eight duties, and what these do in the motors.
 *
 * The model of a drive (Tan et al. 2018): current = (duty * battery - Kt * speed) / R, and torque a
 * measured, saturating curve over current. The simulator's drives obey the same equations.
 */
#ifndef DRIVE_LAW_H
#define DRIVE_LAW_H

#include "types.h"

typedef struct {
    float target_rad[ROBOT_MOTORS];
    float kp;
    float kd;
} setpoint_t;

/* What is known of a tick besides setpoint and sensors. */
typedef struct {
    float battery_v;  /* finite, not negative */
    float duty_scale; /* 1, or nominal over measured voltage */
    float duty_bound; /* at most LIMIT_MAX_DUTY */
} supply_t;

/* What the bridges do to the motors. All zero while they are open. */
typedef struct {
    float duty[ROBOT_MOTORS];
    float current_a[ROBOT_MOTORS];
    float torque_nm[ROBOT_MOTORS];
} load_t;

/* Positions and speeds must be finite. */
void drive_law(const setpoint_t *setpoint, const sensors_t *sensors, const supply_t *supply,
               load_t *load);

/* Torque of a motor at a current: linear between the measured points, flat past the last. */
float motor_torque(float current_a);

#endif
